"""Persistence: the last frame stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.forecasting.data import ForecastingData


@method(
    "forecasting",
    name="Persistence (1 member)",
    deterministic=True,
    counterpart="steps",
    ref="the least that a forecast has to beat",
)
def persistence(data: ForecastingData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """y_l = x_T for every lead l: one member."""
    from bench.tracks.forecasting.rows import forecasts

    leads = data.leads.size
    return forecasts.answer(data, lambda x: x[:, None, -1:].repeat(leads, axis=2))
