"""BitFit: biases alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.dit_transfer.data import TransferData


@method(
    "dit_transfer",
    name="BitFit",
    ref="Ben Zaken et al., BitFit, ACL 2022",
)
def bitfit(data: TransferData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """min of E_t L(x, y, t) over the biases b and the label table."""
    from bench.tracks.dit_transfer import training

    theta = training.start(data, "bitfit", ctx)
    fitted = training.fit(theta, training.denoising(theta), data, ctx)
    return training.answer(data, fitted.model, fitted.seconds_per_step)
