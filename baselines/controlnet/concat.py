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
    """min over theta of E_t L(x, c, t), t uniform; theta are all weights of the base, with the condition c as
    further input channels whose weights begin as zeros.

    It trains at the learning rate of its condition, as every row does, though that was chosen for the copy
    that ControlNet trains and not for the whole base.
    """
    from bench.tracks.controlnet import training
    from bench.tracks.controlnet.nets.unet import Joined

    theta = Joined(data.base.unet(), data.channels).to(ctx.device)
    fitted = training.fit(theta, training.denoising(theta, data), data, ctx)
    return training.answer(theta, data, fitted.seconds_per_step)
