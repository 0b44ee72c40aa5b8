"""Sources: modules that open the data sets of a track, and the base of tracks that have some.

A source is a module below the track's ``sources/`` with the functions of `TaskSource`; a track says in one
function which source a task's data set has. That function imports the source inside itself: planning must not
pay for it, and the definitions that a cell can reach are found by following such imports
(`bench.store.code.closure`). For the same reason the build function of a stage calls that function, rather
than being given the track through its context: what arrives as a value cannot be followed.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from bench.contract import Inputs, Stage, Task, Track

#: What a source gives of a task: a dataclass of the track, with its training, validation and test data.
Splits_co = TypeVar("Splits_co", covariant=True)


class TaskSource(Protocol):
    """A module that opens some data sets of a track."""

    def stages(self, task: Task, run: Any) -> Sequence[Stage]:
        """Stages that have to be built before the data of the task can be read."""

    def missing(self, task: Task, run: Any) -> str | None:
        """Which package has to be installed or which file provided for the task, or None."""

    def fingerprint(self, task: Task, run: Any) -> str:
        """Digest of what the data of the task are made of."""


class Source(TaskSource, Protocol[Splits_co]):
    """A module that opens data sets as training, validation and test data."""

    def splits(self, task: Task, run: Any, inputs: Inputs) -> Splits_co:
        """The training, validation and test data of the task, with all labels."""


class SourcedTrack(Track):
    """A track whose data sets are opened by sources."""

    @abstractmethod
    def source(self, task: Task) -> TaskSource:
        """The source of the task's data set."""

    def stages(self, task: Task, run: Any) -> Sequence[Stage]:
        """Stages that have to be built before the data of the task can be read."""
        return self.source(task).stages(task, run)

    def missing(self, task: Task, run: Any) -> str | None:
        """Which package has to be installed or which file provided for the task, or None."""
        return self.source(task).missing(task, run)

    def fingerprint(self, task: Task, run: Any) -> str:
        """Digest of what the data of the task are made of."""
        return self.source(task).fingerprint(task, run)
