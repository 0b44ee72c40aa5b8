"""ERM: a new linear head on the image tower, both trained, with no use of the class names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.ood.limits import names_nothing_new

if TYPE_CHECKING:
    from bench.tracks.ood.data import OodData


@method(
    "ood",
    name="ERM",
    hp={"head_lr": 1e-3},
    skip=names_nothing_new,
    ref="Gulrajani and Lopez-Paz, In Search of Lost Domain Generalization, ICLR 2021",
)
def erm(data: OodData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """Empirical risk minimisation: cross-entropy of W f + b over all sources together.

    The head starts at 0 and has a learning rate of its own: at the tower's it would learn nothing in a short
    training.
    """
    from bench.tracks.ood import training
    from bench.tracks.ood.nets import heads

    model = data.encoder().to(ctx.device)
    head = heads.Linear(model, data)
    groups = [(model.unfreeze_visual(), data.recipe.lr), (head.weights, hp["head_lr"])]
    seconds = training.fit(model, groups, head.loss, data, ctx)
    return training.answer(head.predict, training.all_of(groups), seconds)
