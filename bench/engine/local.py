"""Runs a sweep in threads of this process, without Ray, with the same processes, limits and
records of cells.
"""

from __future__ import annotations

import os
import platform
import queue
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.contract import Needs
from bench.engine.forkserver import ForkServer
from bench.engine.job import Unit
from bench.engine.sweep import Sweep, memory_notes, too_large
from bench.engine.worker import run_unit
from bench.store import provenance

#: What a GPU is called whose type nobody says.
UNKNOWN = "unknown"
#: Seconds between two turns of the loop.
TICK_S = 0.2
#: After an exception or an interrupt: how long it waits for cells that are being stopped.
STOP_WITHIN_S = 10.0


def machine(cpus: int | None = None) -> Needs:
    """The resources of this machine: processors (or ``cpus`` of them), GPUs, memory in GB."""
    cpu = cpus or len(os.sched_getaffinity(0))
    gpus = visible_gpus()
    kind = accelerator(provenance.environment()["gpus"]) if gpus else ""
    return Needs(cpu=cpu, gpu=len(gpus), mem_gb=total_gb(), minutes=float("inf"), accelerator=kind)


def accelerator(names: Sequence[str]) -> str:
    """The type of GPUs with these product names, as Ray would call it: ``H100``; `UNKNOWN` where it cannot be
    told, or where they differ.
    """
    types = {m[0] if (m := re.search(r"\b[A-Z]*[0-9][A-Z0-9]*\b", n)) else UNKNOWN for n in names}
    return types.pop() if len(types) == 1 else UNKNOWN


def total_gb() -> float:
    """Memory of this machine."""
    import psutil

    return float(psutil.virtual_memory().total / 2**30)


def driver_gb() -> float:
    """The part of this machine's memory that is reserved for the driver and its fork server."""
    return min(2.0, max(0.5, total_gb() / 20))


def cells_gb() -> float:
    """Memory for all cells that run side by side: what this process may use (in a container or a batch job
    less than the machine has), less the driver's part.
    """
    return max(0.5, min(total_gb(), *_cgroup_gb()) - driver_gb())


def _cgroup_gb(
    root: Path = Path("/sys/fs/cgroup"), groups: Path = Path("/proc/self/cgroup")
) -> Iterator[float]:
    """Memory limits, in GB, of this process's control groups (version 2 and 1) and of their parents."""
    for line in groups.read_text(encoding="utf-8").splitlines() if groups.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base, name = (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        group = base / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(base) and (folder / name).is_file():
                limit = (folder / name).read_text(encoding="ascii").strip()
                yield float("inf") if limit == "max" else int(limit) / 2**30


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [v.strip() for v in visible.split(",") if v.strip()]
    devices = Path("/proc/driver/nvidia/gpus")
    return [str(i) for i, _ in enumerate(devices.iterdir())] if devices.is_dir() else []


class _Capacity:
    """The processors, GPUs and memory of this machine that no cell uses. A cell that may use more memory than
    all cells may use together runs alone.
    """

    def __init__(self, total: Needs) -> None:
        self.cpu, self.gpus = float(total.cpu), [1.0] * int(total.gpu)
        self.mem_gb, self.cells = total.mem_gb, 0

    def fits(self, needs: Needs) -> bool:
        if needs.cpu > self.cpu + 1e-9 or (needs.gpu > 0 and self._gpu(needs) is None):
            return False
        return needs.mem_gb <= self.mem_gb + 1e-9 or not self.cells

    def _gpu(self, needs: Needs) -> list[int] | None:
        whole = max(1, int(needs.gpu))
        free = [i for i, f in enumerate(self.gpus) if f + 1e-9 >= min(needs.gpu, 1.0)]
        return free[:whole] if len(free) >= whole else None

    def acquire(self, needs: Needs) -> list[int]:
        self.cpu -= needs.cpu
        self.mem_gb -= needs.mem_gb
        self.cells += 1
        gpus = (self._gpu(needs) or []) if needs.gpu > 0 else []
        for i in gpus:
            self.gpus[i] -= min(needs.gpu, 1.0)
        return gpus

    def release(self, needs: Needs, gpus: Sequence[int]) -> None:
        self.cpu += needs.cpu
        self.mem_gb += needs.mem_gb
        self.cells -= 1
        for i in gpus:
            self.gpus[i] += min(needs.gpu, 1.0)


def run(sweep: Sweep, preload: Sequence[str], *, cpus: int | None = None) -> None:
    """Run the sweep until it ends, its budget is used up or it is interrupted (then running cells
    stay new).
    """
    total = machine(cpus)
    for_cells = replace(total, mem_gb=cells_gb())
    sweep.too_large = too_large(sweep.waiting, [total])
    sweep.waiting = [u for u in sweep.waiting if u.key not in sweep.too_large]
    sweep.on_change(sweep)
    if not sweep.waiting:
        return
    sweep.notes += memory_notes(sweep.waiting, [for_cells])
    sweep.machines = [for_cells]
    server, capacity, cancel = ForkServer(preload), _Capacity(for_cells), threading.Event()
    names = visible_gpus()
    server.start()
    ended: queue.Queue[tuple[Unit, list[int], Any]] = queue.Queue()

    def work(unit: Unit, gpus: list[int]) -> None:
        visible = ",".join(names[i] for i in gpus) if gpus else None
        try:
            ended.put((unit, gpus, run_unit(unit, server, sweep.store, cancel=cancel, visible=visible)))
        except BaseException as e:
            ended.put((unit, gpus, e))

    def settle(unit: Unit, gpus: list[int], result: Any) -> None:
        capacity.release(unit.needs, gpus)
        if isinstance(result, BaseException):
            sweep.done(unit.key, None)
            sweep.fail(result)
        elif result is None:
            sweep.done(unit.key, None)
        else:
            sweep.done(unit.key, result.status, result.reason)

    try:
        while not sweep.finished():
            if sweep.interrupt.is_set():
                sweep.stop("interrupted")
                cancel.set()
            while (unit := sweep.next(capacity.fits)) is not None:
                sweep.began(unit.key, platform.node())
                gpus = capacity.acquire(unit.needs)
                threading.Thread(target=work, args=(unit, gpus), daemon=True).start()
            if sweep.idle():
                sweep.stop(sweep.why_idle())
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
        with suppress(queue.Empty):  # after an exception a cell may count as running that was never started
            while sweep.in_progress:
                settle(*ended.get(timeout=STOP_WITHIN_S))
