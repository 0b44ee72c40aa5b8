"""The GPUs of this machine while cells of this process run on them: how many share one, how busy it is."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

#: Seconds between two looks at how busy the GPUs are.
EVERY_S = 2.0
#: How many looks it takes to know.
LOOKS = 5


@dataclass(slots=True, eq=False)
class Use:
    """What was seen of the GPUs of one cell while it ran. ``shared``: the most cells of this process that ran
    on them at a time, this one among them; ``looks``: the share of time in which its GPUs computed, at each
    look.
    """

    gpus: frozenset[str]
    shared: int = 1
    looks: list[float] = field(default_factory=list)
    _started: float | None = None
    _counted: float = 0.0
    _until: float = 0.0
    _now: int = 1

    def count(self, cells: int) -> None:
        """From now on so many cells run on its GPUs."""
        now = time.monotonic()
        if self._started is None:
            self._started = now
        else:
            self._counted += self._now * (now - self._until)
        self._until, self._now, self.shared = now, cells, max(self.shared, cells)

    @property
    def mean_shared(self) -> float:
        """How many cells ran on them on average, until the last count."""
        took = self._until - (self._started or 0.0)
        return self._counted / took if took > 0 else float(self.shared)

    @property
    def busy(self) -> float | None:
        """The share of time in which its GPUs computed, None if that is not known."""
        return sum(self.looks) / len(self.looks) if len(self.looks) >= LOOKS else None


class Gpus:
    """Watches the GPUs that cells use. ``ask`` says how busy each GPU is, by its index and by its UUID."""

    def __init__(self, ask: Callable[[], Mapping[str, float]]) -> None:
        self._ask, self._lock = ask, threading.Lock()
        self._uses, self._watching = list[Use](), False

    @contextmanager
    def used(self, visible: str | None) -> Iterator[Use]:
        """A cell runs, on the GPUs that ``CUDA_VISIBLE_DEVICES`` names (None: on none)."""
        use = Use(frozenset(v.strip() for v in (visible or "").split(",") if v.strip()))
        with self._lock:
            self._uses.append(use)
            self._count()
            if use.gpus and not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, daemon=True, name="gpus").start()
        try:
            yield use
        finally:
            with self._lock:
                self._count()
                self._uses.remove(use)
                self._count()

    def _count(self) -> None:
        for u in self._uses:
            u.count(max(1, sum(bool(u.gpus & other.gpus) for other in self._uses)))

    def _watch(self) -> None:
        while True:
            busy = self._ask()
            with self._lock:
                used = [u for u in self._uses if u.gpus]
                for u in used:
                    if u.gpus <= busy.keys():
                        u.looks.append(sum(busy[g] for g in u.gpus) / len(u.gpus))
                if not used or not busy:
                    self._watching = False
                    return
            time.sleep(EVERY_S)


def ask_nvidia() -> dict[str, float]:
    """The share of time in which each GPU computed of late, by its index and by its UUID; empty if that
    cannot be told here.
    """
    if shutil.which("nvidia-smi") is None:
        return {}
    found = {}
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index,uuid,utilization.gpu", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        for line in listed.stdout.splitlines():
            index, uuid, percent = (part.strip() for part in line.split(","))
            if percent.isdigit():  # a part of a GPU (MIG) has none
                found[index] = found[uuid] = int(percent) / 100
    return found
