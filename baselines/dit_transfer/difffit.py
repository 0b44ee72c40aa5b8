"""DiffFit: biases, norms and scales."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.dit_transfer.data import TransferData


@method(
    "dit_transfer",
    name="DiffFit",
    ref="Xie et al., DiffFit, ICCV 2023",
)
def difffit(data: TransferData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """min of E_t L(x, y, t) over biases, weights of norms, scales gamma of layers, and the label table."""
    from bench.tracks.dit_transfer import training

    theta = training.start(data, "difffit", ctx)
    fitted = training.fit(theta, training.denoising(theta), data, ctx)
    return training.answer(data, fitted.model, fitted.seconds_per_step)
