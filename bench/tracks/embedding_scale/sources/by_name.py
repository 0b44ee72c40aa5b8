"""Which source opens a data set, and what every source of the track offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from bench.contract import Task
from bench.tracks.common.sources import TaskSource
from bench.tracks.embedding_scale.settings import Run

if TYPE_CHECKING:
    from bench.tracks.embedding_scale.data import CtrData, Truth


class CtrSource(TaskSource, Protocol):
    """A module that opens some data sets."""

    def ctr_data(self, task: Task, run: Run) -> CtrData:
        """The rows of the data set, split, without the test labels."""

    def truth(self, task: Task, run: Run) -> Truth:
        """The labels of validation and test, read anew: nothing shares memory with what a method is given."""


def names() -> tuple[str, ...]:
    """All data sets of the track."""
    from bench.data.tables import ctr_logs
    from bench.tracks.embedding_scale.sources import generated, tables

    return (*generated.NAMES, *tables.CLUSTERS, *ctr_logs.LAYOUTS)


def source_of(task: Task) -> CtrSource:
    """The source of a task's data set: generated, out of packages, or a click log that the user provides."""
    from bench.tracks.embedding_scale.sources import generated, logs, tables

    dataset = task.params["dataset"]
    if dataset in generated.NAMES:
        return generated
    return tables if dataset in tables.CLUSTERS else logs
