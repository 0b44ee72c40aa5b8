"""Relative changes against the reference, where the paper claims one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench import stats
from bench.board.model import Board
from bench.board.registry import DerivedTable, table
from bench.board.spec import RowInfo
from bench.board.text import formatting as fmt
from bench.stats import Comparison


@dataclass(frozen=True, slots=True)
class Relative:
    """The relative change of the ranking metric of a row against the reference, by task and on average."""

    info: RowInfo
    comparison: Comparison
    by_task: Mapping[str, float]


def relative(board: Board) -> tuple[Relative, ...]:
    """Each row over the reference, minus 1, on tasks that both have and where the reference is above 0."""
    views = {v.info.row: v for v in board.every_row}
    ours = views.get(board.spec.track.reference)
    found = []
    for row, view in views.items():
        if ours is None or row == board.spec.track.reference:
            continue
        by_task = {
            board.tasks[t].name: a.mean / b.mean - 1
            for t in board.counted
            if (a := view.cells[t].estimate) and (b := ours.cells[t].estimate) and b.mean > 0
        }
        change = list(by_task.values())
        if change:
            compared = stats.paired(change, np.zeros(len(change)), better=board.metric.better, unit="tasks")
            found.append(Relative(view.info, compared, by_task))
    return tuple(found)


@table("relative-change", order=20)
def relative_change(board: Board) -> DerivedTable | None:
    """The relative changes beside the sentence in which the paper claims one; None if it claims none."""
    if not board.spec.track.claim:
        return None
    rows = []
    for r in relative(board):
        c, values = r.comparison, r.by_task.values()
        half = "" if c.half is None else f" ±{fmt.half(100 * c.half, 1)}"
        span = f"{100 * min(values):+.0f} to {100 * max(values):+.0f}".replace("-", "−")
        change = f"{100 * c.diff:+.1f}".replace("-", "−")
        rows.append((r.info.label, f"{change}{half}", span, f"{c.wins}/{c.n}"))
    note = (
        f"the paper: {board.spec.track.claim}. Here: mean over tasks of {board.metric.name} over the "
        "reference's, minus 1; ± is a 95 % t interval over tasks, one row at a time; tasks where the "
        "reference is not above 0 are left out"
    )
    heads = ("row", "change, %", "of tasks, %", "better on")
    title = f"Relative change against {board.spec.track.reference}"
    return DerivedTable(title, note, heads, rows) if rows else None
