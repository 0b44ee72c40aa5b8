"""Suite x registry x store -> the cells and stages there are, what each one's state is, and in which order
they run.

The order makes an interrupted run worth something: tracks take turns, all core rows of a task run on one seed
before any second seed starts, and ablations come last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import zip_longest
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from bench.contract import BenchError, Cell, Needs, Stage, Task, Track, canonical, digest
from bench.registry import Found, Registry, nearest
from bench.store import closure, provenance
from bench.store.layers import Layered
from bench.suite import Suite, TrackPlan, changed

if TYPE_CHECKING:
    from bench.store.heads import Head
    from bench.store.names import Closure
    from bench.store.publish import Published
    from bench.store.records import Store

State = Literal["new", "done", "stale", "failed", "blocked"]
#: (id of a track, or of what a method declares with; track; task) -> the stages that it declares there.
Declared = dict[tuple[int, str, str], tuple[Stage, ...]]
ENDED_BADLY = ("failed", "oom", "timeout", "diverged")


@dataclass(frozen=True, slots=True)
class Rests:
    """What a cell would rest on today: its code, its settings by value (`provenance.ran_with`), the
    fingerprint of its data, name -> digest of its stages that are built, and name -> the code of all of them.
    Without its data (``data`` None) it is not known which stages it reads: none is named.
    """

    code: Closure
    ran_with: Mapping[str, Any]
    data: str | None
    stages: Mapping[str, str]
    built_by: Mapping[str, Closure]

    @property
    def named(self) -> dict[str, str]:
        """Name of a stage -> name of its code."""
        return {name: code.name for name, code in self.built_by.items()}

    @property
    def codes(self) -> tuple[Closure, ...]:
        """All code, the cell's own first."""
        return (self.code, *self.built_by.values())


@dataclass(slots=True)
class PlannedCell:
    """One cell with its state. ``reason``: why it is blocked, skipped or failed; ``causes``: why it is stale.

    ``row``, ``shown``: the row under which the board shows it, and that row's method; another than
    ``cell.row`` if this cell is that row's by construction (``alias_of``). ``skip``: the method's own reason
    not to do this task (the cell is recorded as ``skipped``, never run). ``rests``: on what it would rest.
    ``seconds``: what it is expected to take; ``timed_on``: the hardware of the published records which say
    so, "" if it is the store's own.
    """

    cell: Cell
    key: str
    row: str
    shown: Found
    task: Task
    found: Found
    plan: TrackPlan
    needs: Needs
    core: bool
    state: State = "new"
    reason: str = ""
    causes: Sequence[str] = ()
    alias_of: str | None = None
    skip: str | None = None
    head: Head | None = None
    rests: Rests | None = None
    reads: tuple[str, ...] = ()
    seconds: float | None = None
    timed_on: str = ""


@dataclass(slots=True)
class PlannedStage:
    """One shard of a stage that some cell to run needs; ``reads``: keys of the stages that it needs
    itself. ``replaces``: when the shard was built that is there now and is stale, else "". ``seen``: when
    the record of the shard ended that counts, whatever it says, else ""; ``generation``: of its record to be,
    one more than that one's. ``code``: of today.
    """

    stage: Stage
    shard: int
    key: str
    task: Task
    found: Found
    plan: TrackPlan
    state: State = "new"
    reason: str = ""
    reads: tuple[str, ...] = ()
    replaces: str = ""
    seen: str = ""
    generation: int = 0
    code: Closure | None = None


@dataclass(frozen=True, slots=True)
class Factor:
    """How long cells take here against other hardware: the median ``ratio`` of ``cells`` that ran on both."""

    ratio: float
    cells: int


@dataclass(slots=True)
class Plan:
    """Everything a profile asks for, in running order. ``notes``: what a reader should know (files not
    read). ``factors``: by hardware of published records, what their times are multiplied with.
    """

    profile: str
    tracks: list[TrackPlan]
    cells: list[PlannedCell]
    stages: dict[str, PlannedStage]
    notes: list[str]
    filtered: bool = False
    tasks: dict[str, list[Task]] = field(default_factory=dict)
    factors: Mapping[str, Factor] = field(default_factory=dict)

    def to_run(self, *, stale: bool = False, failed: bool = False) -> list[PlannedCell]:
        """Cells that `bench run` would run or record now, in order, each once however many rows show it."""
        states = {"new", *(("stale",) if stale else ()), *(("failed",) if failed else ())}
        seen: set[str] = set()
        out = []
        for c in self.cells:
            if c.state in states and c.key not in seen:
                seen.add(c.key)
                out.append(c)
        return out

    def count(self) -> dict[str, int]:
        """State -> number of cells (aliases counted once, with the cell that they are)."""
        keys = {c.key: c.state for c in self.cells}
        return {
            s: n for s in ("new", "done", "stale", "failed", "blocked") if (n := list(keys.values()).count(s))
        }


def stage_key(stage: Stage, shard: int) -> str:
    """Key of the record of one shard of a stage."""
    return digest({"stage": stage.address, "shard": shard})


def shard_label(stage: Stage, shard: int) -> str:
    """How one shard of a stage is called: ``bank 2/3``, or ``bank`` where there is but one."""
    return f"{stage.name} {shard + 1}/{stage.shards}" if stage.shards > 1 else stage.name


def all_stages(
    track: Track, found: Found, task: Task, run: Any, declared: Declared | None = None
) -> list[Stage]:
    """Stages that a cell may read, those read by others first, each once.

    ``declared``: keeps what each function declared for a task while a plan is made. Declaring may read files
    and the metadata of packages, and one function serves many methods.
    """
    out: dict[str, Stage] = {}
    declared = {} if declared is None else declared

    def add(stage: Stage) -> None:
        for s in stage.stages:
            add(s)
        out.setdefault(stage.address, stage)

    for function, ask in ((track, track.stages), (found.method.stages, found.method.stages_of)):
        at = (id(function), track.name, task.name)
        if at not in declared:
            declared[at] = tuple(ask(task, run))
        for stage in declared[at]:
            add(stage)
    return list(out.values())


class Filter:
    """``-m`` and ``-k``: patterns of rows, and ``name=pattern`` over task, seed and the tasks' parameters.

    Several values of one name: ``scale=1|4``; several conditions: ``dataset=flights,scale=4``; a bare word is
    a pattern of the task's name.
    """

    def __init__(self, rows: Sequence[str] = (), expression: str = "") -> None:
        self.rows, self.expression = tuple(rows), expression
        self.terms: list[tuple[str, list[str]]] = []
        for part in filter(None, (p.strip() for p in expression.split(","))):
            name, eq, values = part.partition("=")
            self.terms.append((name.strip(), values.split("|")) if eq else ("task", [f"*{part}*"]))

    def check(self, tasks: Sequence[Task], rows: Sequence[str]) -> None:
        """Raise `BenchError` for a name that no task knows and a row pattern that matches nothing."""
        known = {"task", "seed", *(k for t in tasks for k in t.params)}
        for name, _ in self.terms:
            if name not in known:
                raise BenchError(f"-k {self.expression}: nothing is called {name!r}{nearest(name, known)}")
        for pattern in self.rows:
            if not any(self._row(r, pattern) for r in rows):
                raise BenchError(f"-m {pattern}: no row matches{nearest(pattern, rows)}")

    @staticmethod
    def _row(row: str, pattern: str) -> bool:
        return fnmatchcase(row, pattern) or row.partition("/")[0] == pattern

    def row(self, row: str) -> bool:
        """Whether a row is asked for."""
        return not self.rows or any(self._row(row, p) for p in self.rows)

    def cell(self, task: Task, seed: int) -> bool:
        """Whether cells of that task and seed are asked for."""
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
        BenchError: unknown profile, track, row, filter name, or a mistake in ``bench.yaml``.
    """
    chosen, wanted = suite.tracks(profile, registry, tuple(tracks)), wanted or Filter()
    heads = store.heads() if store else {}
    tasks = {p.track.name: _tasks(p) for p in chosen}
    wanted.check(
        [t for ts in tasks.values() for t in ts], [r for p in chosen for r in (*p.core, *p.ablations)]
    )
    cells: list[PlannedCell] = []
    blocks = [list(_blocks(p, tasks[p.track.name], registry, wanted)) for p in chosen]
    for ablation in (False, True):
        turns = zip_longest(*([b for is_abl, b in track if is_abl is ablation] for track in blocks))
        cells += [c for turn in turns for block in turn if block for c in block]
    marker = _Marker(store, heads, registry)
    with marker.code.still():
        for c in cells:
            marker.mark(c)
    plan = Plan(
        profile, chosen, cells, marker.stages, [*registry.problems], bool(wanted.rows or wanted.terms), tasks
    )
    if isinstance(store, Layered):
        plan.factors = _factors(store.pairs())
    _estimate(plan, heads)
    return plan


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


class _Marker:
    """Gives each cell its state from its record, and collects the stages that cells to run need."""

    def __init__(
        self, store: Store | Layered | Published | None, heads: Mapping[str, Head], registry: Registry
    ) -> None:
        self.store, self.heads = store, heads
        self.code = closure.code(registry.plugin_files())
        self.stages: dict[str, PlannedStage] = {}
        self._data: dict[tuple[str, str], tuple[str | None, str | None]] = {}
        self._reads: dict[tuple[str, str, str], tuple[list[Stage], dict[str, str], list[str]]] = {}
        self._rests: dict[tuple[str, str, str], Rests] = {}
        self._declared: Declared = {}
        self._digests: dict[str, str] = {}
        self._aged: dict[tuple[str, int], list[str]] = {}
        self._listings: dict[str, tuple[tuple[str, str], ...] | None] = {}

    def mark(self, c: PlannedCell) -> None:
        """Set state, reason, causes and stages of one cell."""
        stages, _, aged = self._stages(c)
        c.head, c.rests = self.heads.get(c.key), self._rest(c)
        if c.head is not None and c.head.status != "skipped":
            c.causes = self._causes(c.head, c.rests) + aged
        c.state, c.reason = _state(c, self._data_of(c)[0])
        if c.state in ("new", "stale", "failed") and not c.skip:
            c.reads = tuple(k for s in stages for k in self._need(s, c))
            broken = [k for k in c.reads if self._broken(k)]
            if c.head is not None and c.head.status == "skipped" and c.state == "new" and broken:
                # It was skipped for a stage that still fails: as failed as the stage, and shown as skipped.
                c.state, c.reason = "failed", f"skipped: {c.head.reason}"

    def _causes(self, head: Head, today: Rests) -> list[str]:
        """Why a cell's record is stale. A published one read the stages of where it ran: that those built
        here have other bits, as another processor makes them, says nothing about it.
        """
        return provenance.causes(
            head, code=today.code, ran_with=today.ran_with, data=today.data,
            stages={} if head.layer else today.stages, built_by=today.built_by, listing=self._listing,
        )  # fmt: skip

    def _rest(self, c: PlannedCell) -> Rests:
        track, run, data = c.plan.track, c.plan.run, self._data_of(c)[1]
        at = (track.name, c.task.name, c.cell.row)
        if at not in self._rests:
            stages, digests, _ = self._stages(c)
            read = stages if data is not None else []
            built_by = {s.name: self.code.of_stage(track, s) for s in read}
            code = self.code.of_cell(track, c.found.method, c.cell.hp)
            ran_with = provenance.ran_with(track, c.task, run, read)
            self._rests[at] = Rests(code, ran_with, data, digests if read else {}, built_by)
        return self._rests[at]

    def _data_of(self, c: PlannedCell) -> tuple[str | None, str | None]:
        """Why a task's data are missing, or their fingerprint."""
        at = (c.plan.track.name, c.task.name)
        if at not in self._data:
            why = c.plan.track.missing(c.task, c.plan.run)
            self._data[at] = (why, None if why else c.plan.track.fingerprint(c.task, c.plan.run))
        return self._data[at]

    def _listing(self, name: str) -> tuple[tuple[str, str], ...] | None:
        """The definitions behind the name of a code, if they are kept."""
        if name not in self._listings:
            try:
                found = None if self.store is None else self.store.artifacts.get(name)
                self._listings[name] = None if found is None else closure.unpack_listing(found)
            except BenchError:
                self._listings[name] = None
        return self._listings[name]

    def _broken(self, key: str) -> bool:
        stage = self.stages[key]
        return stage.state == "failed" or any(self._broken(k) for k in stage.reads)

    def _stages(self, c: PlannedCell) -> tuple[list[Stage], dict[str, str], list[str]]:
        """The stages that a cell may read, the digests of those that are there, and why some are stale."""
        at = (c.plan.track.name, c.task.name, c.found.method.id)
        if at not in self._reads:
            stages = all_stages(c.plan.track, c.found, c.task, c.plan.run, self._declared)
            digests = {s.name: d for s in stages if (d := self._digest(s))}
            old = {s.name: self._old(s, c.plan.track) for s in stages}
            aged = [f"stage {name} is stale: {_brief(why)}" for name, why in old.items() if why]
            self._reads[at] = (stages, digests, aged)
        return self._reads[at]

    def _digest(self, stage: Stage) -> str:
        """Digest of a stage that is there whole, else ""."""
        if self.store is None:
            return ""
        if stage.address not in self._digests:
            self._digests[stage.address] = self.store.artifacts.stage_digest(stage) or ""
        return self._digests[stage.address]

    def _has(self, stage: Stage, shard: int) -> bool:
        return self.store is not None and self.store.artifacts.has_shard(stage.address, shard)

    def _old(self, stage: Stage, track: Track) -> list[str]:
        """Why a stage that is there is not what would be built today; empty if it is, or is not there."""
        return [why for i in range(stage.shards) for why in self._old_shard(stage, i, track)]

    def _old_shard(self, stage: Stage, shard: int, track: Track) -> list[str]:
        """The same of one shard. Judged by its record, which one that ships with the package has not: that is
        built anew on purpose only (`bench artifacts build`).
        """
        at = stage.address, shard
        if at not in self._aged:
            head = self.heads.get(stage_key(stage, shard))
            if head is not None and self._has(stage, shard):
                self._aged[at] = self._outdated(stage, head, track)
            else:
                self._aged[at] = []
        return self._aged[at]

    def _outdated(self, stage: Stage, head: Head, track: Track) -> list[str]:
        if head.status != "ok":  # it was stale, and building it anew failed
            return [f"building it again ended as {head.status}"]
        reads = {s.name: d for s in stage.stages if (d := self._digest(s))}
        words = self._stage_causes(stage, head, track, reads)
        return words + [f"stage {s.name} is stale" for s in stage.stages if self._old(s, track)]

    def _stage_causes(self, stage: Stage, head: Head, track: Track, reads: Mapping[str, str]) -> list[str]:
        """Why a stage's record is stale. What it was built with is in its address, its data too."""
        return provenance.causes(
            head, code=self.code.of_stage(track, stage), ran_with={}, data=None, stages=reads, built_by={},
            listing=self._listing,
        )  # fmt: skip

    def _need(self, stage: Stage, c: PlannedCell) -> list[str]:
        """Plan the shards of a stage that are not there yet or are stale; their keys. Whether or not stale
        cells are to run: one that runs today never reads a stage that other code built.
        """
        if self._digest(stage) and not self._old(stage, c.plan.track):
            return []
        reads = tuple(k for s in stage.stages for k in self._need(s, c))
        keys = []
        for shard in range(stage.shards):
            key = stage_key(stage, shard)
            old = self._old_shard(stage, shard, c.plan.track)
            if not old and self._has(stage, shard):
                continue
            keys.append(key)
            if key not in self.stages:
                head = self.heads.get(key)
                planned = PlannedStage(stage, shard, key, c.task, c.found, c.plan, reads=reads)
                planned.code = self.code.of_stage(c.plan.track, stage)
                if head is not None:
                    planned.seen, planned.generation = head.ended, head.generation + 1
                if old and head is not None:
                    planned.state, planned.reason, planned.replaces = "stale", _brief(old), head.ended
                if head is not None and head.status in ENDED_BADLY:
                    current = self._stage_causes(stage, head, c.plan.track, head.stages)
                    if not current and not _limited(head, stage.needs):
                        planned.state, planned.reason = "failed", f"{head.status}: {head.error}"
                self.stages[key] = planned
        return keys


def _brief(words: Sequence[str]) -> str:
    """The first of several causes, and how many more there are."""
    distinct = [*dict.fromkeys(words)]
    return distinct[0] + (f" (and {len(distinct) - 1} more)" if len(distinct) > 1 else "")


def _limited(head: Head, needs: Needs) -> bool:
    """Whether a record ended at a limit that is higher today."""
    if head.status not in ("timeout", "oom") or not head.limits:
        return False
    then = Needs(**{k: v for k, v in head.limits.items() if k in asdict(needs)})
    return then.below(needs)


def _state(c: PlannedCell, missing: str | None) -> tuple[State, str]:
    """The state of a cell from its record, its data and today's code, and the reason for it."""
    head = c.head
    if head is not None and head.status == "ok" and not c.causes:
        return "done", ""  # a number stands, whether or not its data are still here
    if c.skip:  # needs no data; a declared reason stands as long as it is declared
        return ("done", head.reason) if head is not None and head.status == "skipped" else ("new", c.skip)
    if missing:
        return "blocked", missing
    if head is None or head.status in ("lost", "skipped") or _limited(head, c.needs):
        return "new", ""
    if head.status == "ok":
        return "stale", ""
    # One that failed and whose code changed has nothing to lose: it is simply to be run.
    return ("new", "") if c.causes else ("failed", f"{head.status}: {head.error}")


def _estimate(plan: Plan, heads: Mapping[str, Head]) -> None:
    """Seconds of each cell from past records: of its row and task, else of its row, else of its method.

    Only of records with the same run settings: a laptop cell says nothing about a cell of the paper's size.
    This store's own records go before published ones, which ran on other people's machines.
    """
    past: dict[tuple[str, ...], dict[str, list[float]]] = {}
    for h in heads.values():
        if h.kind == "cell" and h.status == "ok" and (run_s := h.cost.get("run_s")) is not None:
            spent = run_s + h.cost.get("load_s", 0) + h.cost.get("score_s", 0) + h.cost.get("snapshot_s", 0)
            where = (h.hardware or "unnamed hardware") if h.layer else ""
            for k in _likeness(h.cell["track"], h.cell["run"], h.cell["row"], h.cell["task"]):
                past.setdefault(k, {}).setdefault(where, []).append(spent)
    typical = {k: _typical(v, plan.factors) for k, v in past.items()}
    for c in plan.cells:
        alike = _likeness(c.cell.track, c.cell.run, c.cell.row, c.task.name)
        c.seconds, c.timed_on = next((typical[k] for k in alike if k in typical), (None, ""))


def _typical(seconds: Mapping[str, list[float]], factors: Mapping[str, Factor]) -> tuple[float, str]:
    """The median of the store's own cells ("" in ``seconds``), else of those on the hardware with the most,
    scaled if it is known by how much; and that hardware.
    """
    where = "" if "" in seconds else max(sorted(seconds), key=lambda label: len(seconds[label]))
    return median(seconds[where]) * (factors[where].ratio if where in factors else 1.0), where


def _factors(pairs: Iterable[tuple[Head, Head]]) -> dict[str, Factor]:
    """Of each hardware that published cells ran on: how much longer the store's own cells take, by those that
    both have (own, published).
    """
    ratios: dict[str, list[float]] = {}
    for own, published in pairs:
        mine, theirs = own.cost.get("run_s"), published.cost.get("run_s")
        if own.hardware != published.hardware and mine and theirs:
            ratios.setdefault(published.hardware, []).append(mine / theirs)
    return {label: Factor(median(found), len(found)) for label, found in ratios.items()}


def _likeness(track: str, run: Mapping[str, Any], row: str, task: str) -> tuple[tuple[str, ...], ...]:
    """What two cells have in common that take about the same time, the most telling first."""
    settings = canonical(run)
    method = row.partition("/")[0]
    return (track, settings, row, task), (track, settings, row), (track, settings, method, "*", "*")


@dataclass(frozen=True, slots=True)
class Estimate:
    """``seconds`` of work on one worker; ``known`` of ``cells`` cells rest on past records, and of these
    ``elsewhere`` (hardware label -> cells) on published ones.
    """

    seconds: float
    cells: int
    known: int
    elsewhere: Mapping[str, int]


def estimate(cells: Sequence[PlannedCell]) -> Estimate:
    """Time that these cells take one after the other; cells never seen count as the median of those that
    were.
    """
    known = [c.seconds for c in cells if c.seconds is not None]
    typical = median(known) if known else 0.0
    elsewhere = Counter(c.timed_on for c in cells if c.timed_on)
    return Estimate(sum(known) + typical * (len(cells) - len(known)), len(cells), len(known), elsewhere)
