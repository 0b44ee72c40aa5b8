"""Runs a sweep in threads of this process, without Ray: the same child, the same limits, the same records."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.contract import BenchError, Needs
from bench.engine.pool import Pool
from bench.engine.sweep import Sweep, check, left_out
from bench.engine.worker import Unit, do
from bench.store.records import StoreError

TICK_S = 0.2
GIVE_UP_S = 10.0


def here(cpus: int | None = None) -> Needs:
    """What this machine has: processors (or as many as asked), GPUs, memory in GB."""
    import psutil

    memory = psutil.virtual_memory().total / 2**30
    return Needs(cpu=cpus or len(os.sched_getaffinity(0)), gpu=_gpus(), mem_gb=memory, minutes=float("inf"))


def _gpus() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([v for v in visible.split(",") if v.strip()])
    devices = Path("/proc/driver/nvidia/gpus")
    return len(list(devices.iterdir())) if devices.is_dir() else 0


class _Places:
    """Free processors and GPUs of this machine."""

    def __init__(self, total: Needs) -> None:
        self.cpu, self.gpus = float(total.cpu), [1.0] * int(total.gpu)

    def fits(self, needs: Needs) -> bool:
        return needs.cpu <= self.cpu + 1e-9 and (needs.gpu <= 0 or self._gpu(needs) is not None)

    def _gpu(self, needs: Needs) -> list[int] | None:
        whole = max(1, int(needs.gpu))
        free = [i for i, f in enumerate(self.gpus) if f + 1e-9 >= min(needs.gpu, 1.0)]
        return free[:whole] if len(free) >= whole else None

    def take(self, needs: Needs) -> list[int]:
        self.cpu -= needs.cpu
        taken = (self._gpu(needs) or []) if needs.gpu > 0 else []
        for i in taken:
            self.gpus[i] -= min(needs.gpu, 1.0)
        return taken

    def give(self, needs: Needs, taken: Sequence[int]) -> None:
        self.cpu += needs.cpu
        for i in taken:
            self.gpus[i] += min(needs.gpu, 1.0)


def run(sweep: Sweep, preload: Sequence[str], *, cpus: int | None = None) -> None:
    """Run the sweep to its end, its budget or an interrupt (then cells under way stay new)."""
    total = here(cpus)
    sweep.left_out = left_out(sweep.waiting, total)
    check(sweep.waiting, sweep.left_out)
    sweep.waiting = [u for u in sweep.waiting if u.key not in sweep.left_out]
    pool, places, cancel = Pool(preload), _Places(total), threading.Event()
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
            stop_for(sweep, what)
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
            if not sweep.under_way:
                if sweep.waiting and not sweep.stopped:
                    sweep.stop(sweep.why_none())
                continue
            try:
                settle(*ended.get(timeout=TICK_S))
            except queue.Empty:
                sweep.on_change(sweep)
            hard = sweep.hard_deadline()
            if hard is not None and time.time() > hard:
                sweep.stop("the budget is used up")
                cancel.set()
    finally:
        cancel.set()
        with suppress(queue.Empty):  # after an exception a cell may be handed out that was never started
            while sweep.under_way:
                settle(*ended.get(timeout=GIVE_UP_S))


def stop_for(sweep: Sweep, error: BaseException) -> None:
    """End a sweep that cannot go on: a store that cannot be written, or a fault of our own."""
    if isinstance(error, StoreError | BenchError):
        sweep.stop(str(error))
        sweep.error = str(error)
    else:
        sweep.stop(f"fault in the engine: {type(error).__name__}: {error}")
        sweep.fault = error
