"""What a board is made from: the planned cells of one track in one profile, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from bench.board.paper_figures import PaperFigure
from bench.board.registry import Element
from bench.contract import STATUSES, Task, Track

if TYPE_CHECKING:
    from bench.board.search import Rule, Searched

#: Every state that a planned cell can be in: the statuses of records, then the states without a record.
STATES: tuple[str, ...] = (*STATUSES, "new", "blocked", "unplanned")
#: States of a cell that has no result yet.
WITHOUT_END: frozenset[str] = frozenset({"new", "blocked", "unplanned", "lost"})
#: Statuses that count against a row. A cell that is ``lost``, ``new`` or ``blocked`` does not.
FAILURES: frozenset[str] = frozenset({"failed", "oom", "timeout", "diverged"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RowInfo:
    """One row of the plan.

    ``core`` is False for an ablation, which is listed apart and never ranked. ``counterpart`` names the row
    with which this one is paired, such as the same network without the paper's method. ``ref`` cites the
    publication.
    """

    row: str
    label: str
    role: Literal["method", "baseline", "plugin"] = "baseline"
    core: bool = True
    deterministic: bool = False
    counterpart: str | None = None
    ref: str = ""


@dataclass(slots=True)
class Slot:
    """One planned cell: a row, a task and a seed, with what became of it.

    Attributes:
        status: one of `STATES`. ``new`` is planned without a record yet, ``blocked`` lacks its data,
            ``unplanned`` is not part of the grid.
        metrics: of an ok record, name -> a number, None, or ``{"bound": x}`` for a censored value.
        reason: why the cell was skipped or is blocked, or its error in one line.
        stale: what has changed since the record was made; empty if nothing has.
        marks: words of the record that the board must show, such as ``fallback: micro_batch=64``.
        alias_of: the row whose cell this is by construction.
        layer: ``published`` or ``own`` (of the user's store); empty without a record.
        verified: how the record was proven to stand after a change of code, if it was.
    """

    row: str
    task: str
    seed: int
    key: str
    status: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    hardware: str = ""
    reason: str = ""
    stale: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    alias_of: str | None = None
    layer: str = ""
    verified: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shared(self) -> bool:
        """Whether it shared its GPU with other cells, so that its times say nothing of the method."""
        return any(m.startswith("shared") for m in self.marks)

    @property
    def noted(self) -> bool:
        """Whether the cell ran with a fallback, or its record was accepted by hand."""
        return any(m.startswith(("fallback", "accepted")) for m in self.marks)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardSpec:
    """What a board is of: one track in one profile, with its tasks and rows in the order of the plan.

    Attributes:
        ranks_by: the metric that ranks; the track declares it.
        selection: the rule by which hyper-parameters were chosen, see `bench.board.search`.
        search: the draws of searches, if there are any.
        paper_figures: numbers that the papers printed, to be shown beside ours.
        note: a sentence for the header.
        source: the name of the user's store, from which all records come that are not published ones.
        elements: pictures and derived tables that plugins declare.
    """

    track: Track
    profile: str
    ranks_by: str
    tasks: Sequence[Task]
    rows: Sequence[RowInfo]
    selection: Rule = "default"
    search: Searched | None = None
    paper_figures: Sequence[PaperFigure] = ()
    note: str = ""
    source: str = ""
    elements: Sequence[Element] = ()
