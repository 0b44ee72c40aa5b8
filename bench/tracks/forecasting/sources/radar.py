"""Rain that radars saw: one hour over the United States (MRMS), and one day over the Netherlands (KNMI).

Both in boxes of about 4 km. `rain` is split by longitude, with 64 cells between the splits; `radar` by time:
the last third is held out whole. A window has full coverage in all of its frames, and more than 5 % of its
cells are wet, above 0.1 mm/h, in the last frame that is shown. Of a place in validation or test one window
is taken; places near each other are of one block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bench.contract import BenchError, Inputs, Stage, Task
from bench.data.catalog import CATALOG
from bench.tracks.forecasting import cutting
from bench.tracks.forecasting.data import Part, Splits
from bench.tracks.forecasting.scale import FLOOR
from bench.tracks.forecasting.settings import Recipe, Run, recipe

if TYPE_CHECKING:
    import xarray as xr

#: Task -> data set of the catalogue; minutes between two of its frames.
DATA = {"rain": "mrms", "radar": "knmi"}
MINUTES = {"rain": 4, "radar": 10}
#: Columns of `rain`, boxes of 0.04 degrees from 130 degrees west on: 130.0-105.7 and 92.9-82.7 for training,
#: 103.1-95.5 for validation, 80.1-60.9 for test.
COLUMNS: Mapping[str, tuple[tuple[int, int], ...]] = {
    "train": ((0, 608), (928, 1184)), "val": ((672, 864),), "test": ((1248, 1728),),
}  # fmt: skip
#: Frames of `radar`, as shares of the event: what lies between two splits is a gap.
THIRDS: Mapping[str, tuple[float, float]] = {"train": (0.0, 0.43), "val": (0.45, 0.64), "test": (0.67, 1.0)}
#: Smallest share of wet cells in the last frame that is shown.
WET = 0.05
#: Cells a side of a block of `rain`, of `radar`: 512 and 256 km.
BLOCK = {"rain": 128, "radar": 64}
#: Cells between two places; those of `radar` overlap, since of disjoint ones only three are covered and wet.
STRIDE = {"rain": 32, "radar": 16}


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """There are no stages: the data set is prepared by its reader."""
    return ()


def missing(task: Task, run: Run) -> str | None:
    """Which data set has to be provided or prepared and the command that helps, or None."""
    return CATALOG[DATA[task.params["dataset"]]].open().missing()


def fingerprint(task: Task, run: Run) -> str:
    """Digest of the frames."""
    return CATALOG[DATA[task.params["dataset"]]].open().fingerprint()


def splits(task: Task, run: Run, inputs: Inputs) -> Splits:
    """The windows; of frames that were prepared this takes seconds.

    Raises:
        BenchError: no window of a split is covered and wet.
    """
    from bench.data.fields import frames

    dataset = task.params["dataset"]
    r = recipe(dataset, run)
    events = [e for whole in frames.read(DATA[dataset]) for e in frames.unbroken(whole)]
    return Splits(**{split: _part(events, dataset, split, r) for split in ("train", "val", "test")})


def _part(events: Sequence[xr.DataArray], dataset: str, split: str, r: Recipe) -> Part:
    shape = cutting.Shape(r.frames, r.leads, r.size, 0 if split == "train" else r.margin)
    found = [
        (event, _places(event, dataset, split, r))
        for event in events
        if event.sizes["time"] >= r.frames + r.leads
    ]
    parts = [
        cutting.cut(
            event, places if split == "train" else cutting.thinned(places, r.windows), shape,
            f"{dataset}-{event['time'].values[0]!s:.16}", MINUTES[dataset], "minutes",
        )
        for event, places in found
        if places
    ]  # fmt: skip
    if not parts:
        raise BenchError(f"forecasting: {dataset}: no window of the split {split!r} is covered and wet")
    return cutting.joined(parts)


def _places(event: xr.DataArray, dataset: str, split: str, r: Recipe) -> list[cutting.Place]:
    """Where an event's windows of a split lie: all in time for training, else one or two a place."""
    import numpy as np

    values = event.isel(component=0).to_numpy()
    n, rows, columns = values.shape
    first, last = 0, n
    spans: tuple[tuple[int, int], ...] = ((0, columns),)
    if dataset == "rain":
        spans = COLUMNS[split]
    else:
        first, last = (round(share * n) for share in THIRDS[split])
    length, places = r.frames + r.leads, []
    for row in range(0, rows - r.size + 1, STRIDE[dataset]):
        for column in (c for a, b in spans for c in range(a, min(b, columns) - r.size + 1, STRIDE[dataset])):
            block = f"y{row // BLOCK[dataset]}-x{column // BLOCK[dataset]}"
            here = values[:, row : row + r.size, column : column + r.size]
            covered = ~np.isnan(here).any((1, 2))
            wet = (here > FLOOR).mean((1, 2)) > WET
            starts = [
                t
                for t in range(first, last - length + 1)
                if covered[t : t + length].all() and wet[t + r.frames - 1]
            ]
            if split != "train":
                middle = starts[len(starts) // 2 :][:1]
                starts = middle if dataset == "rain" else sorted({*starts[:1], *starts[-1:]})
            places += [cutting.Place(t, row, column, block) for t in starts]
    return places
