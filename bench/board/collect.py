"""From a plan and its store to a board: every planned cell becomes a slot, whether it has a record or not."""

from __future__ import annotations

from pathlib import Path

from bench.board.model import Board, BoardSpec, RowInfo, Slot
from bench.board.published import read_published
from bench.plan import Plan, PlannedCell
from bench.store.committed.layers import store_name
from bench.store.summaries import Readable
from bench.suite import TrackPlan


def boards(plan: Plan, store: Readable, published: Path) -> list[Board]:
    """A board a track of the plan; ``published``: the folder of ``<track>.csv`` with the papers' own
    numbers.
    """
    return [_board(plan, p, store, published / f"{p.track.name}.csv") for p in plan.tracks]


def _board(plan: Plan, p: TrackPlan, store: Readable, published: Path) -> Board:
    cells = [c for c in plan.cells if c.plan.track.name == p.track.name]
    names = {c.task.name for c in cells}
    spec = BoardSpec(
        track=p.track,
        profile=p.profile,
        ranks_by=p.ranks_by,
        tasks=[t for t in plan.tasks[p.track.name] if t.name in names],
        rows=list({c.row: _row(c) for c in cells}.values()),
        seeds=len(p.seeds),
        published=read_published(published) if published.is_file() else (),
        note="only the cells that were asked for" if plan.filtered else "",
        source=store_name(store.url),
    )
    return Board.from_slots(spec, [slot(c) for c in cells], store.read, store.artifacts)


def _row(c: PlannedCell) -> RowInfo:
    """What the board says of a row. An aliased cell is another method's; the row is still its own."""
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
