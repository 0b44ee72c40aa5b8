"""The parts of a plan: cells and stages, each with its state and with what its record depends on today."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from bench.contract import Cell, Needs, Stage, Task
from bench.registry import Found
from bench.suite import TrackPlan

if TYPE_CHECKING:
    from bench.store.code.names import Closure
    from bench.store.provenance import Dependencies
    from bench.store.summaries import RecordSummary

State = Literal["new", "done", "stale", "failed", "blocked"]


@dataclass(frozen=True, slots=True)
class Timing:
    """How many seconds a cell is expected to take, and between which bounds. ``declared``: the hardware for
    which the suite declares it, with the reason; "" if past records say so.
    """

    seconds: float
    low: float
    high: float
    declared: str = ""


@dataclass(slots=True)
class PlannedCell:
    """One cell with its state. ``reason``: why it is blocked, skipped or failed; ``causes``: why it is stale.

    ``row`` and ``shown`` are the row under which the board shows the cell, and that row's method. They differ
    from ``cell.row`` and ``found`` if the cell of another row is this row's by construction (``alias_of``).
    ``skip`` is the method's own reason not to do this task (the cell is recorded as ``skipped`` and never
    run). ``summary`` is that of its record. ``reads`` are keys of the stage shards that have to be built for
    it, ``may_read`` those of all shards that it may read. ``seconds`` is how long it is expected to take
    by past records, ``timed_on`` the hardware of the published records that say so, "" if they are the
    store's own. ``timing`` is the same with its bounds, or what the suite declares if no cell of its kind
    has run. ``draw``: which draw of a search it is of, None for a cell of the profile's grid.
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
    summary: RecordSummary | None = None
    dependencies: Dependencies | None = None
    reads: tuple[str, ...] = ()
    may_read: tuple[str, ...] = ()
    seconds: float | None = None
    timed_on: str = ""
    timing: Timing | None = None
    draw: int | None = None


@dataclass(slots=True)
class PlannedStage:
    """One shard of a stage that some cell to run needs.

    ``reads`` are keys of the shards that have to be built for it. ``replaces``: when the stale shard ended
    that is there now, else "". ``seen``: when the record of the shard ended that counts, whatever its status,
    else "". ``generation``: that of the new record, one more than the old one's. ``code``: the definitions
    that would build it today.
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
    """How long cells take here, relative to other hardware: the median ``ratio`` of ``cells`` that ran on
    both.
    """

    ratio: float
    cells: int


@dataclass(slots=True)
class Plan:
    """Everything that a profile asks for, in running order.

    ``notes``: what the user should know (files that could not be read). ``filtered``: whether rows or cells
    were filtered. ``tasks``: by track. ``factors``: hardware of published records -> what their times are
    multiplied by.
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
        """Cells that `bench run` would run or record now, in order; each once, however many rows show it."""
        states = {"new", *(("stale",) if stale else ()), *(("failed",) if failed else ())}
        seen: set[str] = set()
        out = []
        for c in self.cells:
            if c.state in states and c.key not in seen:
                seen.add(c.key)
                out.append(c)
        return out

    def count(self) -> dict[str, int]:
        """State -> number of cells. A cell that several rows show is counted once."""
        keys = {c.key: c.state for c in self.cells}
        return {
            s: n for s in ("new", "done", "stale", "failed", "blocked") if (n := list(keys.values()).count(s))
        }
