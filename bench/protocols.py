"""The protocols of the objects that the engine passes to methods, tracks and stages; part of
`bench.contract`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import logging


class Inputs(Protocol):
    """What a track may use to open its data; a stage's context is one too.

    ``device``: ``cpu`` or ``cuda``.
    """

    device: str

    @property
    def seed(self) -> int | None:
        """The cell's seed if the track declares ``split_per_seed``, else None."""

    def stage(self, name: str) -> Path:
        """Folder of a stage that the track or the method declared; `BenchError` for another name."""


class StageContext(Protocol):
    """What a stage's ``build`` is given. ``shard`` counts from 0 to ``stage.shards - 1``."""

    outdir: Path
    params: Mapping[str, Any]
    shard: int
    seed: int
    device: str
    log: logging.Logger

    def stage(self, name: str) -> Path:
        """Folder of a stage that this one reads."""


class Context(Protocol):
    """Everything that a method may use beside its data and hyper-parameters.

    ``seed``: random, numpy and torch were already seeded with it; use it for your own generators. It is a
    number made from the cell's seed and the task's data set (`Task.stream`). ``device``: ``cpu`` or ``cuda``.
    ``amp``: whether mixed precision is wanted. ``workdir``: an empty folder, gone afterwards. ``run``: the
    track's run settings.
    """

    seed: int
    device: str
    amp: bool
    workdir: Path
    run: Any
    log: logging.Logger

    def stage(self, name: str) -> Path:
        """Folder of a stage that the method or the track declared."""

    def snapshot(self, step: int, answer: Any) -> None:
        """Score ``answer`` now, off the clock; random states and train/eval modes stay as they are."""

    def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Save ``state`` (tensors, numbers, strings, containers of them): a killed cell goes on from here."""

    def restore(self) -> dict[str, Any] | None:
        """The last checkpointed state, every random state set back to that moment; None on a first start."""

    def report(self, **numbers: float) -> None:
        """Numbers for the record's curve (a loss, a rate). Of a long curve every n-th point is recorded."""
