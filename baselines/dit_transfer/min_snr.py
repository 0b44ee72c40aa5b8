"""Min-SNR: the loss weighted by the clipped signal-to-noise ratio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.dit_transfer.data import TransferData


@method(
    "dit_transfer",
    name="Min-SNR",
    hp={"gamma": 5.0},
    ref="Hang et al., Efficient Diffusion Training via Min-SNR Weighting Strategy, ICCV 2023",
)
def min_snr(data: TransferData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """min over theta of E_t min(SNR(t), gamma) / SNR(t) |error in the noise|^2, all weights.

    Where variances are learnt their variational bound is added as it is.
    """
    from bench.nn import diffusion
    from bench.tracks.dit_transfer import training

    theta = training.start(data, "full", ctx)
    loss = training.denoising(theta, weight=lambda snr: diffusion.min_snr(snr, hp["gamma"]))
    fitted = training.fit(theta, loss, data, ctx)
    return training.answer(data, fitted.model, fitted.seconds_per_step)
