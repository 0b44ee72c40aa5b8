"""Fields of the user's own (`bench.data.brought.fields`): tiles beside each other, split by time.

A window lies over no gap in time, and more than half of its cells are observed in each frame. Windows of
training overlap; blocks are stretches of time, in which all places are together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.contract import BenchError, Inputs, Stage, Task
from bench.data.brought import entries
from bench.data.brought.fields import SHARES
from bench.tracks.forecasting import cutting
from bench.tracks.forecasting.data import ForecastingData, Part, Splits
from bench.tracks.forecasting.settings import Assumed, Recipe, Run, as_run

if TYPE_CHECKING:
    import xarray as xr

#: Assumed: at most so many windows are learnt from, evenly spread over all that there are.
MOST = 4_000
#: Share of the cells that has to be observed in each frame of a window.
COVERED = 0.5
_ASSUMED = Assumed(steps=800, regression_steps=800)
#: A block has as many frames as so many windows.
_WINDOWS = 4


def names() -> tuple[str, ...]:
    """The user's fields."""
    return entries.names("fields")


def task(dataset: str) -> Task:
    """The task of a data set."""
    rain = entries.entry(dataset).settings["units"] == "mm/h"
    return Task(
        name=dataset, params={"dataset": dataset, "rain": rain}, data=dataset, group="rain" if rain else "",
        brought=dataset,
    )  # fmt: skip


def recipe(task: Task, run: Run) -> Recipe:
    """What the task asks: of rain as the laptop's rain, of all else without thresholds."""
    s = entries.entry(task.brought).settings
    # An entry that was added by an earlier version does not say how wide a cell is.
    found = Recipe(
        size=s["size"], frames=s["frames"], leads=s["leads"], km=s.get("km"), assumed=_ASSUMED
    )  # fmt: skip
    if task.params["rain"]:
        found = replace(
            found, windows=48, transform="log-rain", thresholds=(1.0, 4.0, 8.0), wet=0.1
        )  # fmt: skip
    return as_run(found, run)


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """There are no stages, since windows are read out of the file."""
    return ()


def missing(task: Task, run: Run) -> str | None:
    """Where the file lay that is not there any more, or None."""
    return entries.source(task.brought).missing()


def fingerprint(task: Task, run: Run) -> str:
    """Digest of the file and of how it is read and split."""
    return entries.source(task.brought).fingerprint()


def splits(task: Task, run: Run, inputs: Inputs) -> Splits:
    """The windows.

    Raises:
        BenchError: a split has none.
    """
    from bench.data.brought import fields
    from bench.data.fields import frames

    event, r = fields.read(task.brought), recipe(task, run)
    return Splits(**{s: _part(task, frames.unbroken(event), event.sizes["time"], s, r) for s in SHARES})


def _part(task: Task, stretches: Sequence[xr.DataArray], frames: int, split: str, r: Recipe) -> Part:
    first, last = (round(share * frames) for share in SHARES[split])
    length, begin = r.frames + r.leads, 0
    found: list[tuple[xr.DataArray, cutting.Place]] = []
    for stretch in stretches:
        until = begin + stretch.sizes["time"]
        every = 2 if split == "train" else length
        starts = range(max(first, begin), min(last, until) - length + 1, every)
        tiles = _tiles(stretch, r.size)
        found += [
            (stretch, cutting.Place(t - begin, row, column, f"t{t // (_WINDOWS * length)}"))
            for t in starts
            for row, column in tiles
        ]
        begin = until
    found = cutting.thinned(found, MOST if split == "train" else r.most(split))
    shape = cutting.Shape(r.frames, r.leads, r.size, r.margin if split != "train" else 0)
    read = [
        _window(stretch, p, shape, f"{task.name}-{split}-{i:05d}") for i, (stretch, p) in enumerate(found)
    ]
    if not (kept := [part for part in read if _observed(part)]):
        raise BenchError(
            f"forecasting: {task.name}: no window of {r.frames} + {r.leads} frames without a gap in time,"
            f" with {r.size} x {r.size} cells most of which are observed, for the split {split!r}"
        )
    return cutting.joined(kept)


def _tiles(event: xr.DataArray, size: int) -> list[tuple[int, int]]:
    """Rows and columns at which disjoint windows begin."""
    return [
        (row, column)
        for row in range(0, event.sizes["y"] - size + 1, size)
        for column in range(0, event.sizes["x"] - size + 1, size)
    ]


def _window(stretch: xr.DataArray, p: cutting.Place, shape: cutting.Shape, name: str) -> Part:
    """One window, of which no more is read than it needs with what lies around."""
    (rows, columns), m = shape.sides, shape.margin
    top, left = max(p.row - m, 0), max(p.column - m, 0)
    piece = stretch.isel(
        time=slice(p.frame, p.frame + shape.frames + shape.leads),
        y=slice(top, p.row + rows + m), x=slice(left, p.column + columns + m),
    ).load()  # fmt: skip
    here = cutting.Place(0, p.row - top, p.column - left, p.block)
    return cutting.cut(piece, [here], shape, name, stretch.attrs["step"], stretch.attrs["step_unit"])


def _observed(part: Part) -> bool:
    """Whether in each frame of a window more than `COVERED` of the cells were observed."""
    both = (part.windows.inputs, part.windows.targets)
    return all(bool((f.notnull().mean(("component", "y", "x")) > COVERED).all()) for f in both)


def given(task: Task, run: Run, inputs: Inputs) -> ForecastingData:
    """The windows of all splits, without what followed the test windows: what a method is given."""
    found, r = splits(task, run, inputs), recipe(task, run)
    test = found.test.windows
    return ForecastingData(
        name=task.name, units=test.inputs.attrs["units"], transform=r.transform, train=found.train.windows,
        val=found.val.windows, test=test.inputs, wide=found.test.wide, val_wide=found.val.wide,
        margin=r.margin, val_weights=None, leads=test.targets["lead"], members=run.members, recipe=r,
    )  # fmt: skip
