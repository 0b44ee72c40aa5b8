"""Ridge regression of a cell on the frames around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    import numpy as np

    from bench.tracks.forecasting.data import ForecastingData


@method(
    "forecasting",
    name="Patch regression (1 member)",
    hp={"side": 5, "ridge": 1.0, "cells": 40_000},
    counterpart="steps",
)
def patch_regression(data: ForecastingData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """y_l = x_T + B_l p, p the ``side`` x ``side`` cells around a cell in all frames; one member.

    B is fitted to ``cells`` random training cells at once. Frames are continued by their edges.
    """
    import numpy as np
    from sklearn.linear_model import Ridge

    from bench.tracks.forecasting.rows import forecasts
    from bench.tracks.forecasting.rows.forecasts import Training, filled

    known, rng = Training.of(data), np.random.default_rng(ctx.seed)
    frames = filled(known.inputs, data.transform)
    y = (known.targets - frames[:, -1:]).reshape(len(frames), -1, *frames.shape[3:]).transpose(0, 2, 3, 1)
    n, H, W = y.shape[:3]
    P, Y = [], []
    for i in range(n):
        at = rng.permutation(H * W)[: max(1, hp["cells"] // n)]
        at = at[np.isfinite(y[i].reshape(H * W, -1)[at]).all(1)]
        P.append(patches(frames[i : i + 1], hp["side"])[0].reshape(H * W, -1)[at])
        Y.append(y[i].reshape(H * W, -1)[at])
    B = Ridge(alpha=hp["ridge"]).fit(np.concatenate(P), np.concatenate(Y))

    def members(x: np.ndarray) -> np.ndarray:
        p = patches(x, hp["side"])
        change = B.predict(p.reshape(-1, p.shape[-1])).reshape(len(x), H, W, *known.targets.shape[1:3])
        return (x[:, -1:] + change.transpose(0, 3, 4, 1, 2))[:, None]

    return forecasts.answer(data, members)


def patches(frames: np.ndarray, side: int) -> np.ndarray:
    """(n, T, C, H, W) -> (n, H, W, T * C * side * side)."""
    import numpy as np

    padded = np.pad(frames, [(0, 0)] * 3 + [(side // 2, side // 2)] * 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(3, 4))
    return windows.transpose(0, 3, 4, 1, 2, 5, 6).reshape(len(frames), *frames.shape[3:], -1)
