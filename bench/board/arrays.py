"""The results of a board's cells as arrays over rows, tasks and seeds: values, means and estimates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench import stats
from bench.board.spec import STATES, BoardSpec, Slot
from bench.contract import BenchError, Metric, Task, Track, canonical
from bench.errors import nearest
from bench.stats import Array, Bools, Estimate

#: State -> its place in the last dimension of `Arrays.counts`.
STATE_INDEX: Mapping[str, int] = {s: i for i, s in enumerate(STATES)}


@dataclass(frozen=True, slots=True)
class Means:
    """Statistics over seeds of one metric, each an array (row, task): the mean, the standard deviation, the
    number of observations, and whether some or all of the values are censored.
    """

    mean: Array
    sd: Array
    n: Array
    some_censored: Bools
    all_censored: Bools


class Arrays:
    """The numbers of a board; which tasks count, the ranking and all that is shown are computed from these.

    Numbers lie in arrays, so that 100,000 cells are grouped in one pass.

    Attributes:
        rows: the rows, in the order of the first dimension of every array.
        tasks: the tasks, in the order of the second dimension.
        seeds: the seeds that occur, in the order of the third dimension.
        metric: the metric that ranks.
        counts: number of cells (row, task, state), states in the order of `STATES`.
        planned: number of seeds (row, task) that are planned, whatever became of them.
        data: the data set of each task: tasks of one share test examples and random numbers, and are one
            observation.
    """

    def __init__(self, spec: BoardSpec, slots: Sequence[Slot]) -> None:
        """Sort the cells into arrays.

        Args:
            spec: what the board is of.
            slots: the planned cells in any order. A (row, task, seed) without a slot is ``unplanned``;
                several slots of one seed are replicates, averaged before they count as one observation.

        Raises:
            BenchError: a slot names a row, task or status that is not known, or ``ranks_by`` a metric that
                the track does not have.
        """
        self.spec = spec
        self.rows = tuple(spec.rows)
        self.tasks = tuple(spec.tasks)
        self.metric = _metric(spec.track, spec.ranks_by)
        self.row_index = {r.row: i for i, r in enumerate(self.rows)}
        self.task_index = {t.name: i for i, t in enumerate(self.tasks)}
        #: Rows whose result does not depend on the seed: one observation, without spread.
        self.deterministic: Bools = np.array([r.deterministic for r in self.rows], bool)
        #: Rows that are ranked; the others are ablations.
        self.core: Bools = np.array([r.core for r in self.rows], bool)
        self.data: tuple[str, ...] = tuple(data_set(t, spec.track.axis) for t in self.tasks)
        self._slots = slots
        self._by_cell: dict[tuple[int, int], list[Slot]] = {}
        self._cache: dict[str, tuple[Array, Bools, Means]] = {}
        self._index()

    def _index(self) -> None:
        place: list[tuple[int, int, int]] = []
        state: list[int] = []
        for s in self._slots:
            try:
                r, t = self.row_index[s.row], self.task_index[s.task]
                state.append(STATE_INDEX[s.status])
            except KeyError:
                raise self._unknown(s) from None
            place.append((r, t, s.seed))
            self._by_cell.setdefault((r, t), []).append(s)
        at = np.array(place, np.int64).reshape(-1, 3)
        seeds, seed_at = np.unique(at[:, 2], return_inverse=True)
        self._shape = (len(self.rows), len(self.tasks), max(len(seeds), 1))
        self._flat = np.ravel_multi_index((at[:, 0], at[:, 1], seed_at), self._shape)
        self.seeds = tuple(int(s) for s in seeds)
        states = np.array(state, np.int64)
        self._ok = states == STATE_INDEX["ok"]
        shape = (*self._shape[:2], len(STATES))
        where = np.ravel_multi_index((at[:, 0], at[:, 1], states), shape)
        self.counts: np.ndarray = np.bincount(where, minlength=math.prod(shape)).reshape(shape)
        planned = np.zeros(self._shape, bool)
        planned.reshape(-1)[self._flat[states != STATE_INDEX["unplanned"]]] = True
        self.planned: np.ndarray = planned.sum(2)

    def _unknown(self, s: Slot) -> BenchError:
        known: Mapping[str, Iterable[str]] = {
            "row": self.row_index,
            "task": self.task_index,
            "status": STATES,
        }
        for what, names in known.items():
            value = getattr(s, what)
            if value not in names:
                return BenchError(
                    f"board {self.spec.track.name}: cell {s.key} has unknown {what} {value!r}"
                    f"{nearest(str(value), names)}"
                )
        raise AssertionError(s)

    def cells(self, row: int, task: int) -> Sequence[Slot]:
        """The cells of one row on one task, one a seed or more."""
        return self._by_cell.get((row, task), ())

    def same_cells(self, rows: Iterable[int], task: int) -> bool:
        """Whether two of these rows have a cell in common on a task, which is then no comparison there."""
        keys = [{s.key for s in self.cells(r, task)} for r in dict.fromkeys(rows)]
        return sum(map(len, keys)) > len(set().union(*keys))

    # ------------------------------------------------------------------------------------ values and means

    def never_reached(self, rows: Sequence[int], task: int) -> bool:
        """Whether every value of the ranking metric that these rows have on a task is censored: then nothing
        is known of their difference, and their bounds, being the same, would stand for none.
        """
        values, censored = self.values(self.metric.name)
        at = np.ix_(list(rows), [task])
        return bool((censored[at] | np.isnan(values[at])).all())

    def values(self, metric: str) -> tuple[Array, Bools]:
        """The values of a metric (row, task, seed), NaN where no cell is ok, and which are censored."""
        return self._get(metric)[:2]

    def means(self, metric: str) -> Means:
        """The statistics over seeds of a metric."""
        return self._get(metric)[2]

    def _get(self, metric: str) -> tuple[Array, Bools, Means]:
        if metric not in self._cache:
            raw = [s.metrics.get(metric) if ok else None for s, ok in zip(self._slots, self._ok, strict=True)]
            pairs = [stats.split_value(v) for v in raw]
            x = np.array([v for v, _ in pairs], float)
            c = np.array([v for _, v in pairs], bool)
            there = np.isfinite(x)
            flat, size = self._flat[there], math.prod(self._shape)
            n = np.bincount(flat, minlength=size)
            with np.errstate(invalid="ignore"):
                v = (np.bincount(flat, weights=x[there], minlength=size) / n).reshape(self._shape)
            censored = (np.bincount(flat, weights=c[there], minlength=size) > 0).reshape(self._shape)
            self._cache[metric] = (v, censored, self._summary(v, censored))
        return self._cache[metric]

    def _summary(self, v: Array, censored: Bools) -> Means:
        there = ~np.isnan(v)
        n = there.sum(2).astype(float)
        fixed = self.deterministic[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(there, v, 0.0).sum(2) / n
            square = np.where(there, np.square(v - mean[:, :, None]), 0.0).sum(2)
            sd = np.sqrt(square / np.where(n > 1, n - 1, np.nan))
        n = np.where(fixed, np.minimum(n, 1), n)
        sd = np.where(fixed, np.nan, sd)
        every = np.asarray(censored.sum(2) == there.sum(2), bool)
        return Means(mean, sd, n, np.asarray(censored.any(2), bool), every)

    # ------------------------------------------------------------------------------------------- estimates

    def estimate(self, row: int, task: int, metric: str) -> Estimate | None:
        """The mean over seeds of a metric, with its interval; None if no cell has a value."""
        return self.estimate_of(self.means(metric), row, task, metric)

    def estimate_of(self, m: Means, row: int, task: int, metric: str) -> Estimate | None:
        """One entry of statistics over seeds as an estimate with its interval; None if it has no value."""
        n = int(m.n[row, task])
        if n == 0:
            return None
        sd = float(m.sd[row, task]) if n > 1 else None
        half = None if sd is None or m.all_censored[row, task] else float(stats.half_width(sd, n))
        bound = self.bound(metric, bool(m.some_censored[row, task]))
        return Estimate(float(m.mean[row, task]), half, n, sd, bound, self.rows[row].deterministic)

    def bound(self, metric: str, censored: bool) -> stats.Bound:
        """The sign before a mean into which a censored value went: ``≥`` or ``≤``; empty otherwise."""
        return stats.beyond(_metric(self.spec.track, metric).better) if censored else ""


def data_set(task: Task, axis: str | None) -> str:
    """The data set of a task. Points of a curve are measured on the same data with the same seeds, so tasks
    without a declared one that differ only along the axis of their track are of one.
    """
    if task.data:
        return task.data
    return (
        canonical({k: v for k, v in task.params.items() if k != axis}) if axis in task.params else task.name
    )


def _metric(track: Track, name: str) -> Metric:
    try:
        return track.metric(name)
    except KeyError:
        known = [m.name for m in track.metrics]
        raise BenchError(f"track {track.name} has no metric {name!r}{nearest(name, known)}") from None
