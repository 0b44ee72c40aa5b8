"""Runs a sweep in threads of this process, without Ray: the same child, the same limits, the same records."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.contract import Needs
from bench.engine.forkserver import ForkServer
from bench.engine.sweep import Sweep, check, left_out, memory_notes
from bench.engine.job import Unit
from bench.engine.worker import run_unit

TICK_S = 0.2
GIVE_UP_S = 10.0


def here(cpus: int | None = None) -> Needs:
    """What this machine has: processors (or as many as asked), GPUs, memory in GB."""
    cpu = cpus or len(os.sched_getaffinity(0))
    return Needs(cpu=cpu, gpu=_gpus(), mem_gb=total_gb(), minutes=float("inf"))


def total_gb() -> float:
    """Memory of this machine."""
    import psutil

    return float(psutil.virtual_memory().total / 2**30)


def driver_gb() -> float:
    """The share of this machine's memory that is left to the driver and its fork server."""
    return min(2.0, max(0.5, total_gb() / 20))


def cells_gb() -> float:
    """Memory that cells running side by side may ask for together: what this process may use (a container
    or a batch job may have less than the machine), less the driver's share.
    """
    return max(0.5, min(total_gb(), *_cgroup_gb()) - driver_gb())


def _cgroup_gb(
    root: Path = Path("/sys/fs/cgroup"), mine: Path = Path("/proc/self/cgroup")
) -> Iterator[float]:
    """The memory limits of this process's control groups (versions 2 and 1) and of those above them."""
    for line in mine.read_text(encoding="utf-8").splitlines() if mine.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base, name = (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        group = base / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(base) and (folder / name).is_file():
                limit = (folder / name).read_text(encoding="ascii").strip()
                yield float("inf") if limit == "max" else int(limit) / 2**30


def _gpus() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([v for v in visible.split(",") if v.strip()])
    devices = Path("/proc/driver/nvidia/gpus")
    return len(list(devices.iterdir())) if devices.is_dir() else 0


class _Places:
    """Free processors, GPUs and memory of this machine. A cell that may use more than cells have together
    runs alone.
    """

    def __init__(self, total: Needs) -> None:
        self.cpu, self.gpus = float(total.cpu), [1.0] * int(total.gpu)
        self.mem_gb, self.taken = total.mem_gb, 0

    def fits(self, needs: Needs) -> bool:
        if needs.cpu > self.cpu + 1e-9 or (needs.gpu > 0 and self._gpu(needs) is None):
            return False
        return needs.mem_gb <= self.mem_gb + 1e-9 or not self.taken

    def _gpu(self, needs: Needs) -> list[int] | None:
        whole = max(1, int(needs.gpu))
        free = [i for i, f in enumerate(self.gpus) if f + 1e-9 >= min(needs.gpu, 1.0)]
        return free[:whole] if len(free) >= whole else None

    def take(self, needs: Needs) -> list[int]:
        self.cpu -= needs.cpu
        self.mem_gb -= needs.mem_gb
        self.taken += 1
        taken = (self._gpu(needs) or []) if needs.gpu > 0 else []
        for i in taken:
            self.gpus[i] -= min(needs.gpu, 1.0)
        return taken

    def give(self, needs: Needs, taken: Sequence[int]) -> None:
        self.cpu += needs.cpu
        self.mem_gb += needs.mem_gb
        self.taken -= 1
        for i in taken:
            self.gpus[i] += min(needs.gpu, 1.0)


def run(sweep: Sweep, preload: Sequence[str], *, cpus: int | None = None) -> None:
    """Run the sweep to its end, its budget or an interrupt (then cells under way stay new)."""
    total = here(cpus)
    for_cells = replace(total, mem_gb=cells_gb())
    sweep.left_out = left_out(sweep.waiting, [total])
    check(sweep.waiting, sweep.left_out)
    sweep.waiting = [u for u in sweep.waiting if u.key not in sweep.left_out]
    sweep.notes += memory_notes(sweep.waiting, [for_cells])
    pool, places, cancel = ForkServer(preload), _Places(for_cells), threading.Event()
    pool.warm()
    ended: queue.Queue[tuple[Unit, list[int], Any]] = queue.Queue()

    def work(unit: Unit, taken: list[int]) -> None:
        try:
            ended.put((unit, taken, do(unit, pool, sweep.store, cancel=cancel, gpus=taken)))
        except BaseException as e:
            ended.put((unit, taken, e))

    def settle(unit: Unit, taken: list[int], what: Any) -> None:
        places.give(unit.needs, taken)
        if isinstance(what, BaseException):
            sweep.done(unit.key, None)
            sweep.fail(what)
        elif what is None:
            sweep.done(unit.key, None)
        else:
            sweep.done(unit.key, what.status, what.reason)

    try:
        while not sweep.finished():
            if sweep.interrupt.is_set():
                sweep.stop("interrupted")
                cancel.set()
            while (unit := sweep.next(places.fits)) is not None:
                sweep.began(unit.key)
                taken = places.take(unit.needs)
                threading.Thread(target=work, args=(unit, taken), daemon=True).start()
            if sweep.idle():
                sweep.stop(sweep.why_none())
            if sweep.finished():
                break
            try:
                settle(*ended.get(timeout=TICK_S))
            except queue.Empty:
                sweep.on_change(sweep)
            hard = sweep.hard_deadline()
            if hard is not None and time.monotonic() > hard:
                sweep.stop("the budget is used up")
                cancel.set()
    finally:
        cancel.set()
        with suppress(queue.Empty):  # after an exception a cell may be handed out that was never started
            while sweep.under_way:
                settle(*ended.get(timeout=GIVE_UP_S))
