"""LP-FT: a linear probe first, so that fine-tuning need not distort the features for a random head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.ood.limits import names_nothing_new
from bench.tracks.ood.stages import frozen_features

if TYPE_CHECKING:
    from bench.tracks.ood.data import OodData


@method(
    "ood",
    name="LP-FT",
    skip=names_nothing_new,
    stages=frozen_features,
    ref="Kumar et al., Fine-Tuning can Distort Pretrained Features, ICLR 2022",
)
def lp_ft(data: OodData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """The linear probe's W and b, then cross-entropy of W f + b over tower and head, at the tower's rate."""
    from bench.tracks.ood import training
    from bench.tracks.ood.nets import heads

    model = data.encoder().to(ctx.device)
    head = heads.Linear(model, data)
    head.probe(ctx)
    groups = [([*model.unfreeze_visual(), *head.weights], data.recipe.lr)]
    seconds = training.fit(model, groups, head.loss, data, ctx)
    return training.answer(head.predict, training.all_of(groups), seconds)
