"""The implementations of the contract's `Context`, `Inputs` and `StageContext`, which methods, tracks and
stages are given while they run. They know nothing of processes, limits or Ray, so that a notebook can use
them.
"""

from __future__ import annotations

import errno
import gc
import importlib.util
import logging
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.contract import BenchError, Censored, Score, Snapshot
from bench.errors import nearest
from bench.store.checkpoints import CheckpointFolder

Scorer = Callable[[Any, list[Snapshot]], Score]
#: The most that a record holds of one curve: points, and numbers in all of them.
POINTS, NUMBERS = 2000, 20_000
#: Bytes that are free on a disk that counts as full when a checkpoint cannot be written there.
_LITTLE = 1 << 24
#: The most that one report may hold: numbers, and characters of a number's name.
WIDTH, NAME = 1000, 100


def plain(value: float | Censored | None) -> Any:
    """A metric's value as plain JSON: a number, None, or ``{"bound": x}`` for a censored one."""
    return (
        {"bound": float(value.bound)}
        if isinstance(value, Censored)
        else None
        if value is None
        else float(value)
    )


def _read(value: Any) -> float | Censored | None:
    return Censored(value["bound"]) if isinstance(value, dict) else value


def utf8(text: str, length: int) -> str:
    """The first ``length`` characters of a text; what is not UTF-8 in it (of a file name, say) is escaped."""
    return text[:length].encode("utf-8", "backslashreplace").decode()


@dataclass(slots=True)
class Curve:
    """The points of a curve in order, never more than a record may hold.

    When there are too many, every second point is dropped, and from then on only every second new one is
    added. The first and the last point always stay. ``seen`` counts all points that were added; one in
    ``stride`` of them, and the last, are in ``points``.
    """

    points: list[dict[str, Any]] = field(default_factory=list)
    seen: int = 0
    stride: int = 1
    _numbers: int = field(init=False)

    def __post_init__(self) -> None:
        self._numbers = sum(map(_width, self.points))

    def add(self, point: dict[str, Any]) -> None:
        """Add a point."""
        if self.seen and (self.seen - 1) % self.stride:
            self._numbers -= _width(self.points.pop())  # it was held only because it was the last one
        self.points.append(point)
        self._numbers += _width(point)
        self.seen += 1
        while len(self.points) > 2 and (len(self.points) > POINTS or self._numbers > NUMBERS):
            self.stride *= 2
            self.points[:] = self.points[::2] if len(self.points) % 2 else [*self.points[::2], point]
            self._numbers = sum(map(_width, self.points))


def _width(point: Mapping[str, Any]) -> int:
    return sum(len(v) if isinstance(v, Mapping) else 1 for v in point.values())


def set_seed(seed: int) -> None:
    """Seed random, numpy and, if it is installed, torch (all devices).

    Torch is imported here: when a method imported it later, torch would seed itself with a constant, and all
    seeds would give one result.
    """
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)
    if importlib.util.find_spec("torch"):
        import torch

        torch.manual_seed(seed)


def _torch() -> Any:
    """Torch if this process has imported it, else None: there is no state to save then."""
    return sys.modules.get("torch")


def random_states() -> dict[str, Any]:
    """Every global random state: random, numpy, torch on the CPU and on each CUDA device that is in use."""
    import numpy as np

    states: dict[str, Any] = {"random": random.getstate(), "numpy": np.random.get_state()}
    if torch := _torch():
        states["torch"] = torch.get_rng_state()
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def set_random_states(states: Mapping[str, Any]) -> None:
    """Set every random state to what `random_states` returned."""
    import numpy as np

    random.setstate(states["random"])
    np.random.set_state(states["numpy"])
    if "torch" in states:
        torch = _torch()
        torch.set_rng_state(states["torch"])
        if "cuda" in states:
            torch.cuda.set_rng_state_all(states["cuda"])


@contextmanager
def undisturbed() -> Iterator[None]:
    """Restore random states and the train/eval mode of every torch module after the block.

    Without this, evaluating a model changes its training: sampling draws from the generators that training
    draws from, and ``eval()`` stays switched on. Modules are found through the garbage collector, since the
    engine cannot know where a method holds them.
    """
    states, modes = random_states(), []
    if torch := _torch():
        modes = [(m, m.training) for m in gc.get_objects() if issubclass(type(m), torch.nn.Module)]
    try:
        yield
    finally:
        set_random_states(states)
        for module, training in modes:
            module.training = training


@dataclass(slots=True)
class RunInputs:
    """The `Inputs` that `Track.load` and `Track.truth` are given."""

    seed: int | None
    device: str
    stages: Mapping[str, Path] = field(default_factory=dict)

    def stage(self, name: str) -> Path:
        """Folder of a stage; `BenchError` with the nearest name for one that was not declared."""
        if name not in self.stages:
            raise BenchError(
                f"stage {name!r} is not declared for this cell{nearest(name, self.stages)}; a method declares"
                " the stages that it reads by stages=… of @method (bench check TRACK lists them)"
            )
        return self.stages[name]


@dataclass(slots=True)
class RunStageContext:
    """The `StageContext` that a stage's ``build`` is given."""

    outdir: Path
    params: Mapping[str, Any]
    shard: int
    seed: int
    device: str
    log: logging.Logger
    stages: Mapping[str, Path] = field(default_factory=dict)

    def stage(self, name: str) -> Path:
        """Folder of a stage that this one reads."""
        return RunInputs(self.seed, self.device, self.stages).stage(name)


@dataclass(slots=True)
class RunContext:
    """The `Context` that a method is given.

    ``made_by`` is the digest of the code, settings and data that checkpoints are made with; a checkpoint made
    with others is not used. ``send`` reports phases to the engine; in a notebook it does nothing.
    """

    seed: int
    device: str
    amp: bool
    workdir: Path
    run: Any
    log: logging.Logger
    scorer: Scorer
    stages: Mapping[str, Path] = field(default_factory=dict)
    checkpoints: Path | None = None
    send: Callable[[str, Any], None] = lambda kind, value: None
    made_by: str = ""
    history: list[Snapshot] = field(default_factory=list)
    reports: Curve = field(default_factory=Curve)
    snapshot_s: float = 0.0
    _started: float = field(default_factory=time.monotonic)
    _readable: bool = False

    @property
    def curve(self) -> list[dict[str, float]]:
        """What was reported so far, evenly thinned where that is too much for a record."""
        return self.reports.points

    def start_clock(self) -> None:
        """Start the method's clock."""
        self._started, self.snapshot_s = time.monotonic(), 0.0

    def seconds(self) -> float:
        """Seconds on the method's own clock: since it started, without the time that snapshots took."""
        return time.monotonic() - self._started - self.snapshot_s

    def stage(self, name: str) -> Path:
        """Folder of a stage; `BenchError` with the nearest name for one that was not declared."""
        return RunInputs(self.seed, self.device, self.stages).stage(name)

    def snapshot(self, step: int, answer: Any) -> None:
        """Score ``answer`` now, off the method's clock; random states and train/eval modes do not change."""
        now, before = self.seconds(), time.monotonic()
        self.send("phase", "snapshot")
        with undisturbed():
            score = self.scorer(answer, self.history)
        self.history.append(Snapshot(step, now, dict(score.metrics)))
        self.send("phase", "run")
        self.snapshot_s += time.monotonic() - before

    def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Save ``state`` with all random states. If the process is killed while writing, the checkpoint
        before it stays.

        Raises:
            BenchError: the state holds something that could not be read back.
            OSError: there is no room for it.
        """
        if self.checkpoints is None:
            return
        import torch

        numpy_state = random_states()["numpy"]
        states = {**random_states(), "numpy": [numpy_state[0], numpy_state[1].tolist(), *numpy_state[2:]]}
        whole = {"state": dict(state), "random": states, "curve": self.curve, "seconds": self.seconds()}
        whole["reports"] = [self.reports.seen, self.reports.stride]
        whole["history"] = [
            [s.step, s.seconds, {k: plain(v) for k, v in s.metrics.items()}] for s in self.history
        ]

        def write(path: Path) -> None:
            try:
                torch.save(whole, path)
            except RuntimeError as e:  # so torch says that a disk is full
                if shutil.disk_usage(path.parent).free < _LITTLE:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from e
                raise
            if not self._readable:
                _check_readable(path)
                self._readable = True

        CheckpointFolder(self.checkpoints, self.made_by).keep(write)

    def restore(self) -> dict[str, Any] | None:
        """The state of the last checkpoint, or None. The method's clock goes on from its time."""
        if self.checkpoints is None:
            return None
        folder = CheckpointFolder(self.checkpoints, self.made_by)
        path = folder.last()
        if path is None:
            # A training half by the old code and half by today's would be the result of neither.
            if folder.clear():
                self.log.info("a checkpoint made by code or settings that have changed since is not used")
            return None
        import numpy as np
        import torch

        whole = torch.load(path, weights_only=True, map_location=self.device)
        states = dict(whole["random"])
        name, keys, *rest = states["numpy"]
        states["numpy"] = (name, np.array(keys, dtype=np.uint32), *rest)
        states["torch"] = states["torch"].cpu()
        if "cuda" in states:
            states["cuda"] = [s.cpu() for s in states["cuda"]]
        set_random_states(states)
        self.reports = Curve(whole["curve"], *whole.get("reports", (len(whole["curve"]), 1)))
        self.history[:] = [
            Snapshot(step, s, {k: _read(v) for k, v in m.items()}) for step, s, m in whole["history"]
        ]
        self._started = time.monotonic() - whole["seconds"] - self.snapshot_s
        self.log.info("resuming from a checkpoint at %.1f s", whole["seconds"])
        state: dict[str, Any] = whole["state"]
        return state

    def report(self, **numbers: float) -> None:
        """Add numbers to the record's curve."""
        if len(numbers) > WIDTH or any(len(k) > NAME for k in numbers):
            raise BenchError(
                f"ctx.report: expected at most {WIDTH} numbers and {NAME} letters in a name, "
                f"found {len(numbers)} and up to {max(map(len, numbers))}"
            )
        values = {utf8(k, NAME): float(v) for k, v in numbers.items()}
        self.reports.add({"seconds": round(self.seconds(), 3), **values})


def _check_readable(path: Path) -> None:
    """Read the first checkpoint back, so that a state that cannot be read is an error now, not
    after a kill.
    """
    import pickle

    import torch

    try:
        torch.load(path, weights_only=True, map_location="meta")
    except pickle.UnpicklingError as e:
        message = str(e).replace("\n", " ")[:300]
        raise BenchError(
            f"checkpoint: the state may hold tensors, numbers, strings and containers of them: {message}"
        ) from e
