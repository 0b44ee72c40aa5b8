"""Rows compared example by example, where a track keeps the score of every test example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    """A row minus the reference over the examples of ``tasks`` tasks; ``better`` and ``worse``: of ``n``."""

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
    """Every row with scores against the track's reference, over the tasks that both have.

    p is Holm's over these comparisons. Seeds are averaged first: what is said holds for the networks trained
    here, on examples like these.
    """
    scores = by_cell(board)
    reference = board.spec.track.reference
    found: list[ByExample] = []
    for view in (*board.rows, *board.ablations):
        row = view.info.row
        parts, worse = [], 0
        for t in board.counted:
            task = board.tasks[t].name
            mine, theirs = scores.get((row, task)), scores.get((reference, task))
            if row == reference or view.cells[t].alias_of or mine is None or theirs is None:
                continue
            if not np.array_equal(mine.ids, theirs.ids):
                continue  # another version of the test set: nothing to pair
            d = mine.values - theirs.values
            worse += int(((d if board.metric.better != "lower" else -d) < 0).sum())
            parts.append((d, mine.groups))
        if parts:
            c = stats.paired_by_example(parts, better=board.metric.better)
            found.append(ByExample(view.info, c, None, len(parts), sum(len(d) for d, _ in parts), worse))
    p = stats.holm([np.nan if b.comparison.p is None else b.comparison.p for b in found])
    return [
        ByExample(b.info, b.comparison, None if np.isnan(q) else float(q), b.tasks, b.n, b.worse)
        for b, q in zip(found, p, strict=True)
    ]


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
