"""The board itself: ranks, tie groups, differences and derived tables, computed once, read afterwards.

Renderers (`terminal`, `markdown`, `csvout`, `page`) are functions of a `Board` and compute nothing that a
reader could take for a result. Numbers live in arrays (row, task, seed), so that 100,000 slots are grouped in
one pass.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from bench import stats
from bench.board.counted import count
from bench.board.published import Published
from bench.contract import STATUSES, SYMBOLS, BenchError, Metric, Record, Task, Track
from bench.stats import Array, Bools, Comparison, Estimate
from bench.store.summaries import Details

__all__ = [
    "HELD", "STATES", "Board", "BoardSpec", "CellView", "Published", "RowInfo",
    "RowView", "Slot",
]  # fmt: skip

#: Every state a planned cell can be in on a board: the statuses of records, then those without a record.
STATES: tuple[str, ...] = (*STATUSES, "new", "blocked", "unplanned")
#: Statuses held against a row. ``lost`` is the machine's fault, ``new`` and ``blocked`` are nobody's.
HELD: frozenset[str] = frozenset({"failed", "oom", "timeout", "diverged"})
SYMBOL: Mapping[str, str] = SYMBOLS
_STATE_INDEX = {s: i for i, s in enumerate(STATES)}
_HELD_INDEX = [_STATE_INDEX[s] for s in sorted(HELD)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowInfo:
    """One row of the plan: ``core=False`` is an ablation, ``counterpart`` the row it is paired with."""

    row: str
    label: str
    role: Literal["method", "baseline", "plugin"] = "baseline"
    core: bool = True
    deterministic: bool = False
    counterpart: str | None = None
    ref: str = ""


@dataclass(slots=True)
class Slot:
    """One planned cell as the board sees it.

    ``status``: a `contract.Status`, or ``new`` (planned, no record), ``blocked`` (data missing),
    ``unplanned``. ``metrics``: of an ok record: name -> number, None or ``{"bound": x}``. ``reason``: of a
    skip or block, or a one-line error. ``stale``: causes. ``alias_of``: the row whose cell this is.
    ``layer``: whose its record is, ``published`` or the store's ``own``; "" without one.
    """

    row: str
    task: str
    seed: int
    key: str
    status: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    hardware: str = ""
    reason: str = ""
    stale: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    alias_of: str | None = None
    layer: str = ""
    verified: Mapping[str, Any] = field(default_factory=dict)

    @property
    def noted(self) -> bool:
        """Whether it ran with a fallback, or was accepted for a reason."""
        return any(m.startswith(("fallback", "accepted")) for m in self.marks)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardSpec:
    """What a board is of: a track in one profile, its tasks and rows in the order of the plan.

    ``ranks_by``: a metric that the track declares. ``seeds``: planned a row and task. ``selection``: the rule
    by which hyper-parameters were chosen (``default``, ``best of 20 by validation``). ``source``: how the
    store is called that records are from which are not published ones.
    """

    track: Track
    profile: str
    ranks_by: str
    tasks: Sequence[Task]
    rows: Sequence[RowInfo]
    seeds: int
    selection: str = "default"
    published: Sequence[Published] = ()
    note: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class CellView:
    """One row on one task, by the ranking metric.

    ``estimate`` is None when no seed gave a value. ``counts``: state -> slots. ``best``: not separable from
    the best row of this task (within-task test); always False where nothing could be tested.
    """

    row: str
    task: str
    estimate: Estimate | None
    counts: Mapping[str, int]
    slots: Sequence[Slot]
    best: bool

    @property
    def stale(self) -> int:
        """Number of stale slots."""
        return sum(bool(s.stale) for s in self.slots)

    @property
    def noted(self) -> bool:
        """Whether any slot ran with a fallback or was accepted."""
        return any(s.noted for s in self.slots)

    @property
    def alias_of(self) -> str | None:
        """The row whose cells these are, by construction."""
        return next((s.alias_of for s in self.slots if s.alias_of), None)


@dataclass(frozen=True, slots=True)
class RowView:
    """A row as listed: ``rank`` from 1, ``group`` from 0 (None: none claimed), ``mean`` over the counted
    tasks.

    ``partial``: on a counted task a cell failed or is missing, or no task counts: the mean is over what is
    there. ``delta``: to the track's reference, over the tasks both have.
    """

    info: RowInfo
    rank: int | None
    group: int | None
    partial: bool
    mean: Estimate | None
    delta: Comparison | None
    cells: tuple[CellView, ...]


@dataclass(frozen=True, slots=True)
class _Means:
    """Per row and task: mean over seeds, sd, observations, and whether a censored value is in it."""

    mean: Array
    sd: Array
    n: Array
    some: Bools
    every: Bools


class Board:
    """A leaderboard of one track in one profile. Build it with `Board.from_slots`."""

    def __init__(
        self,
        spec: BoardSpec,
        slots: Sequence[Slot],
        detail: Callable[[str], Record | None] | None,
        artifacts: Details | None,
    ) -> None:
        self.spec = spec
        self.detail = detail
        self.artifacts = artifacts
        self.slots = slots
        self.tasks = tuple(spec.tasks)
        self.infos = tuple(spec.rows)
        self.metric = _metric(spec.track, spec.ranks_by)
        self._row = {r.row: i for i, r in enumerate(self.infos)}
        self._task = {t.name: i for i, t in enumerate(self.tasks)}
        self._by_cell: dict[tuple[int, int], list[Slot]] = {}
        self._index()
        self._cache: dict[str, tuple[Array, Bools, _Means]] = {}
        self._held: Bools = self.counts[:, :, _HELD_INDEX].sum(2) > 0
        #: Which tasks count, and what the others wait for.
        self.tally = count(
            self._means(spec.ranks_by).n,
            {s: self.counts[:, :, k] for s, k in _STATE_INDEX.items()},
            np.array([r.core for r in self.infos], bool),
            self._held,
        )
        #: Indices of the tasks that means and tests are over.
        self.counted: tuple[int, ...] = self.tally.tasks
        self._sample_of = stats.samples(self.tasks, spec.track.axis)
        #: The counted tasks by what they are observations of: tests take each of these as one.
        self.samples: tuple[tuple[int, ...], ...] = self._sampled(self.counted)
        self._rank()

    @classmethod
    def from_slots(
        cls,
        spec: BoardSpec,
        slots: Iterable[Slot],
        detail: Callable[[str], Record | None] | None = None,
        artifacts: Details | None = None,
    ) -> Board:
        """Compute a board.

        Args:
            spec: what it is of. slots: the planned cells, in any order; a (row, task, seed) without a slot is
            ``unplanned``, several with one seed are replicates and are averaged before they count as one
            observation. detail: reads one whole record by key, artifacts: what it names; only the tables by
            example, the page and the plots call them.

        Raises:
            BenchError: a slot names a row, task or status, or ``ranks_by`` a metric, that is not known.
        """
        return cls(spec, list(slots), detail, artifacts)

    # ------------------------------------------------------------------------------------------- into arrays

    def _index(self) -> None:
        row, task, cells = self._row, self._task, self._by_cell
        place: list[tuple[int, int, int]] = []
        state: list[int] = []
        for s in self.slots:
            try:
                r, t = row[s.row], task[s.task]
                state.append(_STATE_INDEX[s.status])
            except KeyError:
                raise self._unknown(s) from None
            place.append((r, t, s.seed))
            cells.setdefault((r, t), []).append(s)
        at = np.array(place, np.int64).reshape(-1, 3)
        seeds, seed_at = np.unique(at[:, 2], return_inverse=True)
        self._shape = (len(self.infos), len(self.tasks), max(len(seeds), 1))
        self._flat = np.ravel_multi_index((at[:, 0], at[:, 1], seed_at), self._shape)
        self.seeds = tuple(int(s) for s in seeds)
        states = np.array(state, np.int64)
        self._ok = states == _STATE_INDEX["ok"]
        shape = (*self._shape[:2], len(STATES))
        where = np.ravel_multi_index((at[:, 0], at[:, 1], states), shape)
        self.counts: np.ndarray = np.bincount(where, minlength=math.prod(shape)).reshape(shape)

    def _unknown(self, s: Slot) -> BenchError:
        known: Mapping[str, Iterable[str]] = {"row": self._row, "task": self._task, "status": STATES}
        for what, names in known.items():
            value = getattr(s, what)
            if value not in names:
                near = difflib.get_close_matches(str(value), list(names), 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                return BenchError(
                    f"board {self.spec.track.name}: cell {s.key} has unknown {what} {value!r}{hint}"
                )
        raise AssertionError(s)

    def values(self, metric: str) -> tuple[Array, Bools]:
        """Values (row, task, seed) of the ok cells, NaN where there is none; and which are censored."""
        return self._get(metric)[:2]

    def _means(self, metric: str) -> _Means:
        return self._get(metric)[2]

    def _get(self, metric: str) -> tuple[Array, Bools, _Means]:
        if metric not in self._cache:
            raw = [s.metrics.get(metric) if ok else None for s, ok in zip(self.slots, self._ok, strict=True)]
            pairs = [stats.split_value(v) for v in raw]
            x = np.array([v for v, _ in pairs], float)
            c = np.array([v for _, v in pairs], bool)
            there = np.isfinite(x)
            flat, size = self._flat[there], math.prod(self._shape)
            n = np.bincount(flat, minlength=size)
            with np.errstate(invalid="ignore"):
                v = (np.bincount(flat, weights=x[there], minlength=size) / n).reshape(self._shape)
            cens = (np.bincount(flat, weights=c[there], minlength=size) > 0).reshape(self._shape)
            self._cache[metric] = (v, cens, self._summary(v, cens))
        return self._cache[metric]

    def _summary(self, v: Array, cens: Bools) -> _Means:
        there = ~np.isnan(v)
        n = there.sum(2).astype(float)
        fixed = np.array([r.deterministic for r in self.infos], bool)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(there, v, 0.0).sum(2) / n
            square = np.where(there, np.square(v - mean[:, :, None]), 0.0).sum(2)
            sd = np.sqrt(square / np.where(n > 1, n - 1, np.nan))
        n = np.where(fixed[:, None], np.minimum(n, 1), n)
        sd = np.where(fixed[:, None], np.nan, sd)
        every = np.asarray(cens.sum(2) == there.sum(2), bool)
        return _Means(mean, sd, n, np.asarray(cens.any(2), bool), every)

    def estimate(self, row: str, task: str, metric: str | None = None) -> Estimate | None:
        """Mean over seeds of a metric (the ranking one by default) of one row on one task; None without
        value.
        """
        name = metric or self.spec.ranks_by
        return self._estimate(self._row[row], self._task[task], name)

    def over_tasks(self, row: str, metric: str) -> tuple[float, bool] | None:
        """Mean over the counted tasks of any metric, and whether the row has it on all of them."""
        found = [e.mean for t in self.counted if (e := self._estimate(self._row[row], t, metric)) is not None]
        return (sum(found) / len(found), len(found) == len(self.counted)) if found else None

    def _estimate(self, r: int, t: int, name: str) -> Estimate | None:
        return self._of(self._means(name), r, t, name)

    def _of(self, m: _Means, r: int, t: int, name: str) -> Estimate | None:
        n = int(m.n[r, t])
        if n == 0:
            return None
        sd = float(m.sd[r, t]) if n > 1 else None
        half = None if sd is None or m.every[r, t] else float(stats.half_width(sd, n))
        bound = self._bound(name, bool(m.some[r, t]))
        return Estimate(float(m.mean[r, t]), half, n, sd, bound, self.infos[r].deterministic)

    def _bound(self, name: str, censored: bool) -> stats.Bound:
        return stats.beyond(_metric(self.spec.track, name).better) if censored else ""

    # ----------------------------------------------------------------------------------------------- ranking

    def _rank(self) -> None:
        m, counted = self._means(self.spec.ranks_by), list(self.counted)
        worst = -1.0 if self.metric.better == "lower" else 1.0
        missing = m.n[:, counted] == 0
        partial = (self._held[:, counted] | missing).any(1) | (not self.tally.ranked)
        core = [i for i, r in enumerate(self.infos) if r.core]
        full = [i for i in core if not partial[i]]
        with np.errstate(invalid="ignore"):
            total = m.mean[:, counted].mean(1) if counted else np.full(len(self.infos), np.nan)
        order = sorted(full, key=lambda i: (-worst * total[i], i))
        self._adjusted, self._diff_sd = self._tests(order)
        group: list[int | None] = [None] * len(order)
        #: Whether tie groups are claimed: some pair of ranked rows could be tested.
        self.grouped = bool((~np.isnan(self._adjusted)).any())
        if self.grouped:
            group = list(stats.tie_groups(range(len(order)), self._adjusted))
        self._best = self._best_cells()
        rest = sorted((i for i in core if partial[i]), key=self._partial_key(m, worst))
        ranked = [self._view(i, k + 1, group[k], False) for k, i in enumerate(order)]
        behind = [self._view(i, None, None, True) for i in rest]
        #: Core rows: complete ones by rank, then the partial ones.
        self.rows: tuple[RowView, ...] = (*ranked, *behind)
        #: Rows that are ablations, in the order of the plan; never ranked.
        self.ablations: tuple[RowView, ...] = tuple(
            self._view(i, None, None, bool(partial[i])) for i, r in enumerate(self.infos) if not r.core
        )

    def _sampled(self, tasks: Iterable[int]) -> tuple[tuple[int, ...], ...]:
        found: dict[str, list[int]] = {}
        for t in tasks:
            found.setdefault(self._sample_of[self.tasks[t].name], []).append(t)
        return tuple(tuple(of) for of in found.values())

    def _tests(self, order: list[int]) -> tuple[Array, Array]:
        m, k = self._means(self.spec.ranks_by), len(order)
        if not self.samples:
            return np.full((k, k), np.nan), np.full((k, k), np.nan)
        if self.unit != "seeds":
            means = [m.mean[np.ix_(order, t)].mean(1) for t in self.samples]
            return stats.task_pairs(np.stack(means, axis=1))
        one = self._averaged(self.counted)
        fixed = np.array([self.infos[i].deterministic for i in order], bool)
        p = stats.welch_pairs(one.mean[order, 0], one.sd[order, 0], one.n[order, 0], fixed)
        return p, one.sd[order, 0]

    def _averaged(self, tasks: Sequence[int]) -> _Means:
        """Each row's mean over some tasks, as if one task; its spread is over the seeds that have all."""
        v, cens = self.values(self.spec.ranks_by)
        t = list(tasks)
        some = np.asarray(cens[:, t].any(1, keepdims=True), bool)
        return self._summary(v[:, t].mean(1, keepdims=True), some)

    def _best_cells(self) -> Bools:
        """Per row and task: not separable from the task's best core row (Welch over seeds, Holm over its
        pairs; of two deterministic rows the better value).
        """
        m = self._means(self.spec.ranks_by)
        best = np.zeros(m.mean.shape, bool)
        core = np.array([r.core for r in self.infos], bool)
        fixed = np.array([r.deterministic for r in self.infos], bool)
        for t in self.counted:
            rows = np.flatnonzero(core & (m.n[:, t] > 0))
            p = stats.welch_pairs(m.mean[rows, t], m.sd[rows, t], m.n[rows, t], fixed[rows])
            top = int(
                np.argmin(m.mean[rows, t]) if self.metric.better == "lower" else np.argmax(m.mean[rows, t])
            )
            if not np.isnan(p[top]).all():
                best[rows, t] = ~(p[top] < 1 - stats.LEVEL)
        return best

    def _partial_key(self, m: _Means, sign: float) -> Callable[[int], tuple[float, float, int]]:
        """Order of partial rows: more tasks first, then the mean distance to each task's median."""
        t = list(self.counted)
        core = [i for i, r in enumerate(self.infos) if r.core]
        middle = np.nanmedian(m.mean[np.ix_(core, t)], axis=0) if t else np.zeros(0)

        def key(i: int) -> tuple[float, float, int]:
            d = m.mean[i, t] - middle
            there = ~np.isnan(d)
            return (-float(there.sum()), -sign * float(d[there].mean()) if there.any() else math.inf, i)

        return key

    def _view(self, i: int, rank: int | None, group: int | None, partial: bool) -> RowView:
        cells = tuple(self._cell(i, t) for t in range(len(self.tasks)))
        there = [e for t in self.counted if (e := cells[t].estimate) is not None]
        mean = None
        if there:
            bound = self._bound(self.spec.ranks_by, any(e.bound for e in there))
            mean = Estimate(sum(e.mean for e in there) / len(there), None, len(there), bound=bound)
        return RowView(self.infos[i], rank, group, partial, mean, self._delta(i), cells)

    def _cell(self, r: int, t: int) -> CellView:
        found = self.counts[r, t]
        counts = {STATES[int(k)]: int(found[k]) for k in np.flatnonzero(found)}
        slots = self._by_cell.get((r, t), ())
        estimate = self._estimate(r, t, self.spec.ranks_by)
        name = (self.infos[r].row, self.tasks[t].name)
        return CellView(*name, estimate, counts, slots, bool(self._best[r, t]))

    def _delta(self, i: int) -> Comparison | None:
        ref = self._row.get(self.spec.track.reference)
        return None if ref is None or ref == i else self.difference(i, ref)

    def difference(self, a: int, b: int, tasks: Iterable[int] | None = None) -> Comparison:
        """Row ``a`` minus row ``b`` (indices), over the counted tasks that both have."""
        m, better = self._means(self.spec.ranks_by), self.metric.better
        both = [t for t in (self.counted if tasks is None else tasks) if m.n[a, t] and m.n[b, t]]
        samples = self._sampled(both)
        if len(samples) == 1 or (both and self.unit == "seeds"):
            one = self._averaged(both)
            left, right = (self._of(one, r, 0, self.spec.ranks_by) for r in (a, b))
            if left is not None and right is not None:
                return stats.welch(left, right, better=better)
        means = [[float(m.mean[r, list(t)].mean()) for t in samples] for r in (a, b)]
        return stats.paired(*means, better=better, unit=self.unit)

    @property
    def unit(self) -> stats.Unit:
        """What tests take as one observation (`stats.unit_of`)."""
        return stats.unit_of(len(self.samples), len(self.counted), len(self.seeds))

    # ------------------------------------------------------------------------------------------------- power

    @property
    def pairs(self) -> int:
        """Pairs of ranked rows that were tested: what Holm's correction is over. Two deterministic rows whose
        values differ are no test over seeds.
        """
        tested = ~np.isnan(self._adjusted)
        if self.unit == "seeds":
            fixed = np.array([r.info.deterministic for r in self.rows if r.rank is not None], bool)
            tested &= ~(fixed[:, None] & fixed & (self._adjusted == 0))
        return int(tested.sum()) // 2

    @property
    def corrected(self) -> float:
        """Level of one test at Holm's first bar: 1 − 5 % / pairs."""
        return 1 - (1 - stats.LEVEL) / max(self.pairs, 1)

    def detectable(self, level: float = stats.LEVEL) -> float | None:
        """Smallest difference between two ranked rows that one test at ``level`` detects with 80 % power.

        At the median spread of the pairs' differences over tasks or curves (one: of rows over seeds).
        """
        sd = self._diff_sd[np.isfinite(self._diff_sd) & (self._diff_sd > 0)]
        if not len(sd):
            return None
        spread = float(np.sqrt(np.median(np.square(sd))))
        if self.unit != "seeds":
            return stats.detectable(spread, len(self.samples), level=level)
        return stats.detectable_over_seeds(spread, len(self.seeds), level=level)

    @property
    def runner_up(self) -> tuple[RowView, RowView, stats.Needed] | None:
        """The two best rows and the seeds that would separate them; None if they are separated already."""
        if len(self.rows) < 2 or not self.grouped:
            return None
        a, b = self.rows[:2]
        if b.partial or a.group != b.group:
            return None
        every = self.values(self.spec.ranks_by)[0]
        tests = self.samples if self.unit != "seeds" else (self.counted,)
        v = np.stack([every[:, list(t)].mean(1) for t in tests], axis=1)
        need = stats.seeds_needed(v[self._row[a.info.row]], v[self._row[b.info.row]], level=self.corrected)
        return a, b, need

    @property
    def status_counts(self) -> Counter[str]:
        """State -> number of slots."""
        total = self.counts.sum((0, 1))
        return Counter({STATES[int(k)]: int(total[k]) for k in np.flatnonzero(total)})

    @property
    def hardware(self) -> tuple[str, ...]:
        """Hardware labels of the ok cells, sorted."""
        return tuple(
            sorted({s.hardware for s, ok in zip(self.slots, self._ok, strict=True) if ok and s.hardware})
        )

    @property
    def stale(self) -> int:
        """Number of stale cells."""
        return sum(bool(s.stale) for s in self.slots)


def _metric(track: Track, name: str) -> Metric:
    try:
        return track.metric(name)
    except KeyError:
        known = [m.name for m in track.metrics]
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(known)}"
        raise BenchError(f"track {track.name} has no metric {name!r}{hint}") from None
