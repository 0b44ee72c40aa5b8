"""A leaderboard: computed once from the planned cells, then only read.

Renderers (`text`, `page`), derived tables (`tables`) and pictures (`plots`) are functions of a `Board`, and
compute no ranking of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from bench.board.arrays import STATE_INDEX, Arrays
from bench.board.inference.claims import Claims
from bench.board.inference.counted import count
from bench.board.inference.examples import Examples, Scores
from bench.board.inference.ranking import Ranking, failures
from bench.board.inference.row_means import RowMeans
from bench.board.spec import STATES, BoardSpec, Slot
from bench.board.view import CellView, RowView, ablations, listed
from bench.contract import BenchError, Record, Units
from bench.stats import Array, Bools, Estimate
from bench.store.summaries import Details


class Board:
    """A leaderboard of one track in one profile.

    Attributes:
        spec: what the board is of.
        slots: every planned cell.
        arrays: the numbers, over rows, tasks and seeds.
        tally: which tasks count, and what the others wait for.
        examples: the scores by example that records keep.
        row_means: means of rows with what is uncertain in them, of which every test is made.
        ranking: order, letters, and differences to the reference.
        claims: the claims of the track, judged.
        groups: names of the groups of tasks that have means of their own.
        ceilings: task -> the best value that is possible there, where it is known.
        rows: the core rows, complete ones by rank, then the partial ones.
        ablations: the rows that are ablations, which are never ranked.
    """

    def __init__(
        self,
        spec: BoardSpec,
        slots: Iterable[Slot],
        read: Callable[[str], Record | None] | None = None,
        artifacts: Details | None = None,
    ) -> None:
        """Compute a board.

        Args:
            spec: what it is of.
            slots: the planned cells, in any order.
            read: gives the whole record of a key, for tests with scores by example, pictures and the page.
            artifacts: opens the files that a record names.

        Raises:
            BenchError: a slot names a row, task or status, or ``ranks_by`` a metric, that is not known.
        """
        self.spec = spec
        self.slots = tuple(slots)
        self._read = read
        self._artifacts = artifacts
        self.arrays = Arrays(spec, self.slots)
        self.tasks, self.infos, self.metric = self.arrays.tasks, self.arrays.rows, self.arrays.metric
        self.tally = count(
            self.arrays.means(spec.ranks_by).n,
            {s: self.arrays.counts[:, :, k] for s, k in STATE_INDEX.items()},
            self.arrays.core,
            failures(self.arrays),
        )
        self.examples = Examples(self.slots, self.record, self.units)
        self.row_means = RowMeans(self.arrays, self.examples)
        self.ranking = Ranking(self.arrays, self.tally, self.row_means)
        self.claims = Claims(self.arrays, self.tally, self.row_means)
        self.groups = tuple(dict.fromkeys(t.group for t in self.tasks if t.group))
        self.ceilings: Mapping[str, float] = spec.track.ceilings(self.tasks)
        self.rows: tuple[RowView, ...] = listed(self.arrays, self.ranking)
        self.ablations: tuple[RowView, ...] = ablations(self.arrays, self.ranking)

    @property
    def every_row(self) -> tuple[RowView, ...]:
        """The core rows as they are listed, then the ablations."""
        return (*self.rows, *self.ablations)

    @property
    def counted(self) -> tuple[int, ...]:
        """Indices of the tasks over which means and tests are."""
        return self.tally.tasks

    # --------------------------------------------------------------------------------------------- numbers

    def values(self, metric: str) -> tuple[Array, Bools]:
        """The values of a metric (row, task, seed), NaN where no cell is ok, and which are censored."""
        return self.arrays.values(metric)

    def estimate(self, row: str, task: str, metric: str | None = None) -> Estimate | None:
        """The mean over seeds of a metric (by default the one that ranks) with its interval; None without a
        value.
        """
        at = self.arrays.row_index[row], self.arrays.task_index[task]
        return self.arrays.estimate(*at, metric or self.spec.ranks_by)

    def over_tasks(self, row: str, metric: str) -> tuple[float, bool] | None:
        """The mean of a metric over the counted tasks, and whether the row has it on all of them."""
        r = self.arrays.row_index[row]
        found = [e.mean for t in self.counted if (e := self.arrays.estimate(r, t, metric)) is not None]
        return (sum(found) / len(found), len(found) == len(self.counted)) if found else None

    @property
    def status_counts(self) -> Counter[str]:
        """State -> number of cells."""
        total = self.arrays.counts.sum((0, 1))
        return Counter({STATES[int(k)]: int(total[k]) for k in np.flatnonzero(total)})

    @property
    def hardware(self) -> tuple[str, ...]:
        """Hardware labels of the ok cells, sorted."""
        return tuple(sorted({s.hardware for s in self.slots if s.status == "ok" and s.hardware}))

    @property
    def stale(self) -> int:
        """Number of stale cells."""
        return sum(bool(s.stale) for s in self.slots)

    # --------------------------------------------------------------------------------------- whole records

    @property
    def has_records(self) -> bool:
        """Whether the board was made with a reader of whole records."""
        return self._read is not None

    def record(self, key: str) -> Record | None:
        """The whole record of a cell; None if there is none, or the board was made without a reader."""
        return self._read(key) if self._read is not None else None

    def records(self, cell: CellView) -> Iterator[Record]:
        """The records of the ok cells of one row on one task, each read when it is asked for."""
        for s in cell.slots:
            if s.status == "ok" and (record := self.record(s.key)) is not None:
                yield record

    def image(self, name: str) -> np.ndarray | None:
        """The pixels of an image that a record names; None if its file is not here.

        A record may be published without its files, as the report of `bench publish` says.
        """
        try:
            return self._artifacts.view(name) if self._artifacts is not None else None
        except BenchError:
            return None

    def scores(self, row: str, task: str) -> Mapping[int, Scores] | None:
        """Seed -> scores by example of the ranking metric; None unless every ok cell has some."""
        cells = self.arrays.cells(self.arrays.row_index[row], self.arrays.task_index[task])
        return self.examples.of_seeds(cells, self.metric.name)

    def units(self, name: str) -> Units | None:
        """The scores by example that a record names; None if their file is not here."""
        try:
            return self._artifacts.units(name) if self._artifacts is not None else None
        except BenchError:
            return None
