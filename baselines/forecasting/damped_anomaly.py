"""The damped anomaly: what is unusual now fades, and training errors make it an ensemble."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.forecasting.data import ForecastingData


@method(
    "forecasting",
    name="Damped anomaly",
    counterpart="steps",
    ref="Lorenz, An experiment in nonlinear statistical weather forecasting, 1977; damped persistence",
)
def damped_anomaly(data: ForecastingData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """y_l^m = mean_l + a_l (x_T - mean) + r_l^m.

    The means are of training, by cell; a is the regression of later anomalies on the last one, one number a
    lead and component; r is the error in a random training window, all leads and cells together. Where
    windows lie at the same few places, all of it is of that place.
    """
    import numpy as np

    from bench.tracks.forecasting.rows import forecasts
    from bench.tracks.forecasting.rows.forecasts import Members, Training, filled

    rng = np.random.default_rng(ctx.seed)

    def fit(known: Training) -> Members:
        last, mean_l = filled(known.inputs, data.transform)[:, -1], known.mean_target()
        mean = last.mean(0)
        now = (last - mean)[:, None]
        after = np.where(np.isfinite(known.targets), known.targets - mean_l, np.nan)
        seen = np.isfinite(after)
        both = np.where(seen, after * now, 0).sum(axis=(0, 3, 4))
        a = (both / np.maximum(np.where(seen, now**2, 0).sum(axis=(0, 3, 4)), 1e-12))[..., None, None]
        r = np.nan_to_num(after - a * now)

        def members(x: np.ndarray) -> np.ndarray:
            centre = mean_l + a * (x[:, -1:] - mean)
            return centre[:, None] + r[rng.integers(len(r), size=(len(x), data.members))]

        return members

    return forecasts.answer_by_place(data, fit)
