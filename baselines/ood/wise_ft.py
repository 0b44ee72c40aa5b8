"""WiSE-FT: the straight line between the encoder's own weights and the fine-tuned ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, Space, method

if TYPE_CHECKING:
    from bench.tracks.ood.data import OodData


@method(
    "ood",
    name="WiSE-FT",
    hp={"alpha": Space(default=0.5, low=0.0, high=1.0)},
    ref="Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022",
)
def wise_ft(data: OodData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """theta = (1 - alpha) theta_0 + alpha theta_T, theta_T by text-supervised fine-tuning.

    alpha = 0.5 is what the paper recommends where no target data may choose it.
    """
    import numpy as np
    import torch

    from bench.nn.averaging import interpolate
    from bench.tracks.ood import training

    model = data.encoder().to(ctx.device)
    theta = model.unfreeze_visual()
    theta_0 = [p.detach().clone() for p in theta]
    loss = training.text_loss(model, data)
    seconds = training.fit(model, [(theta, data.recipe.lr)], loss, data, ctx)
    with torch.no_grad():
        for p, mixed in zip(theta, interpolate(theta_0, theta, hp["alpha"]), strict=True):
            p.copy_(mixed)
    shares = np.zeros(data.recipe.steps + 1)
    shares[[0, -1]] = 1 - hp["alpha"], hp["alpha"]
    return training.answer(training.by_name(model, data), theta, seconds, shares)
