"""Ratings of lectures by department (14 domains) and flights by airport of origin (3).

The column that is the domain is no field. A value seen too rarely in training, over all domains, shares index
0 of its field with those that training does not have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from bench.contract import Inputs, Stage, Task
from bench.data.tables import tabular
from bench.tracks.common.fields import encode_fields
from bench.tracks.common.pictures import Examples
from bench.tracks.common.subsets import thinned_by_domain
from bench.tracks.multi_domain.data import Arrays, Splits
from bench.tracks.multi_domain.settings import Run

#: Data set -> the column that is its domain, and what stands before a value in a domain's name.
COLUMNS: Mapping[str, tuple[str, str]] = {"insteval": ("dept", "dept-"), "flights": ("origin", "")}
#: Data set -> the column whose equal values make rows depend on each other; without one, their day does.
CLUSTERS: Mapping[str, str] = {"insteval": "student"}


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """There are no stages, since the tables are read as they are."""
    return ()


def missing(task: Task, run: Run) -> str | None:
    """What has to be installed, or None."""
    return tabular.missing(task.params["dataset"])


def fingerprint(task: Task, run: Run) -> str:
    """Digest of the files read."""
    return tabular.fingerprint(task.params["dataset"])


def splits(task: Task, run: Run, inputs: Inputs) -> Splits:
    """The rows; reading them takes about a second."""
    import pandas as pd

    dataset = task.params["dataset"]
    events = tabular.read(dataset)
    column, prefix = COLUMNS[dataset]
    values = events.columns[column]
    names = sorted(set(values.tolist()), key=lambda v: (len(str(v)), str(v)))  # 2 before 10
    domain = pd.Index(names).get_indexer(pd.Index(values)).astype(np.int64)
    train, val, test = np.split(np.arange(len(events.label)), events.cuts)
    fields = {k: v for k, v in events.columns.items() if k != column}
    x, cardinalities = encode_fields(fields, train, events.rare)
    return Splits(
        kind="table", domains=tuple(f"{prefix}{n}" for n in names), classes=2,
        y=events.label.astype(np.int64), domain=domain, groups=_clusters(dataset, events),
        train=thinned_by_domain(train, domain, run.rows), val=thinned_by_domain(val, domain, run.rows),
        test=thinned_by_domain(test, domain, run.rows),
        inputs=partial(_inputs, x), cardinalities=cardinalities,
    )  # fmt: skip


def _clusters(dataset: str, events: tabular.Events) -> np.ndarray:
    """What rows that are not independent have in common, (n,) strings: the student, or the day.

    Clusters are told apart over all data sets of a board, so numbers say what they count.
    """
    if dataset in CLUSTERS:
        column = CLUSTERS[dataset]
        return np.char.add(f"{column}/", events.columns[column].astype(str))
    assert events.day is not None
    return events.day.astype(str)


def _inputs(x: np.ndarray, rows: np.ndarray) -> Examples:
    return Arrays(x[rows])
