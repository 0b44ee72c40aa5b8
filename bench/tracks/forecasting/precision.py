"""Whether a map says where a forecast is wrong: rank correlations with the error of its mean.

The paper offers the variance U of a diffusion model's estimates as a map of precision. That such a map goes
with the error says little by itself: of rain, the forecast itself does, since errors are where rain is. So
each map is compared with trivial ones (the mean forecast, its gradient, the last frame) and with the spread
of the ensemble, on all cells, on those where something was observed to be, and with the mean forecast's own
part taken out (partial rank correlation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.tracks.forecasting.metrics import magnitude

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import xarray as xr

#: What cells a correlation is taken over, or what is held fixed.
SUBSETS = ("all", "wet", "given")
#: Correlations over fewer cells are left out.
FEWEST = 20


def maps(forecast: xr.DataArray, last: xr.DataArray, u: xr.DataArray | None) -> Mapping[str, xr.DataArray]:
    """The maps that are compared, by name, each (window, lead, y, x).

    Args:
        forecast: (window, member, lead, component, y, x), on the task's scale.
        last: the last input frame, (window, component, y, x), on that scale.
        u: the method's own map, if it gives one.
    """
    import numpy as np

    mean = magnitude(forecast.mean("member"))
    slopes = np.gradient(mean.transpose(..., "y", "x").to_numpy(), axis=(-2, -1))
    gradient = mean.transpose(..., "y", "x").copy(data=np.hypot(*slopes))
    found = {"mean forecast": mean, "gradient": gradient}
    found["last frame"] = magnitude(last).expand_dims(lead=mean["lead"])
    if forecast.sizes["member"] > 1:
        found["spread"] = forecast.var("member", ddof=1).sum("component") ** 0.5
    if u is not None:
        found["U"] = u
    return {name: m.transpose("window", "lead", "y", "x") for name, m in found.items()}


def correlations(
    of: Mapping[str, xr.DataArray], forecast: xr.DataArray, target: xr.DataArray, wet: float | None
) -> xr.DataArray:
    """Spearman's correlation of every map with the error of the ensemble's mean.

    Args:
        of: maps by name, as `maps` gives them.
        forecast: (window, member, lead, component, y, x), on the task's scale.
        target: (window, lead, component, y, x), on that scale; NaN = not observed.
        wet: cells are wet whose observed magnitude is this or more, on that scale; None: there is no such
            thing, and ``wet`` is NaN.

    Returns:
        (map, subset, window, lead), over the observed cells at which every map has a value: beside a hole in
        what was observed the mean forecast has no gradient, and the last frame may have holes of its own. NaN
        where fewer than `FEWEST` cells are left or a map is constant; of the mean forecast given itself.
    """
    import numpy as np
    import xarray as xr

    error = magnitude(abs(forecast.mean("member") - target)).transpose("window", "lead", "y", "x")
    observed = magnitude(target).transpose("window", "lead", "y", "x")
    n, leads = error.sizes["window"], error.sizes["lead"]
    names = list(of)
    stack = np.stack([error.to_numpy(), *(of[m].to_numpy() for m in names)])  # (1 + maps, n, lead, y, x)
    stack = stack.reshape(len(stack), n, leads, -1)
    seen = observed.to_numpy().reshape(n, leads, -1)
    found = np.full((len(names), len(SUBSETS), n, leads), np.nan)
    for i in range(n):
        for j in range(leads):
            values = stack[:, i, j]
            here = ~np.isnan(seen[i, j]) & np.isfinite(values).all(0)
            rho = _spearman(values[:, here])
            found[:, 0, i, j] = rho[0, 1:]
            found[:, 2, i, j] = _partial(rho, 1 + names.index("mean forecast"))
            if wet is not None:
                found[:, 1, i, j] = _spearman(values[:, here & (seen[i, j] >= wet)])[0, 1:]
    return xr.DataArray(
        found, dims=("map", "subset", "window", "lead"),
        coords={"map": names, "subset": list(SUBSETS), "window": error["window"], "lead": error["lead"]},
    )  # fmt: skip


def _spearman(values: np.ndarray) -> np.ndarray:
    """Rank correlations (k, k) of k rows; NaN of a constant row, and everywhere of fewer than `FEWEST`."""
    import numpy as np
    from scipy.stats import rankdata

    if values.shape[1] < FEWEST:
        return np.full((len(values), len(values)), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho: np.ndarray = np.corrcoef(rankdata(values, axis=1))
    return rho


def _partial(rho: np.ndarray, given: int) -> np.ndarray:
    """Correlations of rows 1.. with row 0, given the row ``given``, out of all correlations (k, k)."""
    import numpy as np

    of_error, of_map = rho[0, given], rho[1:, given]
    left = (1 - of_error**2) * (1 - of_map**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: np.ndarray = (rho[0, 1:] - of_error * of_map) / np.sqrt(np.maximum(left, 0))
    # A map that ranks as the row given, or as the error itself is given: nothing is left but rounding.
    found[(left < 1e-9) | np.isnan(left)] = np.nan
    return found
