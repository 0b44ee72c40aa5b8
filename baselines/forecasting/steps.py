"""STEPS: S-PROG with the detail that is lost replaced by noise, as an ensemble."""

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
    name="STEPS",
    hp={"levels": 0},
    skip=only_rain,
    missing=pysteps_missing,
    ref="Bowler et al., STEPS, Q. J. R. Meteorol. Soc. 2006; pySTEPS",
)
def steps(data: ForecastingData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """A cascade of scales moves along, each an autoregression of order 2 with noise; the motion varies too.

    ``levels``: number of scales, 0: as many as suit the field. Where the width of a cell or the time between
    frames is not known the motion is not varied, and rain stays where it has moved to. It sees what lies
    around the window, where there is something.
    """
    import numpy as np

    from bench.tracks.forecasting.rows import nowcasting

    km, minutes = data.recipe.km, nowcasting.minutes(data)
    # pySTEPS varies the motion in km/h, and lets the rim of the rain grow in km.
    known: dict[str, Any] = {"vel_pert_method": None, "mask_method": "obs"}
    if km and minutes:
        known = {"kmperpixel": km, "timestep": minutes}

    def nowcast(frames: np.ndarray, v: np.ndarray, number: int) -> np.ndarray:
        from pysteps.nowcasts import steps as nowcasts

        seed = int(np.random.SeedSequence([ctx.seed, number]).generate_state(1)[0])
        with nowcasting.quiet():
            found: np.ndarray = nowcasts.forecast(
                frames[-3:], v, data.leads.size, n_ens_members=data.members,
                n_cascade_levels=nowcasting.levels(hp["levels"], frames),
                precip_thr=nowcasting.LEAST, seed=seed, **known,
            )  # fmt: skip
        return found

    return nowcasting.answer(data, ctx, nowcast, data.members)
