"""Rows compared example by example, where a track keeps the score of every test example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import stats
from bench.board.model import Board, RowInfo
from bench.contract import BenchError
from bench.stats import Comparison

if TYPE_CHECKING:
    from bench.board.model import CellView

#: A board with more cells than this would spend minutes on opening files.
MOST_CELLS = 5000


@dataclass(frozen=True, slots=True)
class Scores:
    """Examples of one row on one task in the order of their ids: ``values`` (n,) are means over its seeds,
    ``groups`` (n,) say which are not independent, ``order`` (n,) where each stood in the record.
    """

    ids: np.ndarray
    values: np.ndarray
    groups: np.ndarray
    order: np.ndarray


@dataclass(frozen=True, slots=True)
class ByExample:
    """A row minus another over ``n`` examples of ``tasks`` tasks; on ``worse`` of them it is the worse one.

    ``adjusted``: p after Holm, if this is one of several comparisons.
    """

    info: RowInfo
    comparison: Comparison
    adjusted: float | None
    tasks: int
    n: int
    worse: int


def kept(board: Board) -> bool:
    """Whether the track keeps scores by example: the first record with a result says so for all."""
    if board.detail is None or board.artifacts is None:
        return False
    first = next((s for s in board.slots if s.status == "ok"), None)
    record = board.detail(first.key) if first is not None else None
    return record is not None and board.metric.name in record.units


def against_reference(board: Board) -> list[ByExample]:
    """Every row with scores against the track's reference; p is Holm's over these comparisons."""
    reference = board.spec.track.reference
    rows = [v.info.row for v in (*board.rows, *board.ablations) if v.info.row != reference]
    found = [b for row in rows if (b := paired(board, row, reference)) is not None]
    p = stats.holm([np.nan if b.comparison.p is None else b.comparison.p for b in found])
    return [replace(b, adjusted=None if np.isnan(q) else float(q)) for b, q in zip(found, p, strict=True)]


def paired(board: Board, row: str, other: str) -> ByExample | None:
    """A row minus another over the tasks on which both have scores of the same examples; None without any.

    Seeds are averaged first: what is said holds for the networks trained here, on examples like these.
    """
    scores, views = by_cell(board), {v.info.row: v for v in (*board.rows, *board.ablations)}
    if row not in views or other not in views:
        return None
    parts = []
    for t in board.counted:
        task = board.tasks[t].name
        mine, theirs = scores.get((row, task)), scores.get((other, task))
        alias = views[row].cells[t].alias_of or views[other].cells[t].alias_of
        # Other ids are another version of the test set: nothing to pair.
        if not alias and mine is not None and theirs is not None and np.array_equal(mine.ids, theirs.ids):
            parts.append((mine.values - theirs.values, mine.groups))
    if not parts:
        return None
    c = stats.paired_by_example(parts, better=board.metric.better)
    n, equal = sum(len(d) for d, _ in parts), sum(int((d == 0).sum()) for d, _ in parts)
    return ByExample(views[row].info, c, None, len(parts), n, n - equal - c.wins)


@lru_cache(maxsize=4)  # the table and the picture of a board both ask, and a page is several renderers
def by_cell(board: Board) -> Mapping[tuple[str, str], Scores]:
    """(row, task) -> scores; without the cells that have none, or whose seeds have not the same examples."""
    if not kept(board) or len(board.slots) > MOST_CELLS:
        return {}
    found = {}
    for view in (*board.rows, *board.ablations):
        for cell in view.cells:
            if (scores := _scores(board, cell)) is not None:
                found[view.info.row, cell.task] = scores
    return found


def _scores(board: Board, cell: CellView) -> Scores | None:
    every: list[Any] = []
    for s in cell.slots:
        name = _unit(board, s.key) if s.status == "ok" else None
        if name is None or board.artifacts is None:
            continue
        try:
            every.append(board.artifacts.units(name))
        except BenchError:
            return None  # published without its sidecar: the report of `bench publish` says so
    if not every:
        return None
    orders = [np.argsort(u.ids) for u in every]
    ids = every[0].ids[orders[0]]
    if not all(np.array_equal(u.ids[o], ids) for u, o in zip(every, orders, strict=True)):
        return None
    values = np.mean([u.values[o] for u, o in zip(every, orders, strict=True)], axis=0)
    groups = ids if every[0].groups is None else every[0].groups[orders[0]]
    return Scores(ids, values, groups, orders[0])


def _unit(board: Board, key: str) -> str | None:
    record = board.detail(key) if board.detail is not None else None
    return record.units.get(board.metric.name) if record is not None else None
