"""Relative changes against the reference, where a claim of the track is about one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bench import stats
from bench.board.model import Board
from bench.board.registry import DerivedTable, table
from bench.board.spec import RowInfo
from bench.board.text import formatting as fmt
from bench.stats import Contrast


@dataclass(frozen=True, slots=True)
class Relative:
    """The logarithm of the ratio of a row to the reference, as a mean over tasks, and on each of them.

    ``censored``: whether values of the row, and whether values of the reference, are.
    """

    info: RowInfo
    contrast: Contrast
    by_task: Mapping[str, float]
    censored: tuple[bool, bool]


def relative(board: Board) -> tuple[Relative, ...]:
    """Each row over the reference on the tasks that both have, where all values are above 0 and not all of
    them censored.
    """
    arrays = board.arrays
    values, censored = board.values(board.metric.name)
    reference = arrays.row_index.get(board.spec.track.reference)
    found = []
    for view in board.every_row:
        i = arrays.row_index[view.info.row]
        if reference is None or i == reference:
            continue
        both = (i, reference)
        tasks = [
            t
            for t in board.ranking.shared(both)
            if not (values[list(both), t] <= 0).any() and not arrays.never_reached(both, t)
        ]
        if not tasks:
            continue
        a, b = board.row_means.together(both, tasks, log=True)
        each = {t: board.row_means.together(both, (t,), log=True) for t in tasks}
        by_task = {board.tasks[t].name: x.mean - y.mean for t, (x, y) in each.items()}
        bounds = bool(censored[i, tasks].any()), bool(censored[reference, tasks].any())
        found.append(Relative(view.info, stats.contrast([(1, a), (-1, b)]), by_task, bounds))
    return tuple(found)


@table("relative-change", order=20)
def relative_change(board: Board) -> DerivedTable | None:
    """The relative changes beside what the paper prints; None where no claim is of that scale."""
    claims = [c for c in board.spec.track.claims if c.scale == "log ratio"]
    if not claims:
        return None
    rows = []
    sign = -1 if board.metric.better == "lower" else 1
    for r in relative(board):
        values = [100 * math.expm1(v) for v in r.by_task.values()]
        span = f"{min(values):+.0f} to {max(values):+.0f}".replace("-", "−")
        wins = f"{sum(sign * v > 0 for v in values)}/{len(values)}"
        change = fmt.beyond(board.metric.better, *r.censored)
        change += fmt.difference(r.contrast, board.metric.digits, log=True)
        rows.append((r.info.label, change, span, wins))
    never = ", and so are those where all values of both rows are censored; ≥ and ≤: some of one row are"
    printed = next((f"the paper: {c.paper.text} ({c.paper.source}). Here: " for c in claims if c.paper), "")
    note = (
        f"{printed}geometric mean over tasks of {board.metric.name} over "
        "the reference's, minus 1; in brackets the 95 % interval of each line on its own, on these tasks; "
        "tasks with a value that is not above 0 are left out"
        f"{never if board.values(board.metric.name)[1].any() else ''}"
    )
    heads = ("row", "change", "of tasks, %", "better on")
    title = f"Relative change against {board.spec.track.reference}"
    return DerivedTable(title, note, heads, rows) if rows else None
