"""VPT-deep: tokens in front of every block's input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.dit_transfer.data import TransferData


@method(
    "dit_transfer",
    name="VPT-deep",
    hp={"tokens": 64},
    ref="Jia et al., Visual Prompt Tuning, ECCV 2022",
)
def vpt_deep(data: TransferData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """min of E_t L(x, y, t) over tokens prompts a block, and the label table."""
    from bench.tracks.dit_transfer import training

    theta = training.start(data, "prompts", ctx, tokens=hp["tokens"])
    fitted = training.fit(theta, training.denoising(theta), data, ctx)
    return training.answer(data, fitted.model, fitted.seconds_per_step)
