"""The one way to run a plan, on Ray or here."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench.engine.forkserver import needs_linux
from bench.engine.sweep import Sweep, not_run
from bench.engine.execute import units
from bench.plan import Plan
from bench.registry import Registry
from bench.store.records import Store


def execute(
    plan: Plan,
    registry: Registry,
    store: Store,
    *,
    local: bool = False,
    stale: bool = False,
    failed: bool = False,
    budget_s: float | None = None,
    address: str | None = None,
    cpus: int | None = None,
    on_change: Callable[[Sweep], None] = lambda sweep: None,
) -> Sweep:
    """Run what the plan says is missing and return the sweep, ended or stopped.

    Raises:
        BenchError: nothing can run here (no Linux, say), or no cluster at ``address``.
        StoreError: the store cannot be written.
    """
    started = time.monotonic()
    cells = plan.to_run(stale=stale, failed=failed)
    skipped = [c for c in cells if c.skip is not None]
    todo, broken = units(plan, [c for c in cells if c.skip is None], registry, failed=failed)
    for unit, c in zip(units(plan, skipped, registry, failed=failed)[0], skipped, strict=True):
        store.write(not_run(unit, "skipped", c.skip or ""))
    deadline = started + budget_s if budget_s is not None else None
    sweep = Sweep(store, todo, deadline, stage_status=dict.fromkeys(broken, "failed"), started=started)
    sweep.on_change = on_change
    preload = tuple(dict.fromkeys(m for p in plan.tracks for m in p.track.preload))
    if todo:
        needs_linux()
        store.seal()
        with _interruptible(sweep.interrupt):
            try:
                if local:
                    from bench.engine.local import run as run_here

                    run_here(sweep, preload, cpus=cpus)
                else:
                    from bench.engine.tune import run as run_on_ray

                    run_on_ray(sweep, preload, address=address, cpus=cpus)
            finally:
                sweep.claims.close()
    return sweep


@contextmanager
def _interruptible(asked: threading.Event) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM (a scheduler taking the machine back) ask the sweep to end.

    They only set ``asked``: an exception could strike between handing out a cell and starting it, or in the
    middle of a redraw. A second signal does raise, for whoever cannot wait.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
