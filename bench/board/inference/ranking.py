"""The order of the rows, and what the data say of their differences: letters, and Δ to the reference.

A board uses what `Ranking` documents and knows nothing of the tests behind it; the header explains these in
`bench.board.text.statistics`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bench import stats
from bench.board.arrays import STATE_INDEX, Arrays, Means
from bench.board.inference.counted import Counted
from bench.board.inference.row_means import RowMeans
from bench.board.spec import FAILURES
from bench.stats import Against, Array, Bools


def failures(arrays: Arrays) -> Bools:
    """Where (row, task) some cell ended in a way that counts against its row."""
    return np.asarray(arrays.counts[:, :, [STATE_INDEX[s] for s in sorted(FAILURES)]].sum(2) > 0, bool)


class Ranking:
    """Ranks by the mean over the counted tasks; letters by tests of all pairs with Holm's correction; Δ to
    the track's reference with Dunnett's.

    Rows and tasks are indices into the board's arrays.

    Attributes:
        tally: which tasks count.
        order: the complete core rows, best first. A row is complete if on every counted task it has a value
            and no failed cell; only complete rows are ranked.
        partial: (row,) whether a row is not complete, or no task counts at all.
        behind: the other core rows in the order in which they are listed after the ranked ones.
        letters: row -> its letters, of each row in ``order``; two rows that share none are separated. Empty
            where no pair of rows could be tested.
        lettered: whether any pair could be.
        leaders: the rows that share a letter with the best one, itself among them.
        deltas: row -> its difference to the reference over the tasks that both have, of every row but the
            reference. Ranked rows are one family; partial rows and ablations are families of their own, one
            for each set of tasks.
        new_examples: whether the tests of ranked rows hold for new test examples too.
        best: (row, task) whether a row has the best mean of the core rows on that task; none where all values
            of the best are censored, so that it is not known to be.
    """

    def __init__(self, arrays: Arrays, tally: Counted, means: RowMeans) -> None:
        self._arrays, self._row_means = arrays, means
        self.tally = tally
        m, counted = self._means, list(tally.tasks)
        missing = m.n[:, counted] == 0
        self.partial: Bools = (failures(arrays)[:, counted] | missing).any(1) | (not tally.ranked)
        core = np.flatnonzero(arrays.core).tolist()
        complete = [i for i in core if not self.partial[i]]
        total = self._totals(complete)
        self.order: tuple[int, ...] = tuple(sorted(complete, key=lambda i: (-self._sign * total[i], i)))
        self.behind: tuple[int, ...] = tuple(
            sorted((i for i in core if self.partial[i]), key=self._partial_key())
        )
        self.new_examples = means.have_units(self.order, tally.tasks)
        self.letters: Mapping[int, str]
        self.leaders: frozenset[int]
        self.letters, self.leaders = self._letters()
        self.lettered = bool(self.leaders)
        self.deltas: Mapping[int, Against] = self._deltas()
        self.best: Bools = self._best_cells()

    @property
    def _means(self) -> Means:
        return self._arrays.means(self._arrays.metric.name)

    @property
    def _sign(self) -> float:
        return -1.0 if self._arrays.metric.better == "lower" else 1.0

    def _totals(self, complete: Sequence[int]) -> Mapping[int, float]:
        """The mean over the counted tasks of each complete row. Where the split changes with the seed, it is
        that of the seeds that all of them have: of others no two rows would be ranked on the same test sets.
        """
        counted = list(self.tally.tasks)
        own = {i: float(self._means.mean[i, counted].mean()) for i in complete}
        if not self._arrays.spec.track.split_per_seed:
            return own
        shared = [r.mean for r in self._row_means.together(complete, counted)]
        return own if np.isnan(shared).any() else dict(zip(complete, shared, strict=True))

    def _partial_key(self) -> Callable[[int], tuple[float, float, int]]:
        """Order of partial rows: more tasks first, then the mean distance to the median of each task."""
        m, t, core = self._means, list(self.tally.tasks), np.flatnonzero(self._arrays.core).tolist()
        middle = np.nanmedian(m.mean[np.ix_(core, t)], axis=0) if t else np.zeros(0)

        def key(i: int) -> tuple[float, float, int]:
            d = m.mean[i, t] - middle
            there = ~np.isnan(d)
            away = -self._sign * float(d[there].mean()) if there.any() else math.inf
            return (-float(there.sum()), away, i)

        return key

    def _letters(self) -> tuple[Mapping[int, str], frozenset[int]]:
        """The compact letter display of all pairs of ranked rows (family C), and who shares the best's."""
        order, k = self.order, len(self.order)
        none = dict.fromkeys(order, ""), frozenset[int]()
        if k < 2 or not self.tally.ranked:
            return none
        p = stats.holm_pairs(stats.all_pairs(self._row_means.together(order, self.tally.tasks)))
        if np.isnan(p).all():
            return none
        separated = p < 1 - stats.LEVEL
        found = dict(zip(order, stats.letters(range(k), separated), strict=True))
        return found, frozenset(i for i, apart in zip(order, separated[0], strict=True) if not apart)

    def _deltas(self) -> Mapping[int, Against]:
        """Each row minus the reference, with Dunnett's simultaneous intervals (family B)."""
        reference = self._arrays.row_index.get(self._arrays.spec.track.reference)
        if reference is None:
            return {}
        families: dict[tuple[bool, tuple[int, ...]], list[int]] = defaultdict(list)
        for i in range(len(self._arrays.rows)):
            tasks = self.shared((i, reference))
            if i != reference and tasks:
                families[bool(self._arrays.core[i]), tasks].append(i)
        found: dict[int, Against] = {}
        for (_, tasks), rows in families.items():
            means = self._row_means.together((reference, *rows), tasks)
            against = stats.dunnett(means, 0)[1:]
            found |= {i: a for i, a in zip(rows, against, strict=True) if a is not None}
        return found

    def shared(self, rows: tuple[int, ...]) -> tuple[int, ...]:
        """Those of the counted tasks on which every one of the rows has a value."""
        n = self._means.n
        return tuple(t for t in self.tally.tasks if (n[list(rows), t] > 0).all())

    def _best_cells(self) -> Bools:
        mean: Array = np.where(self._arrays.core[:, None], self._sign * self._means.mean, np.nan)
        best = np.zeros(mean.shape, bool)
        for t in self.tally.tasks:
            if (there := ~np.isnan(mean[:, t])).sum() > 1:
                best[:, t] = there & (mean[:, t] == np.nanmax(mean[:, t]))
        known: Bools = best & ~(best & self._means.all_censored).any(0)
        return known
