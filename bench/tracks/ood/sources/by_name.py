"""Which source a data set of the track has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from bench.contract import Inputs, Task
from bench.tracks.common.sources import TaskSource
from bench.tracks.ood import settings

if TYPE_CHECKING:
    from bench.tracks.ood.data import Splits
    from bench.tracks.ood.nets.clip import DualEncoder


class OodSource(TaskSource, Protocol):
    """A module that opens some data sets of this track."""

    def tasks(self, setting: settings.Setting, dataset: str) -> list[Task]:
        """The tasks that a data set has in a setting, one for each target."""

    def folds(self, task: Task) -> int:
        """How many different splits the task has: seed k has that of fold k modulo this number."""

    def splits(self, task: Task, run: settings.Run, inputs: Inputs) -> Splits:
        """The training, validation and test pictures of the task, with all labels."""

    def encoder(self, run: settings.Run) -> DualEncoder:
        """A fresh encoder, the one that every row on these data sets starts from."""


def source_of(dataset: str) -> OodSource:
    """The source of a data set, imported now: a plan of other data sets does not pay for it."""
    if dataset in settings.LAPTOP:
        from bench.tracks.ood.sources import emoji

        return emoji
    from bench.tracks.ood.sources import photos

    return photos
