"""Suite x registry x store -> the cells and stages there are, what each one's state is, and in which order
they run.

The order makes an interrupted run worth something: tracks take turns, all core rows of a task run on one seed
before any second seed starts, and ablations come last.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from importlib import metadata
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from bench.contract import BenchError, Cell, Task
from bench.errors import nearest
from bench.estimate import expect, factors
from bench.marking import Marker
from bench.planned import Plan, PlannedCell
from bench.registry import Found, Registry, near_rows, selects
from bench.store.layers import Layered
from bench.suite import Suite, TrackPlan, changed

if TYPE_CHECKING:
    from bench.store.publish import Published
    from bench.store.records import Store


class Filter:
    """Which cells ``-m`` and ``-k`` select: the patterns of rows, and conditions on task, seed and the tasks'
    parameters.

    A condition is ``name=pattern``; of several values one has to match (``scale=1|4``), and of several
    conditions all (``dataset=flights,scale=4``). Without a name it is a part of the task's name
    (``icons|earth``).
    """

    def __init__(self, rows: Sequence[str] = (), expression: str = "") -> None:
        self.rows, self.expression = tuple(rows), expression
        self.terms: list[tuple[str, list[str]]] = []
        for part in filter(None, (p.strip() for p in expression.split(","))):
            name, eq, values = part.partition("=")
            if eq:
                self.terms.append((name.strip(), [v.strip() for v in values.split("|")]))
            else:
                self.terms.append(("task", [f"*{word.strip()}*" for word in part.split("|")]))

    def check_rows(self, rows: Sequence[str], left_out: Sequence[str] = ()) -> None:
        """Raise `BenchError` for a pattern that selects none of ``rows``.

        Args:
            rows: the rows there are.
            left_out: rows that are declared, but that the profile does not run.
        """
        for pattern in self.rows:
            if any(selects(pattern, r) for r in rows):
                continue
            if hits := [r for r in left_out if selects(pattern, r)]:
                raise BenchError(
                    f"-m {pattern}: {', '.join(hits)} is declared, but the suite's `rows` leave it out here; "
                    f"there is {', '.join(rows) or 'none'}"
                )
            raise BenchError(f"-m {pattern}: no row matches{near_rows(pattern, rows)}")

    def check_cells(self, tasks: Sequence[Task], seeds: Iterable[int]) -> None:
        """Raise `BenchError` for a name that no task knows, and for a value that no task or seed has."""
        values: dict[str, dict[str, None]] = {"task": {}, "seed": dict.fromkeys(map(str, seeds))}
        for task in tasks:
            for name, value in {**task.params, "task": task.name}.items():
                values.setdefault(name, {})[str(value)] = None
        for name, patterns in self.terms:
            if name not in values:
                known = nearest(name, values)
                raise BenchError(f"-k {self.expression}: no task has a {name!r} to select by{known}")
            for pattern in patterns:
                if not any(fnmatchcase(v, pattern) for v in values[name]):
                    near = nearest(pattern.strip("*"), values[name])
                    raise BenchError(f"-k {self.expression}: no {name} is {pattern!r}{near}")

    def nothing(self, chosen: Sequence[TrackPlan]) -> str:
        """What to say if each part of the filter selects something, and no cell all of them."""
        parts = [*(f"-m {r}" for r in self.rows), *([f"-k {self.expression}"] if self.expression else [])]
        on = {t for p in chosen for t in p.ablation_tasks if any(map(self.row, p.ablations))}
        only = f"; ablations run on {', '.join(sorted(on))} alone" if on else ""
        return f"no cell is selected by {' and '.join(parts)} together{only}"

    def row(self, row: str) -> bool:
        """Whether a row is selected."""
        return not self.rows or any(selects(p, row) for p in self.rows)

    def cell(self, task: Task, seed: int) -> bool:
        """Whether the cells of that task and seed are selected."""
        values = {**task.params, "task": task.name, "seed": seed}
        return all(any(fnmatchcase(str(values.get(n)), p) for p in patterns) for n, patterns in self.terms)


def make_plan(
    suite: Suite,
    registry: Registry,
    store: Store | Layered | Published | None,
    profile: str,
    *,
    tracks: Sequence[str] = (),
    wanted: Filter | None = None,
) -> Plan:
    """The plan of a profile against a store, published records under it or alone (None: everything is new).

    Raises:
        BenchError: an unknown profile or track, a filter that selects nothing, a mistake in ``bench.yaml``.
    """
    chosen, wanted = suite.tracks(profile, registry, tuple(tracks)), wanted or Filter()
    heads = store.heads() if store else {}
    tasks = {p.track.name: _tasks(p) for p in chosen}
    rows = [r for p in chosen for r in (*p.core, *p.ablations)]
    wanted.check_rows(rows, [r for p in chosen for r in registry.rows(p.track.name)])
    wanted.check_cells([t for ts in tasks.values() for t in ts], {s for p in chosen for s in p.seeds})
    cells: list[PlannedCell] = []
    blocks = [list(_blocks(p, tasks[p.track.name], registry, wanted)) for p in chosen]
    for ablation in (False, True):
        turns = zip_longest(*([b for is_abl, b in track if is_abl is ablation] for track in blocks))
        cells += [c for turn in turns for block in turn if block for c in block]
    if not cells and (wanted.rows or wanted.terms):
        raise BenchError(wanted.nothing(chosen))
    marker = Marker(store, heads, registry)
    with marker.code.still(), _read_once():
        for c in cells:
            marker.mark(c)
    plan = Plan(
        profile, chosen, cells, marker.stages, [*registry.problems], bool(wanted.rows or wanted.terms), tasks
    )
    if isinstance(store, Layered):
        plan.factors = factors(store.pairs())
    expect(plan, heads)
    return plan


@contextmanager
def _read_once() -> Iterator[None]:
    """While a plan is made, a package's version is read from its metadata once: the fingerprints of data that
    come in packages ask for the same few hundreds of times, a third of a millisecond each. And the cycle
    collector is kept out, as in the store: all that is made here stays.
    """
    version, collecting = metadata.version, gc.isenabled()
    metadata.version = cache(version)
    gc.disable()
    try:
        yield
    finally:
        metadata.version = version
        if collecting:
            gc.enable()


def _tasks(p: TrackPlan) -> list[Task]:
    tasks = list(p.track.tasks(p.grid))
    names = [t.name for t in tasks]
    if len(set(names)) != len(names):
        raise BenchError(f"track {p.track.name}: two tasks have one name: {sorted(names)}")
    return tasks


def _blocks(
    p: TrackPlan, tasks: Sequence[Task], registry: Registry, wanted: Filter
) -> Iterator[tuple[bool, list[PlannedCell]]]:
    """Blocks that are run whole before another track's turn: one seed of one task, core rows or ablations."""
    rows_ = (*p.core, *p.ablations)
    once = {r for r in rows_ if _once(p, r, registry)}
    asked = {r for r in rows_ if wanted.row(r)}
    for ablation, rows in ((False, p.core), (True, p.ablations)):
        for seed in p.seeds:
            for task in tasks:
                if ablation and not any(fnmatchcase(task.name, a) for a in p.ablation_tasks):
                    continue
                chosen = [r for r in rows if r in asked and (seed == p.seeds[0] or r not in once)]
                if wanted.cell(task, seed):
                    yield ablation, [_cell(p, task, r, seed, registry, core=not ablation) for r in chosen]


def _once(p: TrackPlan, row: str, registry: Registry) -> bool:
    """Whether one seed says it all: nothing is drawn, neither by the method nor by the split."""
    return registry.row(p.track.name, row).method.deterministic and not p.track.split_per_seed


def _cell(p: TrackPlan, task: Task, row: str, seed: int, registry: Registry, *, core: bool) -> PlannedCell:
    found = registry.row(p.track.name, row)
    hp = {**found.method.hp_of(row), **p.hp.get(row, {})}
    alias = found.method.alias(task, hp) if found.method.alias else None
    if alias is not None and alias != row:
        other = _cell(p, task, alias, seed, registry, core=core)
        other.row, other.shown, other.alias_of = row, found, other.alias_of or alias
        return other
    cell = _declare(p, task, row, found, hp, seed)
    planned = PlannedCell(
        cell, cell.key, row, found, task, found, p, p.needs.get(row, found.method.needs), core
    )
    planned.skip = found.method.skip(task, p.run, hp) if found.method.skip else None
    return planned


def _declare(p: TrackPlan, task: Task, row: str, found: Found, hp: Mapping[str, Any], seed: int) -> Cell:
    return Cell(
        track=p.track.name, track_version=p.track.version, task=task.name, task_version=task.version, row=row,
        row_version=found.method.version, hp=hp, seed=seed, run=_changed(p),
    )  # fmt: skip


@lru_cache(maxsize=64)
def _changed_of(run: Any) -> dict[str, Any]:
    return changed(run)


def _changed(p: TrackPlan) -> dict[str, Any]:
    return _changed_of(p.run)
