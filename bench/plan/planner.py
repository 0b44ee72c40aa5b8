"""Makes a plan from suite, registry and store: all cells and stages, the state of each, and the order in
which they run.

The order makes an interrupted run useful: tracks take turns, all core rows of a task run on one seed before
any second seed starts, and ablations come last.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from importlib import metadata
from itertools import zip_longest
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bench.contract import BenchError, Cell, Task
from bench.declarations import non_default, plain_space, search_space
from bench.plan.durations import expect, factors
from bench.plan.filter import Filter
from bench.plan.model import Plan, PlannedCell
from bench.plan.states import StateMarker
from bench.registry import Found, Registry, mistake
from bench.store.committed.layers import Layered
from bench.store.draws import Draw
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
    filtered = bool(wanted.rows or wanted.terms)
    return _marked(Plan(profile, chosen, cells, {}, [*registry.problems], filtered, tasks), registry, store)


def _current(plan: Plan, registry: Registry, draws: Iterable[Draw]) -> list[Draw]:
    """The draws of rows of a plan from the space that the row declares today, up to the first one that is
    absent: without the draws before it, the number of a draw means nothing.
    """
    tracks = {p.track.name: p.track for p in plan.tracks}
    rows = {(c.plan.track.name, row) for c in plan.cells for row in (c.row, c.cell.row)}

    @cache
    def space(track: str, row: str) -> dict[str, Any]:
        return plain_space(search_space(tracks[track], registry.row(track, row).method, row))

    found: dict[str, list[Draw]] = {}
    for d in sorted(draws, key=lambda d: d.index):
        if (d.track, d.row) in rows and d.space == space(d.track, d.row):
            of = found.setdefault(d.search, [])
            of += [d] if d.index == len(of) else []
    return [d for of in found.values() for d in of]


def plan_searches(
    plan: Plan, registry: Registry, store: Store | Layered | CommittedRecords, draws: Iterable[Draw]
) -> dict[str, tuple[Plan, list[Draw]]]:
    """The searches of rows of a plan: sampler -> the plan of its draws, and those that the plan is of.

    Args:
        plan: the cells of a profile.
        registry: the tracks and rows that there are.
        store: the records that cells are held against.
        draws: every draw there is; those from another space than today's are left out.
    """
    of: dict[str, list[Draw]] = {}
    for d in _current(plan, registry, draws):
        of.setdefault(d.sampler, []).append(d)
    return {sampler: (plan_draws(plan, registry, store, found), found) for sampler, found in of.items()}


def rows_with_space(plan: Plan, registry: Registry, p: TrackPlan) -> list[str]:
    """The rows of a track in a plan that have something to search."""
    rows = dict.fromkeys(c.row for c in plan.cells if c.plan.track.name == p.track.name)
    return [r for r in rows if search_space(p.track, registry.row(p.track.name, r).method, r)]


def plan_draws(
    plan: Plan, registry: Registry, store: Store | Layered | CommittedRecords | None, draws: Iterable[Draw]
) -> Plan:
    """The plan of the draws of a search: for each draw, the cells that a plan has of its row (and task).

    They are ordered so that an interrupted search compares something: every row's first draw on all tasks
    and seeds, then every row's second. Where the cell of one row is that of another by construction, so is
    its draw.

    Args:
        plan: the cells that are searched, each with the settings that it has by default.
        registry: the tracks and rows that there are.
        store: the records that cells are held against.
        draws: of any number of rows and tracks.
    """
    by_index: dict[int, dict[tuple[str, str, str], Drawn]] = {}
    settings = {p.track.name: p for p in plan.tracks}
    for d in draws:
        if (p := settings.get(d.track)) is not None:
            drawn = Drawn(d, replace(p, run=replace(p.run, **d.run)) if d.run else p)
            by_index.setdefault(d.index, {})[d.track, d.row, d.task] = drawn
    cells: list[PlannedCell] = []
    for index, of in sorted(by_index.items()):
        for c in plan.cells:
            p = settings[c.plan.track.name]
            if _drawn(of, p, c.row, c.task) is not None:
                made = _cell(p, c.task, c.row, c.cell.seed, registry, core=c.core, of=of)
                made.draw, made.seconds, made.timed_on = index, c.seconds, c.timed_on
                cells.append(made)
    guess = [(c.seconds, c.timed_on) for c in cells]
    found = _marked(replace(plan, cells=cells, stages={}), registry, store)
    for c, (seconds, timed_on) in zip(cells, guess, strict=True):
        if c.seconds is None:  # no cell with such run settings has run yet: the default's is the best guess
            c.seconds, c.timed_on = seconds, timed_on
    return found


def _marked(plan: Plan, registry: Registry, store: Store | Layered | CommittedRecords | None) -> Plan:
    """Set the state of each cell of a plan, the stages that they need, and how long they take."""
    summaries = store.summaries() if store else {}
    marker = StateMarker(store, summaries, registry)
    with marker.code.assume_unchanged(), _cached_metadata():
        for c in plan.cells:
            marker.mark(c)
    plan.stages = marker.stages
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


def _answering(p: TrackPlan, task: Task, registry: Registry) -> TrackPlan:
    """The plan of the track that answers for a task: another one for data of the user's own."""
    track = registry.track_of(p.track.name, task)[0]
    return p if track is p.track else replace(p, track=track)


def _one_seed(p: TrackPlan, row: str, registry: Registry) -> bool:
    """Whether one seed is enough: nothing is drawn at random, neither by the method nor by the split."""
    return registry.row(p.track.name, row).method.deterministic and not p.track.split_per_seed


@dataclass(frozen=True, slots=True)
class Drawn:
    """A draw of a search, and the plan of its track with the run settings that it changes."""

    draw: Draw
    plan: TrackPlan


def _drawn(of: Mapping[tuple[str, str, str], Drawn], p: TrackPlan, row: str, task: Task) -> Drawn | None:
    """The draw of a row on a task among those of one index."""
    return of.get((p.track.name, row, "")) or of.get((p.track.name, row, task.name))


def _cell(
    p: TrackPlan, task: Task, row: str, seed: int, registry: Registry, *, core: bool,
    of: Mapping[tuple[str, str, str], Drawn] = MappingProxyType({}), aliases: tuple[str, ...] = (),
) -> PlannedCell:  # fmt: skip
    found = registry.row(p.track.name, row)
    hp = {**found.method.hp_of(row), **p.hp.get(row, {})}
    drawn = _drawn(of, p, row, task)
    hp |= drawn.draw.hp if drawn is not None else {}
    alias = _asked(found, row, task, "alias", found.method.alias, task, hp)
    if alias is not None and alias != row:
        if alias in aliases:
            raise BenchError(f"{row} on {task.name}: its alias leads back to {alias}")
        other = _cell(p, task, alias, seed, registry, core=core, of=of, aliases=(*aliases, row))
        other.row, other.shown, other.alias_of = row, found, other.alias_of or alias
        return other
    p = _answering(drawn.plan if drawn is not None else p, task, registry)
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
