"""From a plan and its store to boards: every planned cell becomes a slot, whether it has a record or not."""

from __future__ import annotations

from pathlib import Path

from bench.board.model import Board
from bench.board.paper_figures import read_paper_figures
from bench.board.registry import Element, of_plugins
from bench.board.spec import BoardSpec, RowInfo, Slot
from bench.plan import Plan, PlannedCell
from bench.registry import Registry
from bench.store.committed.layers import store_name
from bench.store.summaries import Readable
from bench.suite import TrackPlan


def boards(plan: Plan, store: Readable, figures: Path, registry: Registry | None = None) -> list[Board]:
    """A board for each track of the plan.

    Args:
        plan: the cells.
        store: their records.
        figures: the folder with a file ``<track>.csv`` of the numbers that the paper printed.
        registry: its plugins may declare pictures and derived tables of their own.
    """
    elements = of_plugins(registry) if registry is not None else []
    return [_board(plan, p, store, figures / f"{p.track.name}.csv", elements) for p in plan.tracks]


def _board(plan: Plan, p: TrackPlan, store: Readable, figures: Path, elements: list[Element]) -> Board:
    cells = [c for c in plan.cells if c.plan.track.name == p.track.name]
    names = {c.task.name for c in cells}
    spec = BoardSpec(
        track=p.track,
        profile=p.profile,
        ranks_by=p.ranks_by,
        tasks=[t for t in plan.tasks[p.track.name] if t.name in names],
        rows=list({c.row: _row(c) for c in cells}.values()),
        paper_figures=read_paper_figures(figures) if figures.is_file() else (),
        note="only the cells that were asked for" if plan.filtered else "",
        source=store_name(store.url),
        elements=elements,
    )
    return Board(spec, [slot(c) for c in cells], store.read, store.artifacts)


def _row(c: PlannedCell) -> RowInfo:
    """What the board says of a row. A cell may be another row's by construction; the row is still its own."""
    own = c.shown
    m = own.method
    counterpart = m.counterpart_of(c.row)
    return RowInfo(
        row=c.row,
        label=m.label(c.row),
        role=own.role,
        core=c.core,
        deterministic=m.deterministic and not c.plan.track.split_per_seed,
        counterpart=counterpart if counterpart != c.row else None,
        ref=m.ref,
    )


def slot(c: PlannedCell) -> Slot:
    """One planned cell as the board sees it."""
    head, state = c.summary, c.state
    if head is None or (head.status == "skipped" and state == "new" and c.skip is None):
        status = "blocked" if state == "blocked" else "skipped" if c.skip else "new"
        return Slot(
            row=c.row, task=c.task.name, seed=c.cell.seed, key=c.key, status=status, reason=c.reason,
            alias_of=c.alias_of,
        )  # fmt: skip
    return Slot(
        row=c.row,
        task=c.task.name,
        seed=c.cell.seed,
        key=c.key,
        status=head.status,
        metrics=head.metrics if head.status == "ok" else {},
        cost=head.cost,
        hardware=head.hardware,
        reason=head.error or head.reason,
        stale=tuple(c.causes),
        marks=tuple(head.marks),
        alias_of=c.alias_of,
        layer=head.layer or "own",
        verified=head.verified,
    )
