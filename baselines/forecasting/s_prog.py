"""S-PROG: extrapolation that loses detail as fast as rain does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.forecasting.rows.limits import only_rain, pysteps_missing

if TYPE_CHECKING:
    import numpy as np

    from bench.tracks.forecasting.data import ForecastingData


@method(
    "forecasting",
    name="S-PROG (1 member)",
    hp={"levels": 0},
    deterministic=True,
    skip=only_rain,
    missing=pysteps_missing,
    counterpart="steps",
    ref="Seed, Spatial scaling approach to advection forecasting, J. Appl. Meteor. 2003; pySTEPS",
)
def s_prog(data: ForecastingData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """A cascade of scales moves along, each an autoregression of order 2: one member.

    ``levels``: number of scales, 0: as many as suit the field. It sees what lies
    around the window, where there is something.
    """
    from bench.tracks.forecasting.rows import nowcasting

    def nowcast(frames: np.ndarray, v: np.ndarray, number: int) -> np.ndarray:
        from pysteps.nowcasts import sprog

        with nowcasting.quiet():
            found: np.ndarray = sprog.forecast(
                frames[-3:], v, data.leads.size, precip_thr=nowcasting.LEAST, norain_thr=0.0,
                n_cascade_levels=nowcasting.levels(hp["levels"], frames),
            )  # fmt: skip
        return found[None]

    return nowcasting.answer(data, ctx, nowcast)
