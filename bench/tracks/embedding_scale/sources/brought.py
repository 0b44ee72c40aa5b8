"""Tables of the user's own (`bench.data.brought.tables`), their vocabulary counted on training alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.contract import Stage, Task
from bench.data.brought import entries
from bench.data.brought import tables as brought
from bench.data.brought.tables import Table
from bench.tracks.common.fields import encode_fields
from bench.tracks.embedding_scale.data import CtrData, Truth, dealt
from bench.tracks.embedding_scale.settings import Run


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """There are no stages, since the file is read as it is."""
    return ()


def missing(task: Task, run: Run) -> str | None:
    """Where the file lay that is not there any more, or None."""
    return entries.source(task.brought).missing()


def fingerprint(task: Task, run: Run) -> str:
    """Digest of the file and of how it is read and split."""
    return entries.source(task.brought).fingerprint()


def ctr_data(task: Task, run: Run) -> CtrData:
    """See `CtrSource.ctr_data`."""
    table = brought.read(task.brought)
    train, val, test = split(table, run.rows)
    columns = _columns(task, table)
    x, cardinalities = encode_fields(columns, train, table.rare)
    y = table.label.astype(np.float32)
    return CtrData(
        task.brought, task.params["scale"], tuple(columns), cardinalities, x[train], y[train], x[val], y[val],
        x[test],
    )  # fmt: skip


def truth(task: Task, run: Run) -> Truth:
    """See `CtrSource.truth`; rows of one group or of one time are a cluster."""
    table = brought.read(task.brought)
    _, val, test = split(table, run.rows)
    y = table.label.astype(np.float32)
    fields = tuple(_columns(task, table))
    cluster = dealt(len(test)) if table.cluster is None else table.cluster[test]
    return Truth(fields, y[val], y[test], cluster)


def _columns(task: Task, table: Table) -> dict[str, np.ndarray]:
    """The fields; the domain of the table, if it has one, is here a field as any other."""
    own = {} if table.domain is None else {entries.entry(task.brought).settings["domains"]: table.domain}
    return {**table.columns, **own}


def split(table: Table, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of training, validation and test rows; with ``rows`` each is thinned to the same share."""
    parts = np.split(np.arange(len(table.label)), table.cuts)
    if 0 < rows < len(parts[0]):
        share = rows / len(parts[0])
        parts = [p[np.linspace(0, len(p) - 1, max(2, round(share * len(p)))).astype(np.int64)] for p in parts]
    return parts[0], parts[1], parts[2]
