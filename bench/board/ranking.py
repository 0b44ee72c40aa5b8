"""The order of the rows, the tests between them, and the groups that these tests cannot separate.

A board uses what `Ranking` documents and knows nothing of the tests behind it; the header explains these in
`bench.board.text.statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from bench import stats
from bench.board.arrays import STATE_INDEX, Arrays, Means
from bench.board.counted import Counted
from bench.board.spec import FAILURES
from bench.stats import Array, Bools, Comparison


def failures(arrays: Arrays) -> Bools:
    """Where (row, task) some cell ended in a way that counts against its row."""
    return np.asarray(arrays.counts[:, :, [STATE_INDEX[s] for s in sorted(FAILURES)]].sum(2) > 0, bool)


def letter(group: int) -> str:
    """A tie group from 0 as a letter: a, b, …, z, aa."""
    text = ""
    group += 1
    while group:
        group, rest = divmod(group - 1, 26)
        text = chr(97 + rest) + text
    return text


class Ranking:
    """Ranks by the mean over the counted tasks; groups by pairwise tests with Holm's correction.

    Rows and tasks are indices into the board's arrays.

    Attributes:
        tally: which tasks count.
        order: the complete core rows, best first. A row is complete if on every counted task it has a value
            and no failed cell; only complete rows are ranked.
        partial: (row,) whether a row is not complete, or no task counts at all.
        behind: the other core rows in the order in which they are listed after the ranked ones.
        letters: row -> the letter of its tie group, of each row in ``order``; empty where none is claimed.
        leaders: the rows that cannot be separated from the best one, itself among them.
        grouped: whether tie groups are claimed, which takes some pair of ranked rows that could be tested.
        best: (row, task) whether a row cannot be separated from the best core row of that task.
        samples: the counted tasks, together where they are points of one curve. Tests take each of these as
            one observation, or the seeds where there are too few (see ``unit``).
    """

    def __init__(self, arrays: Arrays, tally: Counted) -> None:
        self._arrays = arrays
        self.tally = tally
        self._sample_of = stats.samples(arrays.tasks, arrays.spec.track.axis)
        self.samples: tuple[tuple[int, ...], ...] = self._sampled(tally.tasks)
        means, counted = self._means, list(tally.tasks)
        missing = means.n[:, counted] == 0
        self.partial: Bools = (failures(arrays)[:, counted] | missing).any(1) | (not tally.ranked)
        core = np.flatnonzero(arrays.core).tolist()
        with np.errstate(invalid="ignore"):
            total = means.mean[:, counted].mean(1) if counted else np.full(len(arrays.rows), np.nan)
        complete = [i for i in core if not self.partial[i]]
        self.order: tuple[int, ...] = tuple(sorted(complete, key=lambda i: (-self._sign * total[i], i)))
        self.behind: tuple[int, ...] = tuple(
            sorted((i for i in core if self.partial[i]), key=self._partial_key())
        )
        self._adjusted, self._spread = self._tests()
        self.grouped = bool((~np.isnan(self._adjusted)).any())
        found = stats.tie_groups(range(len(self.order)), self._adjusted) if self.grouped else []
        self.letters: Mapping[int, str] = {
            **dict.fromkeys(self.order, ""),
            **{i: letter(g) for i, g in zip(self.order, found, strict=False)},
        }
        self.leaders: frozenset[int] = frozenset(i for i, g in zip(self.order, found, strict=False) if g == 0)
        self.best: Bools = self._best_cells()

    @property
    def _means(self) -> Means:
        return self._arrays.means(self._arrays.metric.name)

    @property
    def _sign(self) -> float:
        return -1.0 if self._arrays.metric.better == "lower" else 1.0

    @property
    def unit(self) -> stats.Unit:
        """What tests take as one observation: tasks, curves or seeds (`stats.unit_of`)."""
        return stats.unit_of(len(self.samples), len(self.tally.tasks), len(self._arrays.seeds))

    def _sampled(self, tasks: Iterable[int]) -> tuple[tuple[int, ...], ...]:
        found: dict[str, list[int]] = {}
        for t in tasks:
            found.setdefault(self._sample_of[self._arrays.tasks[t].name], []).append(t)
        return tuple(tuple(of) for of in found.values())

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

    # ----------------------------------------------------------------------------------------------- tests

    def _tests(self) -> tuple[Array, Array]:
        """Adjusted p of every pair of ranked rows (k, k), and the spread from which power is computed: the
        standard deviation of the pairs' differences, or of each row over seeds.
        """
        m, order, k = self._means, list(self.order), len(self.order)
        if not self.samples:
            return np.full((k, k), np.nan), np.full((k, k), np.nan)
        if self.unit != "seeds":
            means = [m.mean[np.ix_(order, t)].mean(1) for t in self.samples]
            return stats.task_pairs(np.stack(means, axis=1))
        one = self._arrays.averaged(self._arrays.metric.name, self.tally.tasks)
        fixed = self._arrays.deterministic[order]
        p = stats.welch_pairs(one.mean[order, 0], one.sd[order, 0], one.n[order, 0], fixed)
        return p, one.sd[order, 0]

    def _best_cells(self) -> Bools:
        """The best cells within each task: by Welch's test over seeds against the best core row, with Holm's
        correction over the task's pairs; of two deterministic rows the one with the better value.
        """
        m, fixed = self._means, self._arrays.deterministic
        best = np.zeros(m.mean.shape, bool)
        for t in self.tally.tasks:
            rows = np.flatnonzero(self._arrays.core & (m.n[:, t] > 0))
            p = stats.welch_pairs(m.mean[rows, t], m.sd[rows, t], m.n[rows, t], fixed[rows])
            top = int(np.argmax(self._sign * m.mean[rows, t]))
            if not np.isnan(p[top]).all():
                best[rows, t] = ~(p[top] < 1 - stats.LEVEL)
        return best

    def difference(self, a: int, b: int, tasks: Iterable[int] | None = None) -> Comparison:
        """Row ``a`` minus row ``b`` over those of the tasks (by default all that count) that both have."""
        arrays, m, better = self._arrays, self._means, self._arrays.metric.better
        both = [t for t in (self.tally.tasks if tasks is None else tasks) if m.n[a, t] and m.n[b, t]]
        samples = self._sampled(both)
        if len(samples) == 1 or (both and self.unit == "seeds"):
            one = arrays.averaged(arrays.metric.name, both)
            left, right = (arrays.estimate_of(one, r, 0, arrays.metric.name) for r in (a, b))
            if left is not None and right is not None:
                return stats.welch(left, right, better=better)
        means = [[float(m.mean[r, list(t)].mean()) for t in samples] for r in (a, b)]
        return stats.paired(*means, better=better, unit=self.unit)

    # ----------------------------------------------------------------------------------------------- power

    @property
    def pairs(self) -> int:
        """Number of pairs of ranked rows that were tested, over which Holm's correction is. Two deterministic
        rows whose values differ are no test over seeds.
        """
        tested = ~np.isnan(self._adjusted)
        if self.unit == "seeds":
            fixed = self._arrays.deterministic[list(self.order)]
            tested &= ~(fixed[:, None] & fixed & (self._adjusted == 0))
        return int(tested.sum()) // 2

    @property
    def corrected_level(self) -> float:
        """Level of the first test in Holm's procedure: 1 − 5 % / pairs."""
        return 1 - (1 - stats.LEVEL) / max(self.pairs, 1)

    def detectable(self, level: float = stats.LEVEL) -> float | None:
        """Smallest difference between two ranked rows that one test at ``level`` detects with 80 % power.

        Taken at the median spread of the pairs' differences, or of the rows over seeds; None without spread.
        """
        sd = self._spread[np.isfinite(self._spread) & (self._spread > 0)]
        if not len(sd):
            return None
        spread = float(np.sqrt(np.median(np.square(sd))))
        if self.unit != "seeds":
            return stats.pairs.detectable(spread, len(self.samples), level=level)
        return stats.pairs.detectable_over_seeds(spread, len(self._arrays.seeds), level=level)

    @property
    def runner_up(self) -> tuple[int, int, stats.pairs.Needed] | None:
        """The two best rows and how many seeds would separate them; None if they are separated already."""
        if not self.grouped or self.order[1] not in self.leaders:
            return None
        a, b = self.order[:2]
        every = self._arrays.values(self._arrays.metric.name)[0]
        tests = self.samples if self.unit != "seeds" else (self.tally.tasks,)
        v = np.stack([every[:, list(t)].mean(1) for t in tests], axis=1)
        return a, b, stats.pairs.seeds_needed(v[a], v[b], level=self.corrected_level)
