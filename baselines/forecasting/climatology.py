"""Climatology: what was observed in training, whatever the frames before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.forecasting.data import ForecastingData


@method(
    "forecasting",
    name="Climatology",
    counterpart="steps",
    ref="the forecast that knows the climate and no weather",
)
def climatology(data: ForecastingData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """y^m = the targets of a training window drawn at random, other ones for each test window.

    Where windows lie at the same few places, a window of that place. Cells that a drawn window does not show
    have the mean of all those targets there, on the task's scale.
    """
    import numpy as np

    from bench.tracks.forecasting.rows import forecasts
    from bench.tracks.forecasting.rows.forecasts import Members, Training

    rng = np.random.default_rng(ctx.seed)

    def fit(known: Training) -> Members:
        targets = np.where(np.isfinite(known.targets), known.targets, known.mean_target())
        return lambda x: targets[rng.integers(len(targets), size=(len(x), data.members))]

    return forecasts.answer_by_place(data, fit)
