"""What renderers read of a board: its rows with their cells, in the order in which they are listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.board.arrays import Arrays
from bench.board.inference.ranking import Ranking
from bench.board.spec import STATES, RowInfo, Slot
from bench.stats import Against, Estimate


@dataclass(frozen=True, slots=True)
class CellView:
    """One row on one task, by the ranking metric.

    Attributes:
        estimate: the mean over seeds with its interval; None when no seed gave a value.
        counts: state -> number of cells.
        slots: the cells themselves.
        planned: number of seeds that are planned.
        best: whether its mean is the best of the core rows on this task.
    """

    row: str
    task: str
    estimate: Estimate | None
    counts: Mapping[str, int]
    slots: Sequence[Slot]
    planned: int
    best: bool

    @property
    def stale(self) -> int:
        """Number of stale cells."""
        return sum(bool(s.stale) for s in self.slots)

    @property
    def noted(self) -> bool:
        """Whether any cell ran with a fallback or was accepted by hand."""
        return any(s.noted for s in self.slots)

    @property
    def alias_of(self) -> str | None:
        """The row whose cells these are by construction, if they are another's."""
        return next((s.alias_of for s in self.slots if s.alias_of), None)


@dataclass(frozen=True, slots=True)
class RowView:
    """A row as it is listed.

    Attributes:
        rank: from 1; None for a row that is not ranked.
        letters: rows that share none are separated; empty where nothing could be tested.
        leading: whether it shares a letter with the best row, or is that row.
        partial: whether a cell failed or is missing on a counted task, or no task counts: the mean is then
            over what is there.
        mean: the mean over the counted tasks.
        groups: the mean over the counted tasks of each group of the board.
        delta: the difference to the track's reference, over the tasks that both have.
        cells: one a task, in the order of the board's tasks.
    """

    info: RowInfo
    rank: int | None
    letters: str
    leading: bool
    partial: bool
    mean: Estimate | None
    groups: tuple[Estimate | None, ...]
    delta: Against | None
    cells: tuple[CellView, ...]


def listed(arrays: Arrays, ranking: Ranking) -> tuple[RowView, ...]:
    """The core rows: ranked ones in their order, then the partial ones."""
    ranked = [_row(arrays, ranking, i, k) for k, i in enumerate(ranking.order, 1)]
    behind = [_row(arrays, ranking, i, None) for i in ranking.behind]
    return (*ranked, *behind)


def ablations(arrays: Arrays, ranking: Ranking) -> tuple[RowView, ...]:
    """The rows that are ablations, in the order of the plan."""
    return tuple(_row(arrays, ranking, int(i), None) for i in np.flatnonzero(~arrays.core))


def _row(arrays: Arrays, ranking: Ranking, i: int, rank: int | None) -> RowView:
    cells = tuple(_cell(arrays, ranking, i, t) for t in range(len(arrays.tasks)))
    tasks = ranking.tally.tasks
    names = dict.fromkeys(t.group for t in arrays.tasks if t.group)
    by_group = [[t for t in tasks if arrays.tasks[t].group == name] for name in names]
    return RowView(
        arrays.rows[i], rank, ranking.letters.get(i, ""), i in ranking.leaders, bool(ranking.partial[i]),
        _mean(arrays, cells, tasks), tuple(_mean(arrays, cells, at) for at in by_group),
        ranking.deltas.get(i), cells,
    )  # fmt: skip


def _mean(arrays: Arrays, cells: Sequence[CellView], tasks: Sequence[int]) -> Estimate | None:
    there = [e for t in tasks if (e := cells[t].estimate) is not None]
    if not there:
        return None
    bound = arrays.bound(arrays.metric.name, any(e.bound for e in there))
    return Estimate(sum(e.mean for e in there) / len(there), None, len(there), bound=bound)


def _cell(arrays: Arrays, ranking: Ranking, r: int, t: int) -> CellView:
    found = arrays.counts[r, t]
    counts = {STATES[int(k)]: int(found[k]) for k in np.flatnonzero(found)}
    estimate = arrays.estimate(r, t, arrays.metric.name)
    return CellView(
        arrays.rows[r].row,
        arrays.tasks[t].name,
        estimate,
        counts,
        arrays.cells(r, t),
        int(arrays.planned[r, t]),
        bool(ranking.best[r, t]),
    )
