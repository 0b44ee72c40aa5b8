"""Standard ControlNet: a trained copy of the base's first half, the ordinary loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.controlnet.data import ControlData


@method(
    "controlnet",
    name="ControlNet",
    ref="Zhang et al., Adding Conditional Control to Text-to-Image Diffusion Models, ICCV 2023",
)
def controlnet(data: ControlData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """min over theta of E_t L(x, c, t), t uniform; theta are the weights of the copy alone, which reads the
    condition c, and the base itself is frozen.
    """
    from bench.tracks.controlnet import training

    theta = training.start(data, ctx)
    fitted = training.fit(theta, training.denoising(theta, data), data, ctx)
    return training.answer(theta, data, fitted.seconds_per_step)
