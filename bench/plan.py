"""Suite x registry x store -> the cells and stages there are, what each one's state is, and in which order
they run.

The order makes an interrupted run worth something: tracks take turns, all core rows of a task run on one seed
before any second seed starts, and ablations come last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import zip_longest
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from bench.contract import BenchError, Cell, Needs, Stage, Task, Track, canonical, digest
from bench.registry import Found, Registry, nearest
from bench.store import provenance
from bench.suite import Suite, TrackPlan, changed

if TYPE_CHECKING:
    from bench.store.publish import Published
    from bench.store.records import Head, Store

State = Literal["new", "done", "stale", "failed", "blocked"]
ENDED_BADLY = ("failed", "oom", "timeout", "diverged")


@dataclass(slots=True)
class PlannedCell:
    """One cell with its state. ``reason``: why it is blocked, skipped or failed; ``causes``: why it is stale.

    ``row``, ``shown``: the row under which the board shows it, and that row's method; another than
    ``cell.row`` if this cell is that row's by construction (``alias_of``). ``skip``: the method's own reason
    not to do this task (the cell is recorded as ``skipped``, never run).
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
    reads: tuple[str, ...] = ()
    seconds: float | None = None


@dataclass(slots=True)
class PlannedStage:
    """One shard of a stage that some cell to run needs; ``reads``: keys of the stages that it needs
    itself. ``replaces``: when the shard was built that is there now and is stale, else "". ``seen``: when
    the record of the shard ended that counts, whatever it says, else "".
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


@dataclass(slots=True)
class Plan:
    """Everything a profile asks for, in running order. ``notes``: what a reader should know (files not
    read).
    """

    profile: str
    tracks: list[TrackPlan]
    cells: list[PlannedCell]
    stages: dict[str, PlannedStage]
    notes: list[str]
    filtered: bool = False
    tasks: dict[str, list[Task]] = field(default_factory=dict)

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


def all_stages(track: Track, found: Found, task: Task, run: Any) -> list[Stage]:
    """Stages that a cell may read, those read by others first, each once."""
    out: dict[str, Stage] = {}

    def add(stage: Stage) -> None:
        for s in stage.stages:
            add(s)
        out.setdefault(stage.address, stage)

    for stage in (*track.stages(task, run), *found.method.stages_of(task, run)):
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
    store: Store | Published | None,
    profile: str,
    *,
    tracks: Sequence[str] = (),
    wanted: Filter | None = None,
) -> Plan:
    """The plan of a profile against a store (None: everything is new).

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
    with provenance.still():
        for c in cells:
            marker.mark(c)
    plan = Plan(
        profile, chosen, cells, marker.stages, [*registry.problems], bool(wanted.rows or wanted.terms), tasks
    )
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
        self, store: Store | Published | None, heads: Mapping[str, Head], registry: Registry
    ) -> None:
        self.store, self.heads = store, heads
        self.extra = registry.plugin_files()
        self.stages: dict[str, PlannedStage] = {}
        self._data: dict[tuple[str, str], tuple[str | None, str]] = {}
        self._reads: dict[tuple[str, str, str], tuple[list[Stage], dict[str, str], list[str]]] = {}
        self._digests: dict[str, str] = {}
        self._aged: dict[tuple[str, int], list[str]] = {}

    def mark(self, c: PlannedCell) -> None:
        """Set state, reason, causes and stages of one cell."""
        run, track = c.plan.run, c.plan.track
        here = (track.name, c.task.name)
        if here not in self._data:
            why = track.missing(c.task, run)
            self._data[here] = (why, "" if why else track.fingerprint(c.task, run))
        missing, data = self._data[here]
        stages, digests, aged = self._stages(c)
        c.head = self.heads.get(c.key)
        c.state, c.reason = ("blocked", missing) if missing else ("new", c.skip or "")
        if c.head is not None:
            c.state, c.reason = _from_record(c, c.head)
            if not missing:
                c.causes = self._causes(c.head, data, digests, aged)
                if c.causes and c.state in ("done", "failed"):
                    # A failed cell whose code changed has nothing to lose: it is simply to be run.
                    c.state = "stale" if c.state == "done" and c.head.status == "ok" else "new"
        if c.state in ("new", "stale", "failed") and not c.skip:
            c.reads = tuple(k for s in stages for k in self._need(s, c))
            broken = [k for k in c.reads if self._broken(k)]
            if c.head is not None and c.head.status == "skipped" and c.state == "new" and broken:
                # It was skipped for a stage that still fails: as failed as the stage, and shown as skipped.
                c.state, c.reason = "failed", f"skipped: {c.head.reason}"

    def _broken(self, key: str) -> bool:
        stage = self.stages[key]
        return stage.state == "failed" or any(self._broken(k) for k in stage.reads)

    def _causes(self, head: Head, data: str, digests: Mapping[str, str], aged: list[str]) -> list[str]:
        if head.status == "skipped":
            return []
        return provenance.causes(head, data=data, stages=digests, extra=self.extra) + aged

    def _stages(self, c: PlannedCell) -> tuple[list[Stage], dict[str, str], list[str]]:
        """The stages that a cell may read, the digests of those that are there, and why some are stale."""
        at = (c.plan.track.name, c.task.name, c.found.method.id)
        if at not in self._reads:
            stages = all_stages(c.plan.track, c.found, c.task, c.plan.run)
            digests = {s.name: d for s in stages if (d := self._digest(s))}
            aged = [f"stage {s.name} is stale: {_brief(why)}" for s in stages if (why := self._old(s))]
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

    def _old(self, stage: Stage) -> list[str]:
        """Why a stage that is there is not what would be built today; empty if it is, or is not there."""
        return [why for i in range(stage.shards) for why in self._old_shard(stage, i)]

    def _old_shard(self, stage: Stage, shard: int) -> list[str]:
        """The same of one shard. Judged by its record, which one that ships with the package has not: that is
        built anew on purpose only (`bench artifacts build`).
        """
        at = stage.address, shard
        if at not in self._aged:
            head = self.heads.get(stage_key(stage, shard))
            if head is not None and self._has(stage, shard):
                self._aged[at] = self._outdated(stage, head)
            else:
                self._aged[at] = []
        return self._aged[at]

    def _outdated(self, stage: Stage, head: Head) -> list[str]:
        if head.status != "ok":  # it was stale, and building it anew failed
            return [f"building it again ended as {head.status}"]
        reads = {s.name: d for s in stage.stages if (d := self._digest(s))}
        words = provenance.causes(head, data=head.data, stages=reads, extra=self.extra)
        return words + [f"stage {s.name} is stale" for s in stage.stages if self._old(s)]

    def _need(self, stage: Stage, c: PlannedCell) -> list[str]:
        """Plan the shards of a stage that are not there yet or are stale; their keys. Whether or not stale
        cells are to run: one that runs today never reads a stage that other code built.
        """
        if self._digest(stage) and not self._old(stage):
            return []
        reads = tuple(k for s in stage.stages for k in self._need(s, c))
        keys = []
        for shard in range(stage.shards):
            key = stage_key(stage, shard)
            old = self._old_shard(stage, shard)
            if not old and self._has(stage, shard):
                continue
            keys.append(key)
            if key not in self.stages:
                head = self.heads.get(key)
                seen = head.ended if head is not None else ""
                planned = PlannedStage(stage, shard, key, c.task, c.found, c.plan, reads=reads, seen=seen)
                if old and head is not None:
                    planned.state, planned.reason, planned.replaces = "stale", _brief(old), head.ended
                if head is not None and head.status in ENDED_BADLY:
                    current = provenance.causes(head, data=head.data, stages=head.stages, extra=self.extra)
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


def _from_record(c: PlannedCell, head: Head) -> tuple[State, str]:
    if head.status == "ok":
        return "done", ""
    if (
        head.status == "skipped"
    ):  # a declared reason stands as long as it is declared; a missing stage may be built now
        return ("done", head.reason) if c.skip else ("new", "")
    if c.skip:
        return "new", c.skip
    if head.status == "lost" or _limited(head, c.needs):
        return "new", ""
    return "failed", f"{head.status}: {head.error}"


def _estimate(plan: Plan, heads: Mapping[str, Head]) -> None:
    """Seconds of each cell from past records: of its row and task, else of its row, else of its method.

    Only of records with the same run settings: a laptop cell says nothing about a cell of the paper's size.
    """
    past: dict[tuple[str, ...], list[float]] = {}
    for h in heads.values():
        if h.kind == "cell" and h.status == "ok" and (run_s := h.cost.get("run_s")) is not None:
            spent = run_s + h.cost.get("load_s", 0) + h.cost.get("score_s", 0) + h.cost.get("snapshot_s", 0)
            for k in _likeness(h.cell["track"], h.cell["run"], h.cell["row"], h.cell["task"]):
                past.setdefault(k, []).append(spent)
    typical = {k: median(v) for k, v in past.items()}
    for c in plan.cells:
        alike = _likeness(c.cell.track, c.cell.run, c.cell.row, c.task.name)
        c.seconds = next((typical[k] for k in alike if k in typical), None)


def _likeness(track: str, run: Mapping[str, Any], row: str, task: str) -> tuple[tuple[str, ...], ...]:
    """What two cells have in common that take about the same time, the most telling first."""
    settings = canonical(run)
    method = row.partition("/")[0]
    return (track, settings, row, task), (track, settings, row), (track, settings, method, "*", "*")


@dataclass(frozen=True, slots=True)
class Estimate:
    """``seconds`` of work on one worker; ``known`` of ``cells`` cells rest on past records."""

    seconds: float
    cells: int
    known: int


def estimate(cells: Sequence[PlannedCell]) -> Estimate:
    """Time that these cells take one after the other; cells never seen count as the median of those that
    were.
    """
    known = [c.seconds for c in cells if c.seconds is not None]
    typical = median(known) if known else 0.0
    return Estimate(sum(known) + typical * (len(cells) - len(known)), len(cells), len(known))
