"""Measures of a forecast against what was observed, of each window and lead or by lead.

``forecast``: (window, member, lead, component, y, x); ``target``: the same without members. NaN in the target
stands for what was not observed and is not scored. Events, neighbourhoods and maps are of the *magnitude*:
the value itself of one component, the length of the vector of several. Where `scores` has a measure it is
taken from there; it has no spectrum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

_CELLS = ["window", "lead"]


def crps(forecast: xr.DataArray, target: xr.DataArray) -> xr.DataArray:
    """Fair CRPS, mean over the observed cells and the components, (window, lead).

    Fair: as if the ensemble were infinite, so that ensembles of unequal sizes can be compared (Ferro 2014).
    Of a single forecast it is the absolute error.
    """
    from scores.probability import crps_for_ensemble

    several = forecast.sizes["member"] > 1
    found: xr.DataArray = crps_for_ensemble(
        forecast, target, "member", method="fair" if several else "ecdf", preserve_dims=_CELLS
    )
    return found.transpose(*_CELLS)


def pooled(field: xr.DataArray, side: int, how: Literal["mean", "max"]) -> xr.DataArray:
    """Every square of ``side`` x ``side`` cells as one cell: its mean by component, or its largest magnitude.

    Of several components the magnitude, since the largest eastward wind would say nothing of a strong one
    from the east. A square with a cell that was not observed is not observed.
    """
    import numpy as np

    if how == "max" and field.sizes["component"] > 1:
        dims = field.dims
        field = magnitude(field).expand_dims(component=["magnitude"]).transpose(*dims)
    squares = field.coarsen({"y": side, "x": side}, boundary="trim")
    found: xr.DataArray = squares.reduce(np.mean if how == "mean" else np.max)
    return found


def magnitude(field: xr.DataArray) -> xr.DataArray:
    """The value of one component, or the length of the vector of several; without that dimension."""
    if field.sizes["component"] == 1:
        return field.isel(component=0, drop=True)
    found: xr.DataArray = (field**2).sum("component", skipna=False) ** 0.5
    return found


def csi(
    forecast: xr.DataArray, target: xr.DataArray, threshold: float, weights: np.ndarray | None = None
) -> xr.DataArray:
    """Critical success index of an event field, by lead: hits / (hits + misses + false alarms).

    Args:
        forecast: magnitude (window, lead, y, x), of one forecast or of the mean of an ensemble.
        target: the observed magnitude, alike.
        threshold: an event is a magnitude of this or more.
        weights: see `weighted`.

    Returns:
        (lead,), NaN where there is no event in either.
    """
    from scores.categorical import ThresholdEventOperator

    events = ThresholdEventOperator(default_event_threshold=threshold)
    table = events.make_contingency_manager(forecast, target).transform(preserve_dims=_CELLS)
    counts = {name: weighted(n, weights) for name, n in table.get_counts().items()}
    found: xr.DataArray = counts["tp_count"] / (counts["tp_count"] + counts["fp_count"] + counts["fn_count"])
    return found


def fss(forecast: xr.DataArray, target: xr.DataArray, threshold: float, side: int) -> xr.DataArray:
    """Fractions skill score of events in neighbourhoods of ``side`` cells, by lead; see `csi`.

    A cell that was not observed counts as no event in both, and windows count alike, whatever their weights.
    NaN where there is no event in either.
    """
    import numpy as np
    from scores.spatial import fss_2d

    seen = target.notnull() & forecast.notnull()
    # `scores` gives 0 where neither field has an event, which says nothing of the forecast.
    any_event = ((forecast >= threshold) & seen | (target >= threshold) & seen).any(["window", "y", "x"])
    found: xr.DataArray = fss_2d(
        forecast.where(seen, threshold - 1), target.where(seen, threshold - 1), event_threshold=threshold,
        window_size=(side, side), spatial_dims=("y", "x"), preserve_dims=["lead"],
        threshold_operator=np.greater_equal,
    )  # fmt: skip
    return found.where(any_event)


def rmse(forecast: xr.DataArray, target: xr.DataArray, weights: np.ndarray | None = None) -> xr.DataArray:
    """Root of the mean square error of the ensemble's mean, over the cells of all windows, by lead."""
    found: xr.DataArray = _by_lead((forecast.mean("member") - target) ** 2, weights) ** 0.5
    return found


def spread(forecast: xr.DataArray, target: xr.DataArray, weights: np.ndarray | None = None) -> xr.DataArray:
    """Root of the mean variance of the members where something was observed, by lead; NaN of one member.

    Times (m + 1) / m, so that a reliable ensemble of m members has as much spread as its mean has error.
    """
    m = forecast.sizes["member"]
    variance = forecast.var("member", ddof=1) if m > 1 else forecast.isel(member=0, drop=True) * float("nan")
    found: xr.DataArray = (_by_lead(variance.where(target.notnull()), weights) * (m + 1) / m) ** 0.5
    return found


def ranks(forecast: xr.DataArray, target: xr.DataArray, weights: np.ndarray | None = None) -> xr.DataArray:
    """How often the observation has each rank among the members, (lead, rank); flat if they are reliable.

    The share in the observed cells of each window, then the mean over windows, see `weighted`.
    """
    from scores.probability import rank_histogram

    found: xr.DataArray = rank_histogram(forecast, target, "member", preserve_dims=_CELLS)
    return weighted(found, weights).transpose("lead", ...)


def spectrum(field: xr.DataArray, weights: np.ndarray | None = None) -> xr.DataArray:
    """Radially averaged power of fields (..., y, x) by wavenumber, averaged over all but the leads.

    Args:
        field: without NaN; dimensions ``window``, ``lead``, ``y``, ``x`` and any others.
        weights: see `weighted`.

    Returns:
        (lead, wavenumber), wavenumbers 1 to half the shorter side, in cycles a window.
    """
    import numpy as np
    import xarray as xr

    rows, columns = field.sizes["y"], field.sizes["x"]
    values = field.transpose("lead", "window", ..., "y", "x").to_numpy()
    power = np.abs(np.fft.fft2(values)) ** 2 / (rows * columns) ** 2
    power = power.reshape(*power.shape[:2], -1, rows, columns).mean(2)  # of members and components
    power = np.average(power, axis=1, weights=weights)
    # Of a window that is no square the shorter side's cycles count: rings are of one length in cells.
    side = min(rows, columns)
    radius = np.hypot(np.fft.fftfreq(rows)[:, None] * side, np.fft.fftfreq(columns)[None] * side)
    ring, numbers = np.rint(radius).astype(int), np.arange(1, side // 2 + 1)
    rings = np.stack([power[:, ring == k].mean(1) for k in numbers], axis=1)
    return xr.DataArray(
        rings, dims=("lead", "wavenumber"), coords={"lead": field["lead"], "wavenumber": numbers}
    )


def weighted(values: xr.DataArray, weights: np.ndarray | None) -> xr.DataArray:
    """Mean over windows, each counting by its weight (n,), or all alike; NaN is left out."""
    import xarray as xr

    if weights is None:
        return values.mean("window")
    return values.weighted(xr.DataArray(weights, dims=("window",))).mean("window")


def _by_lead(field: xr.DataArray, weights: np.ndarray | None) -> xr.DataArray:
    """Mean over the cells of all windows, each window's counting by its weight (n,), or all alike."""
    import xarray as xr

    dims = [str(d) for d in field.dims if d != "lead"]
    if weights is None:
        return field.mean(dims)
    return field.weighted(xr.DataArray(weights, dims=("window",))).mean(dims)
