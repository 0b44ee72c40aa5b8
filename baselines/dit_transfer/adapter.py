"""Bottleneck adapters at the feed-forward layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.dit_transfer.data import TransferData


@method(
    "dit_transfer",
    name="Adapter",
    hp={"place": "parallel", "width": 64},
    variants={"parallel": {"place": "parallel"}, "sequential": {"place": "sequential"}},
    base=False,
    ref="Chen et al., AdaptFormer, NeurIPS 2022",
)
def adapter(data: TransferData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """min of E_t L(x, y, t) over a bottleneck a block, beside its feed-forward layer or behind it."""
    from bench.tracks.dit_transfer import training

    theta = training.start(data, "adapter", ctx, place=hp["place"], width=hp["width"])
    fitted = training.fit(theta, training.denoising(theta), data, ctx)
    return training.answer(data, fitted.model, fitted.seconds_per_step)
