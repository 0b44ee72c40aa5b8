"""Work that several cells share and that methods ask for: a bank that the base samples."""

from __future__ import annotations

from collections.abc import Sequence

from bench.contract import Stage, Task
from bench.tracks.controlnet.settings import Run
from bench.tracks.controlnet.sources.by_name import source_of
from bench.tracks.controlnet.sources.names import BANK as BANK


def bank(task: Task, run: Run) -> Sequence[Stage]:
    """The stage in which the base samples pictures with its default prompt, and their conditions are read.

    Source: Diff-Tuning (arXiv 2406.00773). The bank's size could not be read: see `Recipe.bank`.
    """
    return source_of(task).bank_stages(task, run)
