"""Makes a plan from suite, registry and store: all cells and stages, the state of each, and the order in
which they run.

The order makes an interrupted run useful: tracks take turns, all core rows of a task run on one seed before
any second seed starts, and ablations come last.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from importlib import metadata
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from bench.contract import BenchError, Cell, Task
from bench.declarations import non_default
from bench.plan.durations import expect, factors
from bench.plan.filter import Filter
from bench.plan.model import Plan, PlannedCell
from bench.plan.states import StateMarker
from bench.registry import Found, Registry, mistake
from bench.store.committed.layers import Layered
from bench.suite import Suite, TrackPlan, resolve

if TYPE_CHECKING:
    from bench.store.committed.reading import CommittedRecords
    from bench.store.records import Store


def make_plan(
    suite: Suite,
    registry: Registry,
    store: Store | Layered | CommittedRecords | None,
    profile: str,
    *,
    tracks: Sequence[str] = (),
    wanted: Filter | None = None,
) -> Plan:
    """The plan of a profile.

    Args:
        suite: what to run.
        registry: the tracks and rows that there are.
        store: the records that cells are held against; None: every cell is new.
        profile: name of the profile.
        tracks: names of tracks, if not all are wanted.
        wanted: which rows and cells are wanted.

    Raises:
        BenchError: an unknown profile or track, a filter that selects nothing, a mistake in ``bench.yaml``.
    """
    chosen, wanted = resolve(suite, registry, profile, tracks), wanted or Filter()
    summaries = store.summaries() if store else {}
    tasks = {p.track.name: _tasks(p) for p in chosen}
    rows = [r for p in chosen for r in (*p.core, *p.ablations)]
    wanted.check_rows(rows, [r for p in chosen for r in registry.rows(p.track.name)])
    seeds = {s for p in chosen for s in p.every_seed}
    wanted.check_cells([t for ts in tasks.values() for t in ts], seeds, profile)
    cells: list[PlannedCell] = []
    blocks = [list(_blocks(p, tasks[p.track.name], registry, wanted)) for p in chosen]
    for ablation in (False, True):
        turns = zip_longest(*([b for is_abl, b in track if is_abl is ablation] for track in blocks))
        cells += [c for turn in turns for block in turn if block for c in block]
    if not cells and (wanted.rows or wanted.terms):
        raise BenchError(wanted.nothing(chosen))
    marker = StateMarker(store, summaries, registry)
    with marker.code.assume_unchanged(), _cached_metadata():
        for c in cells:
            marker.mark(c)
    plan = Plan(
        profile, chosen, cells, marker.stages, [*registry.problems], bool(wanted.rows or wanted.terms), tasks
    )
    if isinstance(store, Layered):
        plan.factors = factors(store.pairs())
    expect(plan, summaries)
    return plan


@contextmanager
def _cached_metadata() -> Iterator[None]:
    """Cache what is known of packages and stop the cycle collector while a plan is made.

    Tracks ask hundreds of times whether the same few packages are here and in which version, a third of a
    millisecond each. The cycle collector would find nothing: all objects made here stay.
    """
    version, distribution, collecting = metadata.version, metadata.distribution, gc.isenabled()
    metadata.version, metadata.distribution = cache(version), cache(distribution)
    gc.disable()
    try:
        yield
    finally:
        metadata.version, metadata.distribution = version, distribution
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
    """Blocks that run before another track's turn: one seed of one task, core rows or ablations.

    Each with whether its rows are ablations.
    """
    rows_ = (*p.core, *p.ablations)
    once = {r for r in rows_ if _one_seed(p, r, registry)}
    selected = {r for r in rows_ if wanted.row(r)}
    for ablation, rows in ((False, p.core), (True, p.ablations)):
        for seed in p.every_seed:
            of_seed = [
                r
                for r in rows
                if r in selected and seed in (p.seeds_of(r)[:1] if r in once else p.seeds_of(r))
            ]
            for task in tasks:
                if ablation and not any(fnmatchcase(task.name, a) for a in p.ablation_tasks):
                    continue
                if wanted.cell(task, seed):
                    yield ablation, [_cell(p, task, r, seed, registry, core=not ablation) for r in of_seed]


def _one_seed(p: TrackPlan, row: str, registry: Registry) -> bool:
    """Whether one seed is enough: nothing is drawn at random, neither by the method nor by the split."""
    return registry.row(p.track.name, row).method.deterministic and not p.track.split_per_seed


def _cell(
    p: TrackPlan,
    task: Task,
    row: str,
    seed: int,
    registry: Registry,
    *,
    core: bool,
    aliases: tuple[str, ...] = (),
) -> PlannedCell:
    found = registry.row(p.track.name, row)
    hp = {**found.method.hp_of(row), **p.hp.get(row, {})}
    alias = _asked(found, row, task, "alias", found.method.alias, task, hp)
    if alias is not None and alias != row:
        if alias in aliases:
            raise BenchError(f"{row} on {task.name}: its alias leads back to {alias}")
        other = _cell(p, task, alias, seed, registry, core=core, aliases=(*aliases, row))
        other.row, other.shown, other.alias_of = row, found, other.alias_of or alias
        return other
    cell = _declare(p, task, row, found, hp, seed)
    planned = PlannedCell(
        cell, cell.key, row, found, task, found, p, p.needs.get(row, found.method.needs), core
    )
    planned.skip = _asked(found, row, task, "skip", found.method.skip, task, p.run, hp)
    return planned


def _asked(
    found: Found, row: str, task: Task, what: str, function: Callable[..., Any] | None, *given: Any
) -> str | None:
    """What a function that a method declares says of a task: a text or None.

    Raises:
        BenchError: it raised an exception, which is named with its line, or gave something else.
    """
    if function is None:
        return None
    try:
        said = function(*given)
    except Exception as e:
        raise BenchError(f"{mistake(e, found.origin.path)} (asked for {what} of {row} on {task.name})") from e
    if said is not None and not isinstance(said, str):
        raise BenchError(
            f"{found.origin.path}: {what} of {row} on {task.name} gave {said!r:.60}, expected a text or None"
        )
    return said


def _declare(p: TrackPlan, task: Task, row: str, found: Found, hp: Mapping[str, Any], seed: int) -> Cell:
    return Cell(
        track=p.track.name, track_version=p.track.version, task=task.name, task_version=task.version, row=row,
        row_version=found.method.version, hp=hp, seed=seed, run=_changed(p.run),
    )  # fmt: skip


@lru_cache(maxsize=64)
def _changed(run: Any) -> dict[str, Any]:
    """`non_default`, once for each track: thousands of cells share one mapping."""
    return non_default(run)
