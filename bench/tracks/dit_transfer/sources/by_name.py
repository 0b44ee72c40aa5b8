"""Which source opens a target, and what every source of the track offers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench.contract import Inputs, Needs, Stage, Task
from bench.tracks.common.sources import TaskSource
from bench.tracks.dit_transfer.settings import LAPTOP, Run

if TYPE_CHECKING:
    import numpy as np

    from bench.tracks.dit_transfer.data import TargetData


class TransferSource(TaskSource, Protocol):
    """A module that opens some targets. ``NEEDS``: of the stage that computes features of real pictures."""

    NEEDS: Needs

    def bank_stages(self, task: Task, run: Run) -> Sequence[Stage]:
        """The stage in which the pre-trained network samples a bank of pictures."""

    def target_data(self, task: Task, run: Run, inputs: Inputs) -> TargetData:
        """The target's training pictures and the pre-trained network; takes milliseconds."""

    def real_pictures(
        self, task: Task, run: Run, stage: Callable[[str], Path]
    ) -> Mapping[str, Iterable[np.ndarray]]:
        """Real pictures whose features the scorer needs.

        Args:
            task: names the target.
            run: run settings.
            stage: gives the folder of one of the source's `TaskSource.stages`.

        Returns:
            for ``test``, ``train`` and, where there are some, ``source`` and ``inception``, the pictures in
            batches of (n, H, W, 3) uint8.
        """

    def groups(self, task: Task, run: Run, stage: Callable[[str], Path]) -> np.ndarray | None:
        """Which held-out pictures belong together, (number,) strings; None where each stands alone."""

    def inception(self, run: Run) -> Path | None:
        """The file of the weights of FID's network; None where FID does not apply."""


def source_of(task: Task) -> TransferSource:
    """The source of a task's target, imported now: a plan of other targets does not pay for it."""
    if task.params["target"] in LAPTOP:
        from bench.tracks.dit_transfer.sources import laptop

        return laptop
    from bench.tracks.dit_transfer.sources import paper

    return paper
