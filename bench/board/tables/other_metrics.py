"""The metrics of a track that do not rank and are no costs."""

from __future__ import annotations

from collections.abc import Sequence

from bench.board.model import Board
from bench.board.registry import DerivedTable, table
from bench.board.text import formatting as fmt
from bench.contract import Metric


@table("other-metrics", order=50)
def other_metrics(board: Board) -> DerivedTable | None:
    """Each further metric as a mean over tasks; a metric that no row of the board has gets no column."""
    declared = [
        m
        for m in board.spec.track.metrics
        if m.kind != "cost" and m.averaged and m.name != board.spec.ranks_by
    ]
    unmeasured = _unmeasured(board, declared)
    names = [r.info.row for r in board.every_row]
    metrics = [
        m for m in declared if any(board.over_tasks(r, m.name) or (r, m.name) in unmeasured for r in names)
    ]
    rows = []
    for r in board.every_row:
        cells = []
        for m in metrics:
            value = board.over_tasks(r.info.row, m.name)
            none = fmt.UNMEASURED if (r.info.row, m.name) in unmeasured else "–"
            cells.append(fmt.number(value[0], m.digits) + ("" if value[1] else "*") if value else none)
        rows.append((r.info.label, *cells))
    heads = ("row", *(f"{m.name} {fmt.arrow(m)}".strip() for m in metrics))
    note = "mean over tasks; – does not apply, * not on every task; nothing is ranked by these"
    return DerivedTable("Other metrics", note, heads, rows) if metrics and rows else None


def _unmeasured(board: Board, metrics: Sequence[Metric]) -> set[tuple[str, str]]:
    """(row, metric) of the metrics that were added after a row's records, which were proven to stand without
    being run again.
    """
    stamped = [
        s
        for s in board.slots
        if s.status == "ok" and (s.verified or any(mark.startswith("accepted") for mark in s.marks))
    ]
    return {(s.row, m.name) for s in stamped for m in metrics if m.name not in s.metrics}
