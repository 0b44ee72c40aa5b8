"""Persistence dressed with its errors in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.forecasting.data import ForecastingData


@method(
    "forecasting",
    name="Persistence, dressed",
    counterpart="steps",
    ref="Roulston and Smith, Combining dynamical and statistical ensembles, Tellus 2003",
)
def dressed_persistence(data: ForecastingData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """y_l^m = x_T + r_l^m, r the error (all leads and cells) of persistence in a random training window.

    Where windows lie at the same few places, in a window of that place.
    """
    import numpy as np

    from bench.tracks.forecasting.rows import forecasts
    from bench.tracks.forecasting.rows.forecasts import Members, Training, filled

    rng = np.random.default_rng(ctx.seed)

    def fit(known: Training) -> Members:
        r = np.nan_to_num(known.targets - filled(known.inputs, data.transform)[:, -1:])

        def members(x: np.ndarray) -> np.ndarray:
            return x[:, None, -1:] + r[rng.integers(len(r), size=(len(x), data.members))]

        return members

    return forecasts.answer_by_place(data, fit)
