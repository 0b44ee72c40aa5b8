"""Full fine-tuning with the condition joined to the input of the base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.controlnet.data import ControlData


@method(
    "controlnet",
    name="Joined input",
    ref="as super-resolution and inpainting in Rombach et al., Latent Diffusion Models, CVPR 2022",
)
def concat(data: ControlData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """min over theta of E_t L(x, c, t), t uniform; theta is the whole base, with c as further input channels
    whose weights begin as zeros.
    """
    from bench.tracks.controlnet import training
    from bench.tracks.controlnet.nets.unet import Joined

    theta = Joined(data.base.unet(), data.channels).to(ctx.device)
    fitted = training.fit(theta, training.denoising(theta, data), data, ctx)
    return training.answer(theta, data, fitted.seconds_per_step)
