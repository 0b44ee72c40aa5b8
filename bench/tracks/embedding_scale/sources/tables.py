"""Tables of categorical fields out of packages, their vocabulary counted on training alone.

``flights`` and ``movielens`` are split by time, ``insteval`` and ``flights-day`` at random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bench.contract import Stage, Task
from bench.data.tables import flights_day, tabular
from bench.data.tables.tabular import Events
from bench.tracks.common.fields import encode_fields
from bench.tracks.embedding_scale.data import CtrData, Truth
from bench.tracks.embedding_scale.settings import Run

_DAY = "flights-day"
#: The data sets of this module, and by which field their rows hang together: those of a user, of a day.
CLUSTERS: Mapping[str, str] = {"flights": "day", _DAY: "day", "movielens": "user", "insteval": "student"}


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """There are no stages, since the rows are read out of a package."""
    return ()


def missing(task: Task, run: Run) -> str | None:
    """Which package has to be installed, or None."""
    dataset = task.params["dataset"]
    return flights_day.missing() if dataset == _DAY else tabular.missing(dataset)


def fingerprint(task: Task, run: Run) -> str:
    """Digest of the data set's source files and of the version of its reader."""
    dataset = task.params["dataset"]
    return flights_day.fingerprint() if dataset == _DAY else tabular.fingerprint(dataset)


def ctr_data(task: Task, run: Run) -> CtrData:
    """See `CtrSource.ctr_data`; about a second."""
    dataset, scale = task.params["dataset"], task.params["scale"]
    events = _read(dataset)
    train, val, test = split(events, run.rows)
    x, cardinalities = encode_fields(events.columns, train, events.rare)
    y = events.label.astype(np.float32)
    fields = tuple(events.columns)
    return CtrData(
        dataset, scale, fields, cardinalities, x[train], y[train], x[val], y[val], x[test]
    )  # fmt: skip


def truth(task: Task, run: Run) -> Truth:
    """See `CtrSource.truth`."""
    dataset = task.params["dataset"]
    events = _read(dataset)
    _, val, test = split(events, run.rows)
    y = events.label.astype(np.float32)
    by = CLUSTERS[dataset]
    cluster = events.day if by == "day" and events.day is not None else events.columns[by]
    return Truth(tuple(events.columns), y[val], y[test], cluster[test])


def _read(dataset: str) -> Events:
    return flights_day.read() if dataset == _DAY else tabular.read(dataset)


def split(events: Events, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of the training, validation and test rows, as the data set fixes them: no seed.

    With ``rows`` below the number of training rows, each split is thinned to the same share, evenly in the
    order of the rows, which is that of time where the split is by time.
    """
    parts = np.split(np.arange(len(events.label)), events.cuts)
    if 0 < rows < len(parts[0]):
        share = rows / len(parts[0])
        parts = [p[np.linspace(0, len(p) - 1, max(2, round(share * len(p)))).astype(np.int64)] for p in parts]
    return parts[0], parts[1], parts[2]
