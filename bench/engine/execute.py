"""The one way to run a plan, on Ray or in this process: its cells become units, a sweep runs them."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench.contract import BenchError
from bench.declarations import non_default, shard_keys, shard_label
from bench.engine.forkserver import needs_linux
from bench.engine.job import Job, Unit
from bench.engine.sweep import Sweep, check_max_pending, not_run
from bench.plan import Plan, PlannedCell, PlannedStage
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
    max_pending: int | None = None,
    wait_s: float = 0.0,
    pack: bool = True,
    on_change: Callable[[Sweep], None] = lambda sweep: None,
) -> Sweep:
    """Run what the plan says is missing and return the sweep when it has ended or was stopped.

    Args:
        plan: what to run.
        registry: where the code of its tracks comes from.
        store: where records are written to.
        local: run in threads of this process, not on Ray.
        stale: run stale cells too.
        failed: run failed cells and stages again.
        budget_s: start nothing that is expected to end later than this.
        address: the Ray cluster.
        cpus: how many processors to use (default: all).
        max_pending: how many cells may wait for a place on the cluster at once (default: 256).
        wait_s: how long to hope for nodes that hold what no node of the cluster holds.
        pack: let cells of a cluster share a GPU where there is room, see `bench.engine.cluster.packing`.
        on_change: called whenever the sweep changes.

    Raises:
        BenchError: nothing can run here (no Linux, say), no node of the cluster can run cells, or there is no
            cluster at ``address``.
        StoreError: the store cannot be written.
    """
    check_max_pending(max_pending)
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
        with _interruptible(sweep.interrupt, lambda: sweep.stop("asked to stop")):
            try:
                if local:
                    from bench.engine.local import run as run_here

                    run_here(sweep, preload, cpus=cpus)
                else:
                    from bench.engine.tune import run as run_on_ray

                    run_on_ray(
                        sweep, preload, address=address, cpus=cpus, max_pending=max_pending, wait_s=wait_s,
                        pack=pack,
                    )  # fmt: skip
            finally:
                sweep.leases.close()
        check_records(sweep)
    return sweep


def check_records(sweep: Sweep) -> None:
    """Fail the sweep unless each cell that ended has a record."""
    if not sweep.ended or sweep.error or sweep.fault is not None:
        return
    records = sweep.store.fresh()
    without = [e.unit.label for e in sweep.ended if e.unit.key not in records]
    if without:
        sweep.fail(
            BenchError(
                f"{len(without)} of {len(sweep.ended)} cells that ended have no record in {sweep.store.url}, "
                f"{without[0]} for one: somebody removes records there, or not all nodes write to this store"
            )
        )


@contextmanager
def _interruptible(interrupt: threading.Event, drain: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM (from a scheduler) ask the sweep to end, and SIGUSR1 (`bench stop`) to start no
    more cells and wait for those that run.

    They only set ``interrupt``, since an exception could strike between taking a cell and starting it, or
    while the screen is drawn. A second signal raises KeyboardInterrupt.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, frame: Any) -> None:
        if interrupt.is_set():
            raise KeyboardInterrupt
        interrupt.set()

    before = {s: signal.signal(s, on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
    before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, lambda number, frame: drain())
    try:
        yield
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def units(
    plan: Plan, cells: list[PlannedCell], registry: Registry, *, failed: bool
) -> tuple[list[Unit], set[str]]:
    """The units of the cells to run and of the stages that they need, each stage before its first reader; and
    the keys of the stages that failed before and are not tried again (``failed`` tries them).
    """
    out: dict[str, Unit] = {}
    broken: set[str] = set()

    def add_stage(key: str) -> None:
        planned = plan.stages[key]
        if key in out:
            return
        if planned.state == "failed" and not failed:
            broken.add(key)
            return
        for k in planned.reads:
            add_stage(k)
        out[key] = _stage_unit(planned, registry)

    for c in cells:
        for k in c.reads if c.skip is None else ():
            add_stage(k)
        out[c.key] = _cell_unit(c, registry)
    return list(out.values()), broken


def _cell_unit(c: PlannedCell, registry: Registry) -> Unit:
    job = Job(
        key=c.key,
        kind="cell",
        cell=c.cell.declared(),
        task=c.task,
        track=registry.track_of(c.plan.track.name, c.task)[1],
        method=c.found.origin,
        method_id=c.found.method.id,
        ranks_by=c.plan.ranks_by,
        needs=c.needs,
    )
    return Unit(
        job=job,
        label=str(c.cell),
        data=(c.dependencies and c.dependencies.data) or "",
        reads=c.reads,
        stages=c.may_read,
        fallback={k: v for k, v in c.found.method.fallback.items() if c.cell.hp.get(k) != v},
        seconds=c.seconds,
        seen=c.summary.ended if c.summary is not None else "",
        generation=c.summary.generation + 1 if c.summary is not None else 0,
    )


def _stage_unit(s: PlannedStage, registry: Registry) -> Unit:
    named = {"track": s.plan.track.name, "stage": s.stage.name, "address": s.stage.address, "shard": s.shard}
    of_task = ""
    if s.stage.per_seed:
        named["seed"], of_task = s.stage.seed, f"{s.task.name} · "
    job = Job(
        key=s.key,
        kind="stage",
        cell={**named, "params": dict(s.stage.params), "run": non_default(s.plan.run)},
        task=s.task,
        track=registry.track_of(s.plan.track.name, s.task)[1],
        method=s.found.origin,
        method_id=s.found.method.id,
        ranks_by=s.plan.ranks_by,
        needs=s.stage.needs,
    )
    return Unit(
        job=job,
        label=f"{s.plan.track.name} · {of_task}stage {shard_label(s.stage, s.shard)}",
        reads=s.reads,
        stages=tuple(k for read in s.stage.stages for k in shard_keys(read)),
        replaces=s.replaces,
        seen=s.seen,
        generation=s.generation,
    )
