"""Rows compared by test example, where records have the score of every example of the test set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from bench import stats
from bench.board.model import Board
from bench.board.spec import RowInfo
from bench.board.view import CellView
from bench.contract import Units
from bench.stats import Comparison

#: A board with more cells than these would take minutes to open their files.
MAX_CELLS = 5000


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one row on the examples of one task, each array (n,) in ascending order of the ids.

    ``values`` are means over seeds, ``groups`` say which examples are not independent of each other, and
    ``order`` is the position of each example in the record.
    """

    ids: np.ndarray
    values: np.ndarray
    groups: np.ndarray
    order: np.ndarray


@dataclass(frozen=True, slots=True)
class ByExample:
    """A row minus another over ``n`` examples of ``tasks`` tasks; on ``worse`` of them it is the worse one.

    ``adjusted`` is p after Holm's correction, if this is one of several comparisons.
    """

    info: RowInfo
    comparison: Comparison
    adjusted: float | None
    tasks: int
    n: int
    worse: int


def has_scores(board: Board) -> bool:
    """Whether the records have scores by example of the ranking metric. The first ok one speaks for all."""
    first = next((s for s in board.slots if s.status == "ok"), None)
    record = board.record(first.key) if first is not None else None
    return record is not None and board.metric.name in record.units


def too_many_cells(board: Board) -> bool:
    """Whether the board is so large that its scores by example are left out."""
    return len(board.slots) > MAX_CELLS


def against_reference(board: Board) -> list[ByExample]:
    """Every row with scores against the track's reference; p is Holm's over these comparisons."""
    reference = board.spec.track.reference
    rows = [v.info.row for v in board.every_row if v.info.row != reference]
    found = [b for row in rows if (b := paired(board, row, reference)) is not None]
    p = stats.adjusted(b.comparison for b in found)
    return [replace(b, adjusted=q) for b, q in zip(found, p, strict=True)]


def paired(board: Board, row: str, other: str) -> ByExample | None:
    """A row minus another over the tasks on which both have scores of the same examples; None without any.

    Seeds are averaged first, so the statement holds for the networks trained here, on examples like these.
    """
    scores, views = by_cell(board), {v.info.row: v for v in board.every_row}
    if row not in views or other not in views:
        return None
    parts = []
    for t in board.counted:
        task = board.tasks[t].name
        scores_a, scores_b = scores.get((row, task)), scores.get((other, task))
        alias = views[row].cells[t].alias_of or views[other].cells[t].alias_of
        # Other ids are another version of the test set: there is nothing to pair.
        if (
            not alias
            and scores_a is not None
            and scores_b is not None
            and np.array_equal(scores_a.ids, scores_b.ids)
        ):
            parts.append((scores_a.values - scores_b.values, scores_a.groups))
    if not parts:
        return None
    c = stats.paired_by_example(parts, better=board.metric.better)
    n, equal = sum(len(d) for d, _ in parts), sum(int((d == 0).sum()) for d, _ in parts)
    return ByExample(views[row].info, c, None, len(parts), n, n - equal - c.wins)


@lru_cache(maxsize=4)  # a table and a picture of a board need them, in several renderers
def by_cell(board: Board) -> Mapping[tuple[str, str], Scores]:
    """(row, task) -> scores by example, of the cells that have them.

    A cell whose seeds were scored on different examples has none, nor has any on a board that is too large.
    """
    if too_many_cells(board) or not has_scores(board):
        return {}
    found = {}
    for view in board.every_row:
        for cell in view.cells:
            if (scores := _scores(board, cell)) is not None:
                found[view.info.row, cell.task] = scores
    return found


def _scores(board: Board, cell: CellView) -> Scores | None:
    every: list[Units] = []
    for record in board.records(cell):
        if (name := record.units.get(board.metric.name)) is None:
            continue
        if (units := board.units(name)) is None:
            return None  # a mean over some of the seeds would be another number than the board's
        every.append(units)
    if not every:
        return None
    orders = [np.argsort(u.ids) for u in every]
    ids = every[0].ids[orders[0]]
    if not all(np.array_equal(u.ids[o], ids) for u, o in zip(every, orders, strict=True)):
        return None
    values = np.mean([u.values[o] for u, o in zip(every, orders, strict=True)], axis=0)
    groups = ids if every[0].groups is None else every[0].groups[orders[0]]
    return Scores(ids, values, groups, orders[0])
