"""Extrapolation: the last frame moves on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.forecasting.rows.limits import pysteps_missing

if TYPE_CHECKING:
    from bench.tracks.forecasting.data import ForecastingData


@method(
    "forecasting",
    name="Extrapolation (1 member)",
    deterministic=True,
    missing=pysteps_missing,
    counterpart="steps",
    ref="Germann and Zawadzki, Scale-dependence of predictability, Mon. Wea. Rev. 2002; pySTEPS",
)
def extrapolation(data: ForecastingData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """y_l = x_T moved l steps backwards along its motion by Lucas and Kanade: one member.

    It sees what lies around the window, where there is something.
    """
    from bench.tracks.forecasting.rows import nowcasting

    leads = data.leads.size
    return nowcasting.answer(
        data, ctx, lambda frames, v, number: nowcasting.extrapolated(frames[-1], v, leads)[None]
    )
