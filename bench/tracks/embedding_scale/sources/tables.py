"""Tables of categorical fields out of packages, split by time, their vocabulary counted on training alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.contract import Stage, Task
from bench.data.tables import tabular
from bench.data.tables.tabular import Events
from bench.tracks.common.fields import encode_fields
from bench.tracks.embedding_scale.data import CtrData, Truth
from bench.tracks.embedding_scale.settings import Run


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """There are no stages, since the rows are read out of a package."""
    return ()


def missing(task: Task, run: Run) -> str | None:
    """Which package has to be installed, or None."""
    return tabular.missing(task.params["dataset"])


def fingerprint(task: Task, run: Run) -> str:
    """Digest of the data set's source files and of the version of its reader."""
    return tabular.fingerprint(task.params["dataset"])


def ctr_data(task: Task, run: Run) -> CtrData:
    """See `CtrSource.ctr_data`; about a second."""
    dataset, scale = task.params["dataset"], task.params["scale"]
    events = tabular.read(dataset)
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
    events = tabular.read(dataset, labels_only=True)
    _, val, test = split(events, run.rows)
    y = events.label.astype(np.float32)
    return Truth(tabular.SOURCES[dataset].fields, y[val], y[test])


def split(events: Events, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of the training, validation and test rows, as the data set fixes them: no seed.

    With ``rows`` below the number of training rows, each split is thinned to the same share, evenly in time.
    """
    parts = np.split(np.arange(len(events.label)), events.cuts)
    if 0 < rows < len(parts[0]):
        share = rows / len(parts[0])
        parts = [p[np.linspace(0, len(p) - 1, max(2, round(share * len(p)))).astype(np.int64)] for p in parts]
    return parts[0], parts[1], parts[2]
