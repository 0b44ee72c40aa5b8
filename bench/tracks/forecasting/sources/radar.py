"""Rain that radars saw: an hour over the United States (MRMS), a day over the Netherlands (KNMI), and others.

All in boxes of about 4 km. `rain` is split by longitude, with 64 cells between the splits. `radar` and the
others are split by time: of several events the last is held out whole, of one its last third. A window has
full coverage in all of its frames, and more than 5 % of its cells are wet in the last frame that is shown.
Windows of training may overlap; places of validation and of test share no cell. Of such a place one window of
`rain` is taken, the middle one, and of the others the first, and the last if they share no frame. Places of
`rain` near each other are of one block; of the others each place is one: they lie in the same few storms, but
are too few to be put together.
"""

from __future__ import annotations

import logging
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

_LOG = logging.getLogger("bench.data")
#: Task -> data set of the catalogue. The last three are of a user's own copy.
DATA: Mapping[str, str] = {
    "rain": "mrms", "radar": "knmi",
    "radar-fmi": "fmi", "radar-meteoswiss": "meteoswiss", "radar-bom": "bom",
}  # fmt: skip


def minutes(dataset: str) -> int:
    """Minutes between two frames of a task; events whose frames have another distance are left out."""
    return 4 if dataset == "rain" else 10


#: Columns of `rain`, boxes of 0.04 degrees from 130 degrees west on: 130.0-105.7 and 92.9-82.7 for training,
#: 103.1-95.5 for validation, 80.1-60.9 for test.
COLUMNS: Mapping[str, tuple[tuple[int, int], ...]] = {
    "train": ((0, 608), (928, 1184)), "val": ((672, 864),), "test": ((1248, 1728),),
}  # fmt: skip
#: Frames of the only event, and of each event but the last of several, as shares: between splits is a gap.
THIRDS: Mapping[str, tuple[float, float]] = {"train": (0.0, 0.43), "val": (0.45, 0.64), "test": (0.65, 1.0)}
OTHERS: Mapping[str, tuple[float, float]] = {"train": (0.0, 0.67), "val": (0.7, 1.0)}
#: Smallest share of wet cells in the last frame that is shown.
WET = 0.05
#: Cells a side of a block of `rain`: 512 km.
BLOCK = 128
#: Cells between two places of `rain`, and of the others, whose covered and wet parts are small.
STRIDE: Mapping[bool, int] = {True: 32, False: 16}


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
    whole = []
    for event in frames.read(DATA[dataset]):
        if (every := _every(event)) == minutes(dataset):
            whole.append(event)
        else:
            _LOG.info(
                "%s: the event %s is left out: its frames are %g minutes apart, expected %d", dataset,
                event.name, every, minutes(dataset),
            )  # fmt: skip
    return Splits(**{split: _part(whole, dataset, split, r) for split in ("train", "val", "test")})


def _every(event: xr.DataArray) -> float:
    """The usual number of minutes between two frames."""
    import numpy as np

    return float(np.median(np.diff(event["time"].values)) / np.timedelta64(1, "m"))


def _part(events: Sequence[xr.DataArray], dataset: str, split: str, r: Recipe) -> Part:
    from bench.data.fields import frames

    shape = cutting.Shape(r.frames, r.leads, r.size, 0 if split == "train" else r.margin)
    mine = _of_split(events, dataset, split)
    stretches = [s for e in mine for s in frames.unbroken(e)]
    length = r.frames + r.leads
    whole, parts = ([e.sizes["time"] for e in of] for of in (mine, stretches))
    cutting.say_left_out(dataset, split, whole, parts, length)
    found = [
        (k, place)
        for k, s in enumerate(stretches)
        if s.sizes["time"] >= length
        for place in _places(s, dataset, split, r)
    ]
    if not found:
        raise BenchError(f"forecasting: {dataset}: no window of the split {split!r} is covered and wet")
    if split != "train":
        found = cutting.thinned(_disjoint(found, r.size), r.most(split))
    return cutting.joined(
        [
            cutting.cut(
                stretch, places, shape, f"{dataset}-{stretch['time'].values[0]!s:.16}", minutes(dataset),
                "minutes",
            )
            for k, stretch in enumerate(stretches)
            if (places := [place for of, place in found if of == k])
        ]
    )  # fmt: skip


def _disjoint(found: Sequence[tuple[int, cutting.Place]], size: int) -> list[tuple[int, cutting.Place]]:
    """The windows at places that share no cell with an earlier place, from above and from the left.

    Args:
        found: the number of a stretch and a place in it.
        size: cells a side of a window.
    """
    kept: dict[tuple[int, int], None] = {}
    for _, place in found:
        apart = (abs(place.row - row) >= size or abs(place.column - column) >= size for row, column in kept)
        if all(apart):
            kept[place.row, place.column] = None
    return [(k, place) for k, place in found if (place.row, place.column) in kept]


def _of_split(events: Sequence[xr.DataArray], dataset: str, split: str) -> list[xr.DataArray]:
    """The frames of a split, event by event; of `rain` all, since it is split by longitude."""
    if dataset == "rain":
        return [*events]
    *others, last = events
    if others and split == "test":
        return [last]
    shares = OTHERS if others else THIRDS
    spans = [[round(share * e.sizes["time"]) for share in shares[split]] for e in others or [last]]
    return [e.isel(time=slice(*span)) for e, span in zip(others or [last], spans, strict=True)]


def _places(event: xr.DataArray, dataset: str, split: str, r: Recipe) -> list[cutting.Place]:
    """Where a stretch's windows of a split lie: all in time for training, else one or two a place."""
    import numpy as np

    values = event.isel(component=0).to_numpy()
    n, rows, columns = values.shape
    by_longitude = dataset == "rain"
    spans = COLUMNS[split] if by_longitude else ((0, columns),)
    stride = STRIDE[by_longitude]
    length, places = r.frames + r.leads, []
    for row in range(0, rows - r.size + 1, stride):
        for column in (c for a, b in spans for c in range(a, min(b, columns) - r.size + 1, stride)):
            here = values[:, row : row + r.size, column : column + r.size]
            covered = ~np.isnan(here).any((1, 2))
            wet = (here > FLOOR).mean((1, 2)) > WET
            starts = [
                t for t in range(n - length + 1) if covered[t : t + length].all() and wet[t + r.frames - 1]
            ]
            if split != "train":
                middle, apart = (
                    starts[len(starts) // 2 :][:1],
                    [t for t in starts[-1:] if t - starts[0] >= length],
                )
                starts = middle if by_longitude else starts[:1] + apart
            of = f"y{row // BLOCK}-x{column // BLOCK}" if by_longitude else f"y{row}-x{column}"
            places += [cutting.Place(t, row, column, of) for t in starts]
    return places
