"""Which source opens a task, and what every source of the track offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from bench.contract import Inputs, Stage, Task
from bench.tracks.common.sources import TaskSource
from bench.tracks.controlnet.settings import LAPTOP, Run

if TYPE_CHECKING:
    from bench.tracks.controlnet.data import ControlData, Truth


class ControlSource(TaskSource, Protocol):
    """A module that opens some tasks."""

    def bank_stages(self, task: Task, run: Run) -> Sequence[Stage]:
        """The stage in which the base samples a bank of pictures."""

    def control_data(self, task: Task, run: Run, inputs: Inputs) -> ControlData:
        """What a method is given of the task."""

    def truth(self, task: Task, run: Run, inputs: Inputs) -> Truth:
        """What only the scorer sees of the task."""


def source_of(task: Task) -> ControlSource:
    """The source of a task, imported now: a plan of other tasks does not pay for it."""
    if task.name in LAPTOP:
        from bench.tracks.controlnet.sources import laptop

        return laptop
    from bench.tracks.controlnet.sources import paper

    return paper
