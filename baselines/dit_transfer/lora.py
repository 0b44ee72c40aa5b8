"""LoRA: low-rank updates of queries, keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.dit_transfer.data import TransferData


@method(
    "dit_transfer",
    name="LoRA",
    hp={"rank": 8},
    variants={"r8": {"rank": 8}, "r16": {"rank": 16}},
    base=False,
    ref="Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022",
)
def lora(data: TransferData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """min of E_t L(x, y, t) over A, B of W + B A, and the label table.

    W is the layer of queries, keys and values.
    """
    from bench.tracks.dit_transfer import training

    theta = training.start(data, "lora", ctx, rank=hp["rank"])
    fitted = training.fit(theta, training.denoising(theta), data, ctx)
    return training.answer(data, fitted.model, fitted.seconds_per_step)
