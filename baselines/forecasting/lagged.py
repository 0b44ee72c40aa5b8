"""The lagged ensemble: each of the last frames stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.forecasting.data import ForecastingData


@method(
    "forecasting",
    name="Lagged ensemble",
    deterministic=True,
    counterpart="steps",
    ref="Hoffman and Kalnay, Lagged average forecasting, Tellus 1983; here of observations",
)
def lagged(data: ForecastingData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """y_l^m = x_(T + 1 - m) for every lead l: as many members as input frames."""
    from bench.tracks.forecasting.rows import forecasts

    leads = data.leads.size
    found = forecasts.answer(data, lambda x: x[:, ::-1, None].repeat(leads, axis=2))
    return {**found, "members": data.test.sizes["time"]}
