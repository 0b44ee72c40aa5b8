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


def source_of(task: Task) -> CtrSource:
    """The source of a task's data set: tables out of packages, or click logs that the user provides."""
    from bench.data.tables import tabular

    if task.params["dataset"] in tabular.SOURCES:
        from bench.tracks.embedding_scale.sources import tables

        return tables
    from bench.tracks.embedding_scale.sources import logs

    return logs
