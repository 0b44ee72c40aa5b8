"""Click logs that the user provides: split at random, their vocabulary counted on the whole log."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.contract import Stage, Task
from bench.data.tables import ctr_logs
from bench.tracks.embedding_scale.data import CtrData, Truth, dealt
from bench.tracks.embedding_scale.settings import Run


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """There are no stages, since a log is prepared by a command, `bench data prepare`."""
    return ()


def missing(task: Task, run: Run) -> str | None:
    """Which file has to be provided or prepared, or None."""
    return ctr_logs.missing(task.params["dataset"])


def fingerprint(task: Task, run: Run) -> str:
    """Digest of the log's file and of the version of its preparation."""
    return ctr_logs.fingerprint(task.params["dataset"])


def ctr_data(task: Task, run: Run) -> CtrData:
    """See `CtrSource.ctr_data`; the rows are memory-mapped."""
    log = ctr_logs.read(task.params["dataset"])
    train, val, test = log.parts(run.rows)
    return CtrData(
        task.params["dataset"], task.params["scale"], log.manifest.fields, log.manifest.cardinalities,
        log.x[train], log.y[train].astype(np.float32), log.x[val], log.y[val].astype(np.float32), log.x[test],
    )  # fmt: skip


def truth(task: Task, run: Run) -> Truth:
    """See `CtrSource.truth`."""
    log = ctr_logs.read(task.params["dataset"])
    _, val, test = log.parts(run.rows)
    test_y = log.y[test].astype(np.float32)
    return Truth(log.manifest.fields, log.y[val].astype(np.float32), test_y, dealt(len(test_y)))
