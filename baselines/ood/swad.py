"""SWAD: the mean of the weights over the valley of the validation loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.ood.data import OodData


@method(
    "ood",
    name="SWAD",
    hp={"begin": 3, "end": 6, "tolerance": 1.3, "looks": 40},
    ref="Cha et al., SWAD: Domain Generalization by Seeking Flat Minima, NeurIPS 2021",
)
def swad(data: OodData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """theta = mean of theta_t, t from t_s to t_e, by text-supervised fine-tuning; every step counts.

    The validation loss is evaluated ``looks`` times. t_s: the first evaluation that none of the ``begin`` - 1
    next ones falls below. t_e: the first of ``end`` evaluations in a row that all lie above ``tolerance``
    times the mean loss of the ``begin`` evaluations from t_s on; the last step if there is none.
    """
    from bench.tracks.ood import training
    from bench.tracks.ood.nets.valley import LossValley

    model = data.encoder().to(ctx.device)
    theta = model.unfreeze_visual()
    valley = LossValley(
        theta, lambda: training.val_loss(model, data), every=max(1, data.recipe.steps // hp["looks"]),
        begin=hp["begin"], end=hp["end"], tolerance=hp["tolerance"],
    )  # fmt: skip
    loss = training.text_loss(model, data)
    seconds = training.fit(
        model, [(theta, data.recipe.lr)], loss, data, ctx, after=valley.update, state=[valley]
    )
    valley.assign()
    shares = valley.shares(data.recipe.steps)
    return training.answer(training.by_name(model, data), theta, seconds, shares)
