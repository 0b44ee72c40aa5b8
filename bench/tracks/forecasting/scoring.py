"""Checks of a method's answer, and all measures of it put together.

A forecast is compared on the task's scale (`scale`); events in physical units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from bench.contract import Units
from bench.tracks.common.answers import Answer
from bench.tracks.forecasting import metrics, precision
from bench.tracks.forecasting.data import FORECAST, PRECISION, Part, Truth
from bench.tracks.forecasting.scale import scaled
from bench.tracks.forecasting.settings import Transform

if TYPE_CHECKING:
    import xarray as xr

#: Units of rain: nothing negative has a meaning in them.
RAIN = "mm/h"


def forecast(answer: Answer, split: Literal["test", "val"], truth: Truth) -> xr.DataArray:
    """The forecast for ``test`` or ``val``, in double precision, dimensions `FORECAST`.

    A window that is not finite anywhere passes and gives a score of NaN: that method diverged, but what it
    answered has the right shape.

    Raises:
        AnswerError: it is no `DataArray`, has other dimensions, coordinates or units, or fewer members than
            asked, is not finite at some observed cells, or is rain below zero.
    """
    target = truth.test if split == "test" else truth.val
    found = _aligned(answer, split, FORECAST, target)
    units, wanted = found.attrs.get("units"), target.attrs["units"]
    if units != wanted:
        raise answer.error(f"answer[{split!r}] has attrs['units'] = {units!r}, expected {wanted!r}")
    declared = answer.number("members")
    members = found.sizes["member"]
    if members not in (1, truth.members if declared is None else declared):
        raise answer.error(
            f"answer[{split!r}] has {members} members, expected {truth.members}, or 1 of a method that gives"
            " one forecast; a method that has fewer by its nature says how many in answer['members']"
        )
    _finite(answer, f"answer[{split!r}]", found, target)
    # Not observed cells have no say in anything, whatever is forecast there.
    found = found.where(target.notnull()).transpose(*FORECAST)
    if wanted == RAIN and bool((found < 0).any()):
        raise answer.error(f"answer[{split!r}] has rain of {float(found.min()):.3g} {RAIN}, below zero")
    return found


def precision_map(answer: Answer, truth: Truth) -> xr.DataArray | None:
    """The method's own map of the test windows, larger where less is certain, or None; see `forecast`."""
    if answer.get("precision") is None:
        return None
    found = _aligned(answer, "precision", PRECISION, truth.test)
    _finite(answer, "answer['precision']", found, truth.test.isel(component=0, drop=True))
    return found


def _aligned(answer: Answer, key: str, dims: tuple[str, ...], target: xr.DataArray) -> xr.DataArray:
    """An entry with exactly these dimensions and the coordinates of the target, in their order."""
    import numpy as np
    import xarray as xr

    found = answer.get(key)
    if not isinstance(found, xr.DataArray):
        raise answer.error(f"answer[{key!r}] is a {type(found).__name__}, expected an xarray.DataArray")
    if set(found.dims) != set(dims):
        raise answer.error(f"answer[{key!r}] has dimensions {found.dims}, expected {dims}")
    for dim in dims:
        if dim == "member":
            continue
        expected = target[dim].values
        if dim not in found.coords:
            raise answer.error(f"answer[{key!r}] has no coordinate {dim!r}: give it those of the inputs")
        if found.sizes[dim] != len(expected):
            raise answer.error(
                f"answer[{key!r}] has {found.sizes[dim]} along {dim!r}, expected {len(expected)}"
            )
        if not np.array_equal(found[dim].values, expected):
            at = next(i for i, (a, b) in enumerate(zip(found[dim].values, expected, strict=True)) if a != b)
            raise answer.error(
                f"answer[{key!r}] has {found[dim].values[at]!s} at position {at} of {dim!r}, expected"
                f" {expected[at]!s}"
            )
    if found.dtype.kind not in "fiu":
        raise answer.error(f"answer[{key!r}] holds {found.dtype}, expected numbers")
    return found.transpose(*dims).astype("float64")


def _finite(answer: Answer, what: str, found: xr.DataArray, target: xr.DataArray) -> None:
    """Let pass a window that is not finite anywhere, as it diverged; not one that is so in places."""
    import numpy as np
    import xarray as xr

    bad = ~xr.apply_ufunc(np.isfinite, found) & target.notnull()
    inside = [d for d in bad.dims if d != "window"]
    some, every = bad.any(inside), (bad | target.isnull()).all(inside)
    if bool((some & ~every).any()):
        window = found["window"].values[int((some & ~every).to_numpy().argmax())]
        raise answer.error(
            f"{what} is not finite at {int(bad.sel(window=window).sum())} observed cells of window {window!s}"
        )


def lagged(part: Part, transform: Transform) -> float:
    """The CRPS of the lagged ensemble on a part's windows: each input frame, unchanged, is a member."""
    from bench.tracks.forecasting.rows.forecasts import filled
    from bench.tracks.forecasting.scale import unscaled

    inputs, targets = part.windows.inputs, part.windows.targets
    frames = unscaled(filled(scaled(inputs.values, transform), transform), transform)
    members = inputs.copy(data=frames).rename(time="member").drop_vars("member")
    found = scaled(members.expand_dims(lead=targets["lead"]), transform).transpose(*FORECAST)
    value = metrics.crps(found.astype("float64"), scaled(targets, transform)).mean("lead")
    return _mean(value, part.weights)


def numbers(found: xr.DataArray, truth: Truth, split: Literal["test", "val"]) -> dict[str, float | None]:
    """CRPS of a split as one number, its skill over the lagged ensemble, and in mm/h for rain."""
    ours = split == "test"
    target, weights, reference = (
        (truth.test, truth.weights, truth.lagged)
        if ours
        else (truth.val, truth.val_weights, truth.val_lagged)
    )
    transform = truth.recipe.transform
    value = _mean(metrics.crps(scaled(found, transform), scaled(target, transform)).mean("lead"), weights)
    rain = None
    if target.attrs["units"] == RAIN:
        rain = float(metrics.weighted(metrics.crps(found, target).mean("lead"), weights))
    return {"crpss": 1 - value / reference, "crps": value, "crps_mm": rain}


def units(by_window: xr.DataArray, truth: Truth) -> dict[str, Units]:
    """CRPS of every test window, (n,), and its share of the skill, with its block; in the order of their
    names. Their means are the metrics.
    """
    import numpy as np

    order = np.argsort(truth.ids)
    each = by_window.to_numpy()
    if truth.weights is not None:
        each = each * truth.weights / truth.weights.mean()
    of = {"crpss": 1 - each / truth.lagged, "crps": each}
    return {name: Units(truth.ids[order], v[order], truth.groups[order]) for name, v in of.items()}


def by_lead(found: xr.DataArray, truth: Truth) -> dict[str, xr.DataArray]:
    """All measures of the test windows by lead, and the CRPS of each window under ``by_window``."""
    import numpy as np
    import xarray as xr

    r, target, w = truth.recipe, truth.test, truth.weights
    own, observed = scaled(found, r.transform), scaled(target, r.transform)
    each = metrics.crps(own, observed)
    series = {"by_window": each.mean("lead"), "crps": metrics.weighted(each, w)}
    pooling: tuple[tuple[str, Literal["mean", "max"]], ...] = (
        ("crps_mean_pooled", "mean"), ("crps_max_pooled", "max"),
    )  # fmt: skip
    for name, how in pooling:
        pair = [scaled(metrics.pooled(f, r.pool, how), r.transform) for f in (found, target)]
        series[name] = metrics.weighted(metrics.crps(pair[0], pair[1]), w)
    if target.attrs["units"] == RAIN:
        series["crps_mm"] = metrics.weighted(metrics.crps(found, target), w)
    series["rmse"] = metrics.rmse(own, observed, w)
    series["spread"] = metrics.spread(own, observed, w)
    series["ranks"] = metrics.ranks(own, observed, w)
    mean, seen = metrics.magnitude(found.mean("member")), metrics.magnitude(target)
    if r.thresholds:
        at = xr.DataArray(np.array(r.thresholds), dims=("threshold",), name="threshold")
        series["csi"] = xr.concat([metrics.csi(mean, seen, t, w) for t in r.thresholds], dim=at)
        series["fss"] = xr.concat([metrics.fss(mean, seen, t, r.fss) for t in r.thresholds], dim=at)
    # Of windows that were observed everywhere: `storm` has none.
    whole = observed.notnull().all(["lead", "component", "y", "x"]).to_numpy()
    if whole.any():
        of_whole = None if w is None else w[whole]
        two = [metrics.spectrum(f[whole], of_whole) for f in (own, observed)]
        series["spectrum"] = xr.concat(
            two, dim=xr.DataArray(["forecast", "observed"], dims=("of",), name="of")
        )
    return series


def of_maps(found: xr.DataArray, own: xr.DataArray | None, truth: Truth) -> xr.DataArray:
    """Rank correlations of the maps with the error, (map, subset, window, lead), on the task's scale."""
    r = truth.recipe
    members, observed = scaled(found, r.transform), scaled(truth.test, r.transform)
    # A little more: dry cells are at the floor of the logarithm, which is the same number.
    wet = None if r.wet is None else 1e-6 + (math.log10(r.wet) if r.transform == "log-rain" else r.wet)
    maps = precision.maps(members, scaled(truth.last, r.transform), own)
    return precision.correlations(maps, members, observed, wet)


def number(values: xr.DataArray | None) -> float | None:
    """The mean of what is defined in a series, or None if nothing is."""
    if values is None or not bool(values.notnull().any()):
        return None
    return float(values.mean())


def _mean(by_window: xr.DataArray, weights: Any) -> float:
    """Mean over windows; NaN as soon as one window is: that method diverged."""
    if bool(by_window.isnull().any()):
        return math.nan
    return float(metrics.weighted(by_window, weights))


def diagnostics(rho: xr.DataArray) -> Mapping[str, float | None]:
    """The numbers that a board shows of correlations (map, subset, lead): U, spread and mean forecast."""
    found: dict[str, float | None] = {}
    for name, short in (("U", "u"), ("spread", "spread"), ("mean forecast", "forecast")):
        for subset in precision.SUBSETS:
            if (short, subset) == ("forecast", "given"):
                continue  # given itself, nothing is left
            here = name in rho["map"].values
            value = number(rho.sel(map=name, subset=subset)) if here else None
            found[f"{short}_{subset}"] = value
    return found
