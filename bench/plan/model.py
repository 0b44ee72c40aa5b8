"""What a plan is made of: cells and stages, each with its state and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from bench.contract import Cell, Needs, Stage, Task, Track, digest
from bench.registry import Found
from bench.suite import TrackPlan

if TYPE_CHECKING:
    from bench.store.code.names import Closure
    from bench.store.summaries import RecordSummary

State = Literal["new", "done", "stale", "failed", "blocked"]
#: (id of a track, or of what a method declares with; track; task) -> the stages that it declares there.
Declared = dict[tuple[int, str, str], tuple[Stage, ...]]


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
    head: RecordSummary | None = None
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


def shard_key(stage: Stage, shard: int) -> str:
    """Key of the record of one shard of a stage."""
    return digest({"stage": stage.address, "shard": shard})


def shard_label(stage: Stage, shard: int) -> str:
    """How one shard of a stage is called: ``bank 2/3``, or ``bank`` where there is but one."""
    return f"{stage.name} {shard + 1}/{stage.shards}" if stage.shards > 1 else stage.name


def declared_stages(
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
