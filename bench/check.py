"""The contract of methods as a test of registered rows on the smoke profile, as `bench check` runs it.

A row passes if it answers in the shape that the track expects, its ranking metric is a finite number, every
metric that the track declares has a value, and the same seed gives the same answer twice. A row that says why
it skips the smoke task passes with that reason.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

from bench.contract import Record, Track
from bench.engine.execute import units
from bench.engine.forkserver import ForkServer
from bench.engine.job import Unit
from bench.engine.worker import run_unit
from bench.plan import Filter, PlannedCell, make_plan
from bench.registry import Registry
from bench.store.records import Store
from bench.suite import Suite

#: Seconds after which a smoke cell is noted as slow, because every run of the tests waits for it.
SMOKE_S = 3.0


@dataclass(frozen=True, slots=True)
class Checked:
    """What the check of one row found. A good row has no ``problems``; ``notes`` are no fault of it."""

    track: str
    row: str
    seconds: float
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def check(
    suite: Suite,
    registry: Registry,
    *,
    tracks: tuple[str, ...] = (),
    rows: tuple[str, ...] = (),
    twice: bool = True,
) -> Iterator[Checked]:
    """Check rows in their order, each on the first smoke task of its track, as many at once as processors.

    Args:
        suite: only its tracks' names matter; sizes come from each track's ``smoke()``.
        registry: where the rows come from.
        tracks, rows: only these; rows by patterns as of ``-m``.
        twice: run every cell a second time and compare (deterministic answers).
    """
    with TemporaryDirectory(prefix="bench-check-") as folder:
        store = Store.open(Path(folder))
        plan = make_plan(suite, registry, store, "smoke", tracks=tracks, wanted=Filter(rows))
        server = ForkServer(tuple(dict.fromkeys(m for p in plan.tracks for m in p.track.preload)))
        server.start()
        stages = {key: _StageOnce() for key in plan.stages}
        first: dict[tuple[str, str], str] = {}
        todo: list[tuple[PlannedCell, list[Unit]]] = []
        for c in plan.cells:
            # One task a row is enough, because the others run the same code with other numbers.
            if c.alias_of is None and first.setdefault((c.cell.track, c.row), c.task.name) == c.task.name:
                todo.append((c, units(plan, [c], registry, failed=True)[0]))
        threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
        try:
            yield from threads.map(lambda one: _one(one[0], one[1], server, store, stages, twice=twice), todo)
        finally:
            threads.shutdown(cancel_futures=True)


class _StageOnce:
    """A stage that several rows read: the first of them builds it, and the others wait for that."""

    def __init__(self) -> None:
        self._lock, self._built = Lock(), False
        self._record: Record | None = None

    def record(self, unit: Unit, server: ForkServer, store: Store) -> Record | None:
        """The record of the stage, which the first call builds; None if it was not recorded."""
        with self._lock:
            if not self._built:
                self._record, self._built = run_unit(unit, server, store), True
            return self._record


def _one(
    c: PlannedCell,
    todo: list[Unit],
    server: ForkServer,
    store: Store,
    stages: Mapping[str, _StageOnce],
    *,
    twice: bool,
) -> Checked:
    if c.state == "blocked":
        return Checked(c.cell.track, c.row, 0.0, (), (f"not checked: {c.reason}",))
    if c.skip is not None:
        return Checked(c.cell.track, c.row, 0.0, (), (f"skips the smoke task: {c.skip}",))
    *read, unit = todo
    for s in read:
        record = stages[s.key].record(s, server, store)
        if record is not None and record.status != "ok":
            return Checked(c.cell.track, c.row, 0.0, (f"{s.label}: {_how(record)}",))
    runs = [r for _ in range(2 if twice else 1) if (r := run_unit(unit, server, store)) is not None]
    return Checked(c.cell.track, c.row, runs[0].cost.get("run_s", 0.0), *_judge(runs, c.plan.track))


def _judge(runs: list[Record], track: Track) -> tuple[tuple[str, ...], tuple[str, ...]]:
    for r in runs:
        if r.status != "ok":
            return (_how(r),), ()
    costs = {m.name for m in track.metrics if m.kind == "cost"}  # a speed may differ
    problems = [
        f"the track declares the metric {m.name}, but its score has none (None: it does not apply)"
        for m in track.metrics
        if m.name not in runs[0].metrics
    ]
    problems += [
        f"not the same twice: {name} was {runs[0].metrics[name]!r}, then {r.metrics[name]!r}"
        for r in runs[1:]
        for name in runs[0].metrics
        if r.metrics[name] != runs[0].metrics[name] and name not in costs
    ]
    slow = runs[0].cost.get("run_s", 0.0)
    notes = (f"took {slow:.1f} s; a smoke cell should take at most {SMOKE_S:g} s",) if slow > SMOKE_S else ()
    return tuple(problems), notes


def _how(record: Record) -> str:
    """How a run ended, with the line of the method's file at which its exception came up."""
    at = f"{record.error['at']}: " if record.error.get("at") else ""
    error = ": ".join(str(record.error[k]) for k in ("type", "message") if record.error.get(k))
    return f"{record.status}: {at}{error or record.reason}"
