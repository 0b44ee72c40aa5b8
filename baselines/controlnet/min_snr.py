"""ControlNet with Min-SNR: the loss weighted by the clipped signal-to-noise ratio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.controlnet.data import ControlData


@method(
    "controlnet",
    name="Min-SNR",
    hp={"gamma": 5.0},
    ref="Hang et al., Efficient Diffusion Training via Min-SNR Weighting Strategy, ICCV 2023",
)
def min_snr(data: ControlData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """min over theta of E_t min(SNR(t), gamma) / SNR(t) |error in the noise|^2, of the velocity where that is
    predicted: min(SNR(t), gamma) / (SNR(t) + 1) |error in the velocity|^2, which lowers noisy steps' weight.
    """
    from bench.nn import diffusion
    from bench.tracks.controlnet import training

    theta = training.start(data, ctx)
    loss = training.denoising(theta, data, weight=lambda snr: diffusion.min_snr(snr, hp["gamma"]))
    fitted = training.fit(theta, loss, data, ctx)
    return training.answer(theta, data, fitted.seconds_per_step)
