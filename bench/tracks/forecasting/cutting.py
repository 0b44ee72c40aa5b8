"""Cutting windows out of events: sequences of fields without a gap in time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from bench.tracks.forecasting.data import INPUT, TARGET, Part, Windows

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

T = TypeVar("T")
_LOG = logging.getLogger("bench.data")


class Place(NamedTuple):
    """Where a window lies: its first frame, the row and the column of its first cell, and its block.

    Windows of one block are not independent.
    """

    frame: int
    row: int
    column: int
    block: str


class Shape(NamedTuple):
    """Size of a window: input frames, leads, cells a side, and cells around that `Part.wide` has more."""

    frames: int
    leads: int
    size: int | tuple[int, int]
    margin: int = 0

    @property
    def sides(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)


def cut(
    event: xr.DataArray,
    places: Sequence[Place],
    shape: Shape,
    name: str,
    step: float,
    unit: str,
    fixed: bool = False,
) -> Part:
    """The windows of an event at some places.

    Args:
        event: (time, component, y, x) with ``attrs["units"]``, frames at equal distances.
        places: of the windows, whose names are made of them.
        shape: of the windows.
        name: of the event, the first part of a window's name.
        step: time between two frames.
        unit: of ``step``, such as ``minutes``.
        fixed: whether the windows of all splits lie at the same few places, which then have a coordinate.
    """
    import numpy as np
    import xarray as xr

    values = event.transpose("time", "component", "y", "x").to_numpy()
    rows, columns = shape.sides
    past = [values[_slices(p, shape.frames, 0, rows, columns)] for p in places]
    future = [values[_slices(p, shape.leads, shape.frames, rows, columns)] for p in places]
    coords = {
        "window": np.array([f"{name}/t{p.frame:04d}-y{p.row:04d}-x{p.column:04d}" for p in places]),
        "component": event["component"].values,
        "y": np.arange(rows), "x": np.arange(columns),
        "time": ("time", np.arange(1 - shape.frames, 1) * step, {"units": unit}),
        "lead": ("lead", np.arange(1, shape.leads + 1) * step, {"units": unit}),
    }  # fmt: skip
    at = {"place": ("window", np.array([f"y{p.row}-x{p.column}" for p in places]))} if fixed else {}
    attrs = {"units": event.attrs["units"]}

    def labelled(arrays: Sequence[np.ndarray], dims: tuple[str, ...], **other: np.ndarray) -> xr.DataArray:
        mine = {d: coords[d] for d in dims} | at | other
        return xr.DataArray(np.stack(arrays).astype(np.float32), dims=dims, coords=mine, attrs=attrs)

    wide = None
    if m := shape.margin:
        around = np.pad(values, [(0, 0), (0, 0), (m, m), (m, m)], constant_values=np.nan)
        more = [around[_slices(p, shape.frames, 0, rows + 2 * m, columns + 2 * m)] for p in places]
        wide = labelled(more, INPUT, y=np.arange(-m, rows + m), x=np.arange(-m, columns + m))
    return Part(
        windows=Windows(labelled(past, INPUT), labelled(future, TARGET)),
        groups=np.array([p.block for p in places]), wide=wide,
    )  # fmt: skip


def joined(parts: Sequence[Part]) -> Part:
    """The windows of several events of one unit and size, one after another."""
    import numpy as np
    import xarray as xr

    def along(fields: Sequence[xr.DataArray]) -> xr.DataArray:
        return xr.concat(fields, dim="window", combine_attrs="identical")

    wide = [p.wide for p in parts if p.wide is not None]
    return Part(
        windows=Windows(
            along([p.windows.inputs for p in parts]), along([p.windows.targets for p in parts])
        ),
        groups=np.concatenate([p.groups for p in parts]), wide=along(wide) if wide else None,
    )  # fmt: skip


def say_left_out(name: str, split: str, frames: Sequence[int], stretches: Sequence[int], length: int) -> None:
    """Count in the log at how many frames no window can begin because it would lie over a gap in time.

    Args:
        name: of the task.
        split: that is cut.
        frames: of each event.
        stretches: frames of each stretch without a gap, of all events.
        length: frames of a window.
    """
    could, can = (sum(max(0, n - length + 1) for n in of) for of in (frames, stretches))
    if could > can:
        left_out = "%s: %s: %d of %d windows in time lie over a gap and are left out"
        _LOG.info(left_out, name, split, could - can, could)


def thinned(places: Sequence[T], most: int) -> list[T]:
    """At most so many of the places, evenly spread over them; all if they are not more."""
    if len(places) <= most:
        return list(places)
    return [places[round(i * (len(places) - 1) / max(most - 1, 1))] for i in range(most)]


def _slices(p: Place, frames: int, skip: int, rows: int, columns: int) -> tuple[slice, ...]:
    return (
        slice(p.frame + skip, p.frame + skip + frames), slice(None),
        slice(p.row, p.row + rows), slice(p.column, p.column + columns),
    )  # fmt: skip
