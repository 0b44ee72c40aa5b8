"""What all fields have in common: the form of an event, where its time has gaps, averages over boxes."""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from bench.contract import BenchError
from bench.data.catalog import CATALOG

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

#: Dimensions of an event, in this order.
DIMS = ("time", "component", "y", "x")
#: Units that a field may have: of wind, of rain, and of numbers without a unit.
UNITS = ("m s-1", "mm/h", "1")
#: A step of time is a gap if it is longer than this many usual steps: months differ in length.
_GAP = 1.5


def read(name: str) -> tuple[xr.DataArray, ...]:
    """All events of a data set of the catalogue, in the order of their time or of their number.

    Raises:
        BenchError: the data set is missing (says the command that helps), or no data set of fields.
    """
    module = CATALOG[name].module if name in CATALOG else ""
    if not module.startswith("bench.data.fields."):
        raise BenchError(f"{name}: is no data set of fields")
    if why := CATALOG[name].open().missing():
        raise BenchError(why)
    events: tuple[xr.DataArray, ...] = import_module(module).read(name)
    return events


def event(
    values: np.ndarray,
    *,
    name: str,
    units: str,
    components: Sequence[str],
    time: Any,
    y: Any = None,
    x: Any = None,
    **attrs: Any,
) -> xr.DataArray:
    """An event as `xarray.DataArray`, float32; NaN is what was not observed.

    Args:
        values: (time, component, y, x).
        name: its name, unique within its data set.
        units: one of `UNITS`.
        components: names of the components, such as u and v.
        time: ascending, datetime64 or numbers.
        y, x: coordinates of the cells; by default their numbers.
        attrs: further attributes, such as the part of the data that the event belongs to.

    Raises:
        BenchError: the unit is not known, or the time does not ascend.
    """
    import numpy as np
    import xarray as xr

    if units not in UNITS:
        raise BenchError(f"{name}: unknown unit {units!r}; expected one of {', '.join(UNITS)}")
    time = np.asarray(time)
    if (np.diff(time) <= np.zeros(1, np.diff(time).dtype)).any():
        raise BenchError(f"{name}: the times of its frames do not ascend")
    coords = {
        "time": time,
        "component": list(components),
        "y": np.arange(values.shape[2]) if y is None else y,
        "x": np.arange(values.shape[3]) if x is None else x,
    }
    attrs = {"units": units, **attrs}
    return xr.DataArray(np.asarray(values, np.float32), coords, DIMS, name, attrs)


def unbroken(whole: xr.DataArray) -> tuple[xr.DataArray, ...]:
    """The stretches of an event between gaps: no window of one of them lies over a missing frame."""
    import numpy as np

    steps = np.diff(whole["time"].values)
    if not len(steps):
        return (whole,)
    cuts = np.flatnonzero(steps > _GAP * np.median(steps)) + 1
    edges = [0, *cuts.tolist(), whole.sizes["time"]]
    return tuple(whole.isel(time=slice(a, b)) for a, b in pairwise(edges))


def let_go(error: BaseException | None) -> None:
    """Free what a reader left half-open: h5netcdf's file then complains of its own end, to no use."""
    before, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
    try:
        while error is not None:
            traceback.clear_frames(error.__traceback__)
            error = error.__context__
        gc.collect()
    finally:
        sys.unraisablehook = before


def boxes(values: np.ndarray, factor: int) -> np.ndarray:
    """Averages of boxes of ``factor`` by ``factor`` cells of the last two axes; NaN if any cell is NaN.

    A rest at the end of an axis that fills no box is left out.
    """
    *front, rows, columns = values.shape
    rows, columns = rows // factor, columns // factor
    cut = values[..., : rows * factor, : columns * factor]
    averages: np.ndarray = cut.reshape(*front, rows, factor, columns, factor).mean((-3, -1))
    return averages
