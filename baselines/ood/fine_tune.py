"""Text-supervised fine-tuning: the image tower against the class names, by cross-entropy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.ood.limits import LONG, long_is_asked_in_the_wild

if TYPE_CHECKING:
    from bench.tracks.ood.data import OodData


@method(
    "ood",
    name="Fine-tuning",
    hp={"steps": 0, "lr": 0.0},
    variants={"500-steps": LONG},
    skip=long_is_asked_in_the_wild,
    ref="the baseline of CLIPood: its loss at lambda = 0, its last weights",
)
def fine_tune(data: OodData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """L = -log softmax_y(f.t / tau) over the image tower; prompts and temperature stay as they are.

    ``steps``, ``lr``: in place of the recipe's; 0 leaves it.
    """
    from bench.tracks.ood import training

    data = data.trained_with(hp["steps"], hp["lr"])
    model = data.encoder().to(ctx.device)
    theta = model.unfreeze_visual()
    loss = training.text_loss(model, data)
    seconds = training.fit(model, [(theta, data.recipe.lr)], loss, data, ctx)
    return training.answer(training.by_name(model, data), theta, seconds)
