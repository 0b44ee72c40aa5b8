"""The contract as a test run over registered rows, on the smoke profile: what `bench check` and CI do.

A row passes if it answers in the shape asked, its ranking metric is a finite number, and the same seed gives
the same answer twice. A row that says why it skips the smoke task passes with that reason.
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
from bench.engine.pool import Pool
from bench.engine.sweep import units
from bench.engine.worker import Unit, do
from bench.plan import Filter, make_plan
from bench.planned import PlannedCell
from bench.registry import Registry
from bench.store.records import Store
from bench.suite import Suite

#: A smoke cell that runs longer than this is named: it slows everybody's CI.
SMOKE_S = 3.0


@dataclass(frozen=True, slots=True)
class Checked:
    """One row's result. ``problems`` empty: it keeps the contract. ``notes``: worth knowing, no fault."""

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
    """Check rows, one a processor at a time, each on the first smoke task of its track; told in their order.

    Args:
        suite: only its tracks' names matter; sizes come from each track's ``smoke()``.
        registry: where the rows come from.
        tracks, rows: only these (patterns).
        twice: run every cell a second time and compare (deterministic answers).
    """
    with TemporaryDirectory(prefix="bench-check-") as folder:
        store = Store.open(Path(folder))
        plan = make_plan(suite, registry, store, "smoke", tracks=tracks, wanted=Filter(rows))
        pool = Pool(tuple(dict.fromkeys(m for p in plan.tracks for m in p.track.preload)))
        pool.warm()
        stages = {key: _StageOnce() for key in plan.stages}
        first: dict[tuple[str, str], str] = {}
        todo: list[tuple[PlannedCell, list[Unit]]] = []
        for c in plan.cells:
            # One task a row is enough: the next ones are the same code with other numbers.
            if c.alias_of is None and first.setdefault((c.cell.track, c.row), c.task.name) == c.task.name:
                todo.append((c, units(plan, [c], registry, failed=True)[0]))
        threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
        try:
            yield from threads.map(lambda one: _one(one[0], one[1], pool, store, stages, twice=twice), todo)
        finally:
            threads.shutdown(cancel_futures=True)


class _StageOnce:
    """A stage that several rows read: whoever comes first builds it, the others wait for it."""

    def __init__(self) -> None:
        self._lock, self._built = Lock(), False
        self._record: Record | None = None

    def record(self, unit: Unit, pool: Pool, store: Store) -> Record | None:
        """What became of it."""
        with self._lock:
            if not self._built:
                self._record, self._built = do(unit, pool, store), True
            return self._record


def _one(
    c: PlannedCell,
    todo: list[Unit],
    pool: Pool,
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
        record = stages[s.key].record(s, pool, store)
        if record is not None and record.status != "ok":
            return Checked(c.cell.track, c.row, 0.0, (f"{s.label}: {_how(record)}",))
    runs = [r for _ in range(2 if twice else 1) if (r := do(unit, pool, store)) is not None]
    return Checked(c.cell.track, c.row, runs[0].cost.get("run_s", 0.0), *_judge(runs, c.plan.track))


def _judge(runs: list[Record], track: Track) -> tuple[tuple[str, ...], tuple[str, ...]]:
    for r in runs:
        if r.status != "ok":
            return (_how(r),), ()
    costs = {m.name for m in track.metrics if m.kind == "cost"}  # a speed may differ
    problems = [
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
    said = ": ".join(str(record.error[k]) for k in ("type", "message") if record.error.get(k))
    return f"{record.status}: {at}{said or record.reason}"
