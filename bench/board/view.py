"""What renderers read of a board: its rows with their cells, in the order in which they are listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.board.arrays import Arrays
from bench.board.ranking import Ranking
from bench.board.spec import STATES, RowInfo, Slot
from bench.stats import Comparison, Estimate


@dataclass(frozen=True, slots=True)
class CellView:
    """One row on one task, by the ranking metric.

    Attributes:
        estimate: the mean over seeds with its interval; None when no seed gave a value.
        counts: state -> number of cells.
        slots: the cells themselves.
        best: whether the row cannot be separated from the best row of this task, tested within the task;
            always False where nothing could be tested.
    """

    row: str
    task: str
    estimate: Estimate | None
    counts: Mapping[str, int]
    slots: Sequence[Slot]
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
        letters: of its tie group; empty where none is claimed.
        leading: whether it cannot be separated from the best row, or is that row.
        partial: whether a cell failed or is missing on a counted task, or no task counts: the mean is then
            over what is there.
        mean: the mean over the counted tasks.
        delta: the difference to the track's reference, over the tasks that both have.
        cells: one a task, in the order of the board's tasks.
    """

    info: RowInfo
    rank: int | None
    letters: str
    leading: bool
    partial: bool
    mean: Estimate | None
    delta: Comparison | None
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
    there = [e for t in ranking.tally.tasks if (e := cells[t].estimate) is not None]
    mean = None
    if there:
        bound = arrays.bound(arrays.metric.name, any(e.bound for e in there))
        mean = Estimate(sum(e.mean for e in there) / len(there), None, len(there), bound=bound)
    reference = arrays.row_index.get(arrays.spec.track.reference)
    delta = None if reference is None or reference == i else ranking.difference(i, reference)
    letters, leading = ranking.letters.get(i, ""), i in ranking.leaders
    return RowView(arrays.rows[i], rank, letters, leading, bool(ranking.partial[i]), mean, delta, cells)


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
        bool(ranking.best[r, t]),
    )
