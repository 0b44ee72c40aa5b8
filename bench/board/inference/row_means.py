"""Means of rows over sets of tasks, with what is uncertain in them: what every test of a board is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bench import stats
from bench.board.arrays import Arrays
from bench.board.inference.examples import Examples, Scores
from bench.stats import ClusterScores, RowMean


class RowMeans:
    """Makes and keeps `RowMean` objects: a contrast recognises a row that comes in it twice as one object.

    Rows and tasks are indices into the board's arrays. Tasks of one data set are one observation: its value
    of a seed is the mean over these tasks (for ratios, of logarithms), of the seeds that have all of them.
    Where the split changes with the seed, another seed is another test set: rows are then compared on the
    seeds that all of them have.
    """

    def __init__(self, arrays: Arrays, examples: Examples) -> None:
        self._arrays, self._examples = arrays, examples
        self._units: dict[tuple[int, int, str], Mapping[int, ClusterScores] | None] = {}
        self._made: dict[tuple[int, tuple[int, ...], str, bool, bool, tuple[int, ...]], RowMean] = {}

    def have_units(self, rows: Sequence[int], tasks: Sequence[int], metric: str = "") -> bool:
        """Whether each of the rows has scores by example of every seed on each of the tasks, so that tests
        can speak of new examples.
        """
        name = metric or self._arrays.metric.name
        return bool(rows and tasks) and all(
            self._clusters(r, t, name) is not None for t in tasks for r in rows
        )

    def together(
        self, rows: Sequence[int], tasks: Sequence[int], *, metric: str = "", log: bool = False
    ) -> list[RowMean]:
        """The means of several rows over the same tasks, on which each of them has a value.

        Scores by example go into them if all rows have these on all of the tasks, and are left out of all
        otherwise: a test then speaks of these test sets. Where the track pairs seeds, a contrast is taken
        seed by seed without them, too.

        Args:
            rows: the rows.
            tasks: the tasks.
            metric: by default the one that ranks.
            log: the means of the values' natural logarithms, whose differences are logarithms of ratios.
        """
        name, at = metric or self._arrays.metric.name, tuple(tasks)
        units = self.have_units(rows, at, name)
        shared = tuple(sorted(rows)) if self._arrays.spec.track.split_per_seed else ()
        return [self._mean(r, at, name, units, log, shared or (r,)) for r in rows]

    def _mean(
        self, row: int, tasks: tuple[int, ...], metric: str, units: bool, log: bool, group: tuple[int, ...]
    ) -> RowMean:
        key = (row, tasks, metric, units, log, group)
        if key not in self._made:
            self._made[key] = self._compute(row, tasks, metric, units, log, group)
        return self._made[key]

    def _compute(
        self, row: int, tasks: tuple[int, ...], metric: str, units: bool, log: bool, group: tuple[int, ...]
    ) -> RowMean:
        """The mean over the seeds that every row of ``group``, the row itself among them, has."""
        every = self._arrays.values(metric)[0]
        values = every[row]
        of: dict[str, list[int]] = {}
        for t in tasks:
            of.setdefault(self._arrays.data[t], []).append(t)
        whole = {
            name: np.flatnonzero(~np.isnan(every[np.ix_(group, at)]).any((0, 1))).tolist()
            for name, at in of.items()
        }
        if short := [name for name, seeds in whole.items() if not len(seeds)]:
            why = f"no seed has all tasks of {', '.join(self._arrays.tasks[of[n][0]].name for n in short)}"
            return RowMean(float("nan"), (), None, False, why)
        if log:
            if any((values[at][:, whole[name]] <= 0).any() for name, at in of.items()):
                why = "a value that is not positive has no logarithm"
                return RowMean(float("nan"), (), None, False, why)
            # Before the mean over tasks: else the task with the largest values would rule a data set.
            with np.errstate(invalid="ignore", divide="ignore"):
                values = np.log(values)
        by_data = {name: values[at][:, whole[name]].mean(0).tolist() for name, at in of.items()}
        weights = {name: len(at) / len(tasks) for name, at in of.items()}
        exact = bool(self._arrays.deterministic[row])
        clusters = None
        if units:
            clusters = {n: self._of_seeds(row, at, metric, whole[n], log) for n, at in of.items()}
        elif self._arrays.spec.track.paired_seeds:
            clusters = {n: [ClusterScores.none()] * len(whole[n]) for n in of}
        seeds = {name: [self._arrays.seeds[s] for s in found] for name, found in whole.items()}
        return stats.row_mean(by_data, weights, exact=exact, units=clusters, seeds=seeds)

    def _of_seeds(
        self, row: int, tasks: Sequence[int], metric: str, seeds: Sequence[int], log: bool
    ) -> list[ClusterScores]:
        """For each seed what clusters of examples contribute to the mean over these tasks."""
        values = self._arrays.values(metric)[0][row]

        def of(task: int, seed: int) -> ClusterScores:
            scores = (self._clusters(row, task, metric) or {})[self._arrays.seeds[seed]]
            return scores.log(float(values[task, seed])) if log else scores

        return [ClusterScores.mean([of(t, s) for t in tasks]) for s in seeds]

    def _clusters(self, row: int, task: int, metric: str) -> Mapping[int, ClusterScores] | None:
        key = (row, task, metric)
        if key not in self._units:
            scores = self._examples.of_seeds(self._arrays.cells(row, task), metric)
            data = self._arrays.data[task]
            by_seed = {seed: _clusters(s, data) for seed, s in scores.items()} if scores else None
            self._units[key] = by_seed
        return self._units[key]


def _clusters(scores: Scores, data: str) -> ClusterScores:
    """Names are kept across data sets, since a family or a user is the same everywhere; numbers are not."""
    names = scores.groups
    if names.dtype.kind in "iub":
        names = np.array([f"{data}\0{n}" for n in names.tolist()])
    return ClusterScores.of(scores.values, names)
