"""The click rate: what a method that reads no field can say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.embedding_scale.data import CtrData


@method("embedding_scale", name="Click rate", deterministic=True)
def prior(data: CtrData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """The training click rate for every row: AUC 0.5 by definition, and the log-loss to beat."""
    import numpy as np

    return {
        "val": np.full(len(data.val_x), data.click_rate),
        "test": np.full(len(data.test_x), data.click_rate),
        "parameters": 1,
    }
