"""The pre-trained network as it is, which knows no class of the target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.dit_transfer.data import TransferData


@method("dit_transfer", name="Untuned", deterministic=True)
def untuned(data: TransferData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """theta_0: nothing is trained, and every class is the null label."""
    from bench.tracks.dit_transfer import training

    return {**training.answer(data, data.pretrained().to(ctx.device)), "parameters": 0}
