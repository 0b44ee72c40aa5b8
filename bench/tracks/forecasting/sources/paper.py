"""The data of the paper's kinds, as the user has them: UK radar, ERA5 wind, Moving MNIST, turbulent flow.

Which region, years, crops and splits the paper took was not found, so all of them are assumed here. Windows
are read one by one out of events that are opened, not loaded. UK radar has the splits of its publisher, is
cut in the middle of each of its sequences, and windows count by one over the probability that the publisher
drew their crop with; its blocks are days. ERA5 is split by year, the last two for test and validation, and
its blocks are months. Moving MNIST's one file is split by sequence, though digits may come again in another
split; turbulent flow is split by time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from bench.contract import BenchError, Inputs, Stage, Task
from bench.data.catalog import CATALOG
from bench.tracks.forecasting import cutting
from bench.tracks.forecasting.data import Part, Splits
from bench.tracks.forecasting.settings import PAPER, Recipe, Run, recipe

if TYPE_CHECKING:
    import xarray as xr

#: Assumed: at most so many windows are learnt from, evenly spread over all that there are.
MOST = 4_000
#: Where validation and test begin, as shares of the sequences or frames.
SHARES: Mapping[str, tuple[float, float]] = {"train": (0.0, 0.8), "val": (0.8, 0.9), "test": (0.9, 1.0)}
#: Share of the cells that has to be observed in each frame of a window.
COVERED = 0.5
#: Frames of a block of turbulent flow.
_BLOCK = 30


class _Found(NamedTuple):
    """A window before it is read: its event, its place there, and how much it counts."""

    event: xr.DataArray
    place: cutting.Place
    weight: float = 1.0


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """There are no stages: the data sets are prepared by their readers."""
    return ()


def missing(task: Task, run: Run) -> str | None:
    """Which data set has to be provided or prepared and the command that helps, or None."""
    return CATALOG[PAPER[task.params["dataset"]]].open().missing()


def fingerprint(task: Task, run: Run) -> str:
    """Digest of the data."""
    return CATALOG[PAPER[task.params["dataset"]]].open().fingerprint()


def splits(task: Task, run: Run, inputs: Inputs) -> Splits:
    """The windows.

    Raises:
        BenchError: a split has none, or the data are smaller than a window.
    """
    from bench.data.fields import frames

    dataset = task.params["dataset"]
    r = recipe(dataset, run)
    events = frames.read(PAPER[dataset])
    return Splits(**{split: _part(events, dataset, split, r) for split in ("train", "val", "test")})


def _part(events: Sequence[xr.DataArray], dataset: str, split: str, r: Recipe) -> Part:
    import numpy as np

    find = {"uk-radar": _radar, "era5-wind": _wind, "moving-mnist": _sequences, "turbulent-flow": _flow}
    found = find[dataset](events, split, r)
    if not found:
        raise BenchError(
            f"forecasting: {dataset}: no window of {r.frames} + {r.leads} frames of {r.size} x {r.size} cells"
            f" for the split {split!r}"
        )
    found = cutting.thinned(found, MOST if split == "train" else r.most(split))
    read = [_window(f, f"{dataset}-{split}-{i:05d}", r, split) for i, f in enumerate(found)]
    kept = [i for i, part in enumerate(read) if _observed(part)]
    if not kept:
        raise BenchError(f"forecasting: {dataset}: no window of the split {split!r} was observed")
    part = cutting.joined([read[i] for i in kept])
    if dataset != "uk-radar":
        return part
    return replace(part, weights=np.array([found[i].weight for i in kept]))


def _observed(part: Part) -> bool:
    """Whether in each frame of a window more than `COVERED` of the cells were observed."""
    fields = (part.windows.inputs, part.windows.targets)
    return all(bool((f.notnull().mean(("component", "y", "x")) > COVERED).all()) for f in fields)


def _window(found: _Found, name: str, r: Recipe, split: str) -> Part:
    """One window, of which no more is read than it needs with what lies around."""
    event, place = found.event, found.place
    m = 0 if split == "train" else r.margin
    top, left = max(place.row - m, 0), max(place.column - m, 0)
    piece = event.isel(
        time=slice(place.frame, place.frame + r.frames + r.leads),
        y=slice(top, place.row + r.size + m),
        x=slice(left, place.column + r.size + m),
    ).load()
    here = cutting.Place(0, place.row - top, place.column - left, place.block)
    shape = cutting.Shape(r.frames, r.leads, r.size, m)
    return cutting.cut(piece, [here], shape, name, event.attrs["step"], event.attrs["step_unit"])


def _radar(events: Sequence[xr.DataArray], split: str, r: Recipe) -> list[_Found]:
    """The middle of each sequence of the publisher's split."""
    found = []
    for event in (e for e in events if e.attrs["part"] == split):
        length, rows, columns = int(event.attrs["sequence"]), event.sizes["y"], event.sizes["x"]
        if length < r.frames + r.leads or min(rows, columns) < r.size:
            continue
        row, column = (rows - r.size) // 2, (columns - r.size) // 2
        days = event["time"].values.astype("datetime64[D]").astype(str)
        drawn = event["sample_prob"].values
        found += [
            _Found(event, cutting.Place(t, row, column, str(days[t])), 1 / float(drawn[t]))
            for t in range(0, event.sizes["time"], length)
        ]
    return found


def _wind(events: Sequence[xr.DataArray], split: str, r: Recipe) -> list[_Found]:
    """Windows beside and after each other, of the years of a split."""
    from bench.data.fields import frames

    years = sorted({int(y) for e in events for y in e["time"].dt.year.values})
    if len(years) < 3:
        raise BenchError(
            f"forecasting: era5-wind: has the years {years}; expected three or more, the last two for"
            " validation and test"
        )
    of = {"train": years[:-2], "val": years[-2:-1], "test": years[-1:]}[split]
    found = []
    for event in events:
        mine = event.isel(time=event["time"].dt.year.isin(of).values)
        for stretch in frames.unbroken(mine) if mine.sizes["time"] else ():
            months = stretch["time"].values.astype("datetime64[M]").astype(str)
            found += [
                _Found(stretch, cutting.Place(t, row, column, str(months[t])))
                for t in _starts(0, stretch.sizes["time"], r, r.frames + r.leads)
                for row, column in _tiles(stretch, r)
            ]
    return found


def _sequences(events: Sequence[xr.DataArray], split: str, r: Recipe) -> list[_Found]:
    """The beginning of each sequence of a split; a sequence is a block."""
    (event,) = events
    length = int(event.attrs["sequence"])
    n = event.sizes["time"] // length
    first, last = (round(share * n) for share in SHARES[split])
    if length < r.frames + r.leads:
        return []
    return [
        _Found(event, cutting.Place(i * length, row, column, f"sequence {i}"))
        for i in range(first, last)
        for row, column in _tiles(event, r)
    ]


def _flow(events: Sequence[xr.DataArray], split: str, r: Recipe) -> list[_Found]:
    """Tiles of the frames of a split; windows of training overlap in time."""
    (event,) = events
    first, last = (round(share * event.sizes["time"]) for share in SHARES[split])
    every = 2 if split == "train" else r.frames + r.leads
    return [
        _Found(event, cutting.Place(t, row, column, f"t{t // _BLOCK}"))
        for t in _starts(first, last, r, every)
        for row, column in _tiles(event, r)
    ]


def _starts(first: int, last: int, r: Recipe, every: int) -> range:
    return range(first, last - r.frames - r.leads + 1, every)


def _tiles(event: xr.DataArray, r: Recipe) -> list[tuple[int, int]]:
    """Rows and columns at which disjoint windows of an event begin."""
    return [
        (row, column)
        for row in range(0, event.sizes["y"] - r.size + 1, r.size)
        for column in range(0, event.sizes["x"] - r.size + 1, r.size)
    ]
