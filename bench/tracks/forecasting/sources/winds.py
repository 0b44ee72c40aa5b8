"""Observed wind at two scales: one storm every six hours, and monthly anomalies of eleven years.

Both are split by time, with gaps. `storm` is one window wide and short. Its windows of training overlap; in
validation and test each begins as many frames after the one before as there are leads, so that no two
forecast the same frame, though one is shown what another forecasts; each is a block. That leaves three
windows of test and one of validation. `wind` is what months differ by from the mean of their calendar month
in the training years; windows of one place follow each other in validation and test, so a place is a block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bench.contract import Inputs, Stage, Task
from bench.data.catalog import CATALOG
from bench.tracks.forecasting import cutting
from bench.tracks.forecasting.data import Splits
from bench.tracks.forecasting.settings import Recipe, Run, recipe

if TYPE_CHECKING:
    import xarray as xr

#: Task -> data set of the catalogue.
DATA = {"storm": "storm-winds", "wind": "monthly-winds"}
#: Splits as first and last frame (excluded): of the storm's usable frames, of months since January 1982. No
#: frame is in two. The storm's validation is the end of what would else be 44 frames of training. One frame
#: was empty after its frames 16 and 35: so 12 hours instead of 6 lie between training and validation, and 12
#: between validation and test, since frame 45 is in neither.
STORM: Mapping[str, tuple[int, int]] = {"train": (0, 36), "val": (36, 45), "test": (46, 62)}
MONTHS: Mapping[str, tuple[int, int]] = {"train": (0, 96), "val": (96, 108), "test": (108, 132)}
#: Hours between two frames of the storm.
_HOURS = 6
#: The first row of both rows of windows of monthly wind: 90 degrees in 36.5 rows, so that poles are left out.
_ROWS = (4, 37)


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """There are no stages, since the files are small."""
    return ()


def missing(task: Task, run: Run) -> str | None:
    """What has to be installed, or None."""
    return CATALOG[DATA[task.params["dataset"]]].open().missing()


def fingerprint(task: Task, run: Run) -> str:
    """Digest of the file."""
    return CATALOG[DATA[task.params["dataset"]]].open().fingerprint()


def splits(task: Task, run: Run, inputs: Inputs) -> Splits:
    """The windows; reading them takes a second."""
    from bench.data.fields import frames

    dataset = task.params["dataset"]
    (event,) = frames.read(DATA[dataset])
    r = recipe(dataset, run)
    if dataset == "storm":
        return _storm(event, r)
    return _wind(event, r)


def _storm(event: xr.DataArray, r: Recipe) -> Splits:
    """Windows of the storm that lie over no gap in time."""
    import numpy as np

    from bench.data.fields import frames

    length, shape = r.frames + r.leads, cutting.Shape(r.frames, r.leads, r.size)
    hours = (event["time"].values - event["time"].values[0]) / np.timedelta64(1, "h")
    parts = {}
    for split, (first, last) in STORM.items():
        starts = [
            t
            for t in range(first, last - length + 1, 1 if split == "train" else r.leads)
            if hours[t + length - 1] - hours[t] == (length - 1) * _HOURS
        ]
        stretches = frames.unbroken(event.isel(time=slice(first, last)))
        cutting.say_left_out("storm", split, [last - first], [s.sizes["time"] for s in stretches], length)
        places = [cutting.Place(t, 0, 0, f"{split}-{t}") for t in starts]
        if split != "train":
            places = cutting.thinned(places, r.most(split))
        parts[split] = cutting.cut(event, places, shape, "storm", _HOURS, "hours", fixed=True)
    return Splits(**parts)


def _wind(event: xr.DataArray, r: Recipe) -> Splits:
    """Windows of the anomalies, in two rows and four columns over the globe."""
    import numpy as np
    import xarray as xr

    month = xr.DataArray(np.arange(event.sizes["time"]) % 12, dims=("time",), name="month")
    training = event.isel(time=slice(*MONTHS["train"]))
    usual = training.groupby(month[slice(*MONTHS["train"])]).mean("time")
    anomalies = (event.groupby(month) - usual).assign_attrs(event.attrs)
    length, shape = r.frames + r.leads, cutting.Shape(r.frames, r.leads, r.size)
    parts = {}
    for split, (first, last) in MONTHS.items():
        step = 1 if split == "train" else length
        places = [
            cutting.Place(t, row, column, f"y{row}-x{column}")
            for row in _ROWS
            for column in range(0, event.sizes["x"] - r.size + 1, r.size)
            for t in range(first, last - length + 1, step)
        ]
        if split != "train":
            places = cutting.thinned(places, r.most(split))
        parts[split] = cutting.cut(anomalies, places, shape, "wind", 1, "months", fixed=True)
    return Splits(**parts)
