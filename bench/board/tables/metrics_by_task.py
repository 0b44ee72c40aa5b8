"""Metrics whose unit differs from task to task, and which therefore have no mean over tasks."""

from __future__ import annotations

from bench.board.model import Board
from bench.board.registry import DerivedTable, table
from bench.board.text import formatting as fmt
from bench.contract import Metric


@table("metrics-by-task", order=45)
def metrics_by_task(board: Board) -> list[DerivedTable]:
    """Each such metric on every task, as the mean over seeds; a task without a value gets no column."""
    declared = [m for m in board.spec.track.metrics if not m.averaged and m.name != board.spec.ranks_by]
    return [found for m in declared if (found := _by_task(board, m)) is not None]


def _by_task(board: Board, metric: Metric) -> DerivedTable | None:
    means = {
        (r.info.row, t.name): e.mean
        for r in board.every_row
        for t in board.tasks
        if (e := board.estimate(r.info.row, t.name, metric.name)) is not None
    }
    tasks = [t.name for t in board.tasks if any(name == t.name for _, name in means)]
    if not tasks:
        return None
    rows = []
    for r in board.every_row:
        values = [means.get((r.info.row, t)) for t in tasks]
        if any(v is not None for v in values):
            numbers = [fmt.NONE if v is None else fmt.number(v, metric.digits) for v in values]
            rows.append((r.info.label, *numbers))
    better = f", {metric.better} is better" if metric.better != "neither" else ""
    note = f"{metric.doc}{better}; mean over seeds, in the unit of each task; nothing is ranked by it"
    return DerivedTable(f"{metric.name} by task", note, ("row", *tasks), rows)
