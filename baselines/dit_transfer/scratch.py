"""From scratch: the same network and steps, nothing pre-trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.dit_transfer.data import TransferData


@method("dit_transfer", name="From scratch")
def scratch(data: TransferData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """min over theta of E_t L(x, y, t) from the weights that DiT's authors begin with."""
    from bench.tracks.dit_transfer import training

    theta = training.start(data, "full", ctx)
    theta.reset()
    fitted = training.fit(theta, training.denoising(theta), data, ctx)
    return training.answer(data, fitted.model, fitted.seconds_per_step)
