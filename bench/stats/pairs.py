"""The tests that boards used before `bench.stats.contrasts`; only what has not moved to it yet calls them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bench.contract import Better, Task, canonical
from bench.stats.estimates import (
    LEVEL,
    POWER,
    ROUNDING,
    Array,
    Bools,
    Estimate,
    t_quantile,
    two_sided,
)
from bench.stats.families import holm

#: What the observations of a test are; a curve is the mean of the tasks along a track's axis.
Unit = Literal["tasks", "curves", "seeds", "examples"]
Verdict = Literal["better", "worse", "different", "no difference shown", "not judged"]

#: With fewer independent tasks than this, tests are over seeds and speak for these tasks alone.
FEW = 5
_MAX_SEEDS = 1000
# Just under the normal quantile: no t quantile at 5 % is smaller.
_NEVER = 1.95

# --------------------------------------------------------------------------------------------- single tests


@dataclass(frozen=True, slots=True)
class Comparison:
    """A difference ``a − b`` over paired observations.

    ``unit``: what the observations are. ``half``: of the 95 % t interval, None when there is none. ``wins``:
    pairs in which ``a`` is better. ``why``: why it was not judged.
    """

    diff: float
    half: float | None
    n: int
    unit: Unit
    p: float | None
    verdict: Verdict
    wins: int
    why: str = ""


def _no_spread(d: Array, scale: Array) -> bool:
    return bool(np.ptp(d) <= ROUNDING * max(float(np.abs(scale).max(initial=0.0)), 1e-300))


def paired(a: npt.ArrayLike, b: npt.ArrayLike, *, better: Better, unit: Unit) -> Comparison:
    """Paired t test of ``a`` against ``b``, both (n,), at 5 %.

    Equal differences that are not zero are *not judged*: without any spread there is no scale to judge by.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    d = a - b
    n = len(d)
    sign = -1.0 if better == "lower" else 1.0
    wins = 0 if better == "neither" else int((sign * d > 0).sum())
    if n < 2:
        diff = float(d.mean()) if n else math.nan
        return Comparison(diff, None, n, unit, None, "not judged", wins, f"{n} of at least 2 {unit}")
    diff = float(d.mean())
    if _no_spread(d, np.concatenate([a, b])):
        if abs(diff) <= ROUNDING * float(np.abs(a).max()):
            return Comparison(0.0, 0.0, n, unit, 1.0, "no difference shown", 0)
        return Comparison(
            diff, None, n, unit, None, "not judged", wins, f"the same difference in all {n} {unit}"
        )
    se = float(d.std(ddof=1)) / math.sqrt(n)
    p = float(two_sided(diff / se, n - 1))
    half = float(t_quantile(n - 1)) * se
    return Comparison(diff, half, n, unit, p, _verdict(diff, p, better), wins)


def welch(a: Estimate, b: Estimate, *, better: Better) -> Comparison:
    """Welch's t of ``a`` against ``b`` over the seeds of one task, with the interval of the difference.

    A deterministic side has no spread over seeds, so the other's seeds are tested against its value. Of two
    deterministic sides (`exact_pair`) the values are compared, without an interval. Not judged when neither
    side shows any spread otherwise.
    """
    diff, n = a.mean - b.mean, max(a.n, b.n)
    sign = -1.0 if better == "lower" else 1.0
    wins = int(better != "neither" and sign * diff > 0)
    if a.deterministic and b.deterministic:
        p = exact_pair(a.mean, b.mean)
        return Comparison(diff, None, n, "seeds", p, _verdict(diff, p, better), wins, "exact values")
    if any(e.sd is None and not e.deterministic for e in (a, b)):
        return Comparison(diff, None, n, "seeds", None, "not judged", wins, "fewer than 2 seeds")
    sides = [((e.sd or 0.0) ** 2 / e.n, e.n - 1) for e in (a, b)]
    var = sum(v for v, _ in sides)
    if math.sqrt(var) <= ROUNDING * max(abs(a.mean), abs(b.mean)):
        return Comparison(diff, None, n, "seeds", None, "not judged", wins, "no spread over seeds")
    df = var**2 / sum(v**2 / f for v, f in sides if v)
    p = float(two_sided(diff / math.sqrt(var), df))
    half = float(t_quantile(df)) * math.sqrt(var)
    return Comparison(diff, half, n, "seeds", p, _verdict(diff, p, better), wins)


def exact_pair(a: float, b: float) -> float:
    """Stands for p of two deterministic rows on the same data: 1 for equal values (but for rounding), else 0.

    Nothing is drawn, so nothing is tested: whoever runs the two again finds the same difference. That says
    nothing of other tasks or test sets, which is what tests over tasks and over examples are for.
    """
    return 1.0 if abs(a - b) <= ROUNDING * max(abs(a), abs(b)) else 0.0


def _verdict(diff: float, p: float, better: Better) -> Verdict:
    if p >= 1 - LEVEL:
        return "no difference shown"
    if better == "neither":
        return "different"
    return "better" if (diff > 0) == (better == "higher") else "worse"


def paired_by_example(parts: Sequence[tuple[Array, npt.NDArray[Any]]], *, better: Better) -> Comparison:
    """Paired t test over the examples of one or several tasks: the test sets are the sample, not the seeds.

    The difference is the mean over tasks of each task's mean, as on a board. Examples of one group, in
    whichever task, are one observation (cluster-robust variance with G / (G - 1), t with G - 1 degrees of
    freedom; Liang and Zeger, Biometrika 1986): ``n`` of the result is G. With groups of one example and one
    task it is the plain paired t test.

    Args:
        parts: of each task ``a - b`` (n,), seeds averaged first, since repeats of one example are not new
            examples; and the group of each example (n,).
        better: direction of the score.
    """
    means = [float(d.mean()) for d, _ in parts]
    moved = [(d - m) / (len(parts) * len(d)) for (d, _), m in zip(parts, means, strict=True)]
    names, at = np.unique(np.concatenate([np.asarray(g, str) for _, g in parts]), return_inverse=True)
    diff, n = float(np.mean(means)), len(names)
    d = np.concatenate([d for d, _ in parts])
    wins = int(((-d if better == "lower" else d) > 0).sum()) if better != "neither" else 0
    if n < 2:
        return Comparison(diff, None, n, "examples", None, "not judged", wins, f"{n} of at least 2 examples")
    total = np.bincount(at, weights=np.concatenate(moved), minlength=n)
    se = math.sqrt(n / (n - 1) * float(np.square(total).sum()))
    if se <= ROUNDING * max(float(np.abs(d).max()), 1e-300):
        same: Verdict = "no difference shown" if diff == 0 else "not judged"
        return Comparison(diff, None, n, "examples", 1.0 if diff == 0 else None, same, wins, "no spread")
    p = float(two_sided(diff / se, n - 1))
    return Comparison(diff, float(t_quantile(n - 1)) * se, n, "examples", p, _verdict(diff, p, better), wins)


def samples(tasks: Iterable[Task], axis: str | None) -> dict[str, str]:
    """Task -> what it is an observation of: itself, or the curve along ``axis`` that it is a point of.

    Points of a curve are measured on the same data with the same seeds, so what one row gains over another
    at one point it mostly gains at the next: five points are not five observations. In simulation, taking
    them for such separated equal rows in more than 80 % of boards (``tests/perf/test_stats_sim.py``).
    """
    return {
        t.name: canonical({k: v for k, v in t.params.items() if k != axis}) if axis in t.params else t.name
        for t in tasks
    }


def unit_of(samples: int, tasks: int, seeds: int) -> Unit:
    """What tests over so many tasks take as one observation: tasks, or curves where some sample is several.

    With fewer than `FEW` samples it is seeds, of which then each row needs two: a t test over three data sets
    with Holm's correction separates nothing, so what is said holds on these alone.
    """
    if samples < FEW and seeds >= 2:
        return "seeds"
    return "curves" if samples < tasks else "tasks"


def by_sample(
    a: Mapping[tuple[str, int], float], b: Mapping[tuple[str, int], float], of: Mapping[str, str]
) -> tuple[dict[tuple[str, int], float], dict[tuple[str, int], float]]:
    """Two rows' ``{(task, seed): value}`` as ``{(sample, seed): mean}`` over the tasks that both have.

    ``of``: as `samples` gives it. A seed counts only if the row has it on all of those tasks.
    """
    shared = {t for t, _ in a} & {t for t, _ in b}
    size = Counter(of[t] for t in shared)

    def averaged(values: Mapping[tuple[str, int], float]) -> dict[tuple[str, int], float]:
        found: dict[tuple[str, int], list[float]] = {}
        for (task, seed), value in values.items():
            if task in shared:
                found.setdefault((of[task], seed), []).append(value)
        return {k: float(np.mean(v)) for k, v in found.items() if len(v) == size[k[0]]}

    return averaged(a), averaged(b)


def compare(
    a: Mapping[tuple[str, int], float],
    b: Mapping[tuple[str, int], float],
    *,
    better: Better,
    unit: Unit = "tasks",
) -> Comparison:
    """Two rows (or two stores), each ``{(task, seed): value}``, paired; the verdict is ``a``'s.

    From two shared tasks on, one difference a task is an observation: over the seeds both have, or of the two
    means where they share fewer than two (a deterministic row has one). With a single shared task its shared
    seeds are. Tasks that are no independent observations go through `by_sample` first, ``unit`` says so.
    """
    by_task: dict[str, tuple[dict[int, float], dict[int, float]]] = {}
    for side, values in enumerate((a, b)):
        for (task, seed), value in values.items():
            by_task.setdefault(task, ({}, {}))[side][seed] = value
    left, right = [], []
    for x, y in by_task.values():
        if x and y:
            seeds = sorted(x.keys() & y.keys())
            whole = len(seeds) < 2
            left.append([float(np.mean(list(x.values())))] if whole else [x[s] for s in seeds])
            right.append([float(np.mean(list(y.values())))] if whole else [y[s] for s in seeds])
    if len(left) == 1:
        return paired(left[0], right[0], better=better, unit="seeds")
    return paired([np.mean(v) for v in left], [np.mean(v) for v in right], better=better, unit=unit)


# ------------------------------------------------------------------------------- many rows: who is separable


def adjusted(comparisons: Iterable[Comparison]) -> list[float | None]:
    """Holm's adjusted p of each of several comparisons; None of one that was not judged."""
    found = holm([math.nan if c.p is None else c.p for c in comparisons])
    return [None if math.isnan(p) else float(p) for p in found]


def _square(k: int, upper: Array) -> Array:
    out = np.full((k, k), np.nan)
    i, j = np.triu_indices(k, 1)
    out[i, j] = out[j, i] = upper
    return out


def welch_pairs(mean: Array, sd: Array, n: Array, exact: Bools) -> Array:
    r"""Holm-adjusted p of Welch's t over seeds for every pair of rows in one task: (k, k), NaN = not judged.

    A pair with an absolute t below 1.95 is given as 1: its p is above 5 % at any degrees of freedom, so
    no correction can make it matter, and a board of 400 rows takes less than half the time.

    ``mean``, ``sd``, ``n``: (k,). ``exact``: deterministic rows; their value has no spread over seeds, so the
    other row's seeds are tested against it, and two of them are `exact_pair`: 0 where they differ, which is
    no test and leaves Holm's correction of the tests as it is. Otherwise two rows without any spread are not
    judged: that two or three seeds agree does not say that the next one will.
    """
    k = len(mean)
    i, j = np.triu_indices(k, 1)
    var = np.where(exact, 0.0, np.where(n >= 2, np.square(sd) / np.maximum(n, 1), np.nan))
    var = np.where(var <= np.square(ROUNDING * np.abs(mean)), 0.0 * var, var)
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(exact, 0.0, np.square(var) / (n - 1))
        total = var[i] + var[j]
        t = np.abs(mean[i] - mean[j]) / np.sqrt(total)
        p = np.where(np.isnan(t) | (total == 0), np.nan, 1.0)
        far = (t >= _NEVER) & (total > 0)
        p[far] = two_sided(t[far], np.square(total[far]) / (part[i[far]] + part[j[far]]))
    p[(total == 0) & (mean[i] == mean[j])] = 1.0
    both = np.flatnonzero(exact[i] & exact[j])
    p[both] = [exact_pair(float(mean[i[h]]), float(mean[j[h]])) for h in both]
    return _square(k, holm(p))


def task_pairs(means: Array) -> tuple[Array, Array]:
    """Holm-adjusted p of the paired t over tasks for every pair of rows, and the sd of their differences.

    ``means``: (k, tasks), complete. Both results are (k, k); p is NaN below two tasks, or where all
    differences are equal and not zero.
    """
    k, tasks = means.shape
    p, sd = [], []
    for i in range(k - 1):
        d = means[i] - means[i + 1 :]
        diff = d.mean(1)
        s = d.std(1, ddof=1) if tasks > 1 else np.full(len(d), np.nan)
        s = np.where(s <= ROUNDING * np.abs(means[i]).max(), 0.0, s)
        with np.errstate(invalid="ignore", divide="ignore"):
            q = two_sided(diff / (s / math.sqrt(tasks)), max(tasks - 1, 1))
        p.append(np.where(s == 0, np.where(diff == 0, 1.0, np.nan), q))
        sd.append(s)
    if not p:
        return np.full((k, k), np.nan), np.full((k, k), np.nan)
    return _square(k, holm(np.concatenate(p))), _square(k, np.concatenate(sd))


def tie_groups(order: Sequence[int], adjusted: Array, level: float = LEVEL) -> list[int]:
    """Tie group (0, 1, …) of each row, by index. ``order``: row indices, best first.

    Group 0 is the best row and every row not separable from it; the best of the rest starts group 1, and so
    on.
    ``adjusted``: (k, k) Holm-adjusted p over *all* pairs. All, because the best row is chosen by the data:
    correcting only for its own k − 1 comparisons separated equal rows in 11 to 14 % of simulated boards.
    """
    group = [-1] * len(order)
    left, g = list(order), 0
    while left:
        best = left[0]
        tied = [i for i in left if i == best or not adjusted[best, i] < 1 - level]
        for i in tied:
            group[i] = g
        left = [i for i in left if group[i] < 0]
        g += 1
    return group


# ---------------------------------------------------------------------------------------------------- power


def _noncentrality(df: float, level: float = LEVEL, power: float = POWER) -> float:
    """Mean of the t ratio at which a two-sided test has that power (the far tail is neglected)."""
    from scipy.special import nctdtrinc

    return float(nctdtrinc(df, 1 - power, float(t_quantile(df, level))))


def detectable(sd: float, n: int, *, level: float = LEVEL, power: float = POWER) -> float | None:
    """Smallest mean difference that a paired t over ``n`` pairs detects with that power; None below two.

    ``sd``: of the differences. One comparison at 5 %: a correction for several asks for more.
    """
    if n < 2 or not math.isfinite(sd):
        return None
    return _noncentrality(n - 1, level, power) * sd / math.sqrt(n)


def detectable_like(c: Comparison) -> float | None:
    """Smallest difference that a test of that spread and size detects at 5 % with 80 % power."""
    if c.half is None or c.n < 2:
        return None
    return _noncentrality(c.n - 1) * c.half / float(t_quantile(c.n - 1))


def detectable_over_seeds(sd: float, n: int, *, level: float = LEVEL, power: float = POWER) -> float | None:
    """Smallest difference of two means over ``n`` seeds each that is detected with that power.

    ``sd``: over the seeds of a row. None below two seeds.
    """
    if n < 2 or not math.isfinite(sd):
        return None
    return _noncentrality(2 * n - 2, level, power) * sd * math.sqrt(2 / n)


@dataclass(frozen=True, slots=True)
class Needed:
    """Seeds that would separate two rows with 80 % power, if the difference seen is the true one.

    ``seeds``: in all, a row and task; None when no number would (the rows react differently to tasks, so only
    more tasks help) or when more than 1,000 would be needed.
    """

    seeds: int | None
    why: str = ""


def seeds_needed(a: Array, b: Array, *, level: float = LEVEL) -> Needed:
    """How many seeds a row would separate two rows: ``a``, ``b`` are (tasks, seeds), NaN where a seed is
    missing. ``level``: of the one test, after whatever correction applies.

    One task: Welch with the spread seen. Several tasks: the spread of the per-task differences is tau² + s² /
    seeds; tau² (method × task) stays however many seeds are run.
    """
    va, vb = (float(np.nanmean(_seed_variance(x))) if _has_spread(x) else math.nan for x in (a, b))
    s2 = np.nansum([va, vb])
    d = np.nanmean(a, 1) - np.nanmean(b, 1)
    tasks, diff = len(d), abs(float(d.mean()))
    if math.isnan(va) and math.isnan(vb):
        return Needed(None, "one seed: the spread over seeds is not known")
    if diff == 0:
        return Needed(None, "no difference seen")
    if tasks == 1:
        for s in range(2, _MAX_SEEDS + 1):
            if diff >= _noncentrality(2 * s - 2, level) * math.sqrt(s2 / s):
                return Needed(s)
        return Needed(None, f"more than {_MAX_SEEDS:,} seeds")
    counts = [float((~np.isnan(x)).sum(1).mean()) for x in (a, b)]
    tau2 = max(float(d.var(ddof=1)) - float(np.nansum([va / counts[0], vb / counts[1]])), 0.0)
    room = (diff * math.sqrt(tasks) / _noncentrality(tasks - 1, level)) ** 2 - tau2
    if room <= 0:
        return Needed(
            None, f"no number of seeds on these {tasks} tasks: the gap differs too much between them"
        )
    seeds = max(math.ceil(s2 / room), 1)
    return Needed(seeds) if seeds <= _MAX_SEEDS else Needed(None, f"more than {_MAX_SEEDS:,} seeds")


def _has_spread(x: Array) -> bool:
    return bool(((~np.isnan(x)).sum(1) >= 2).any())


def _seed_variance(x: Array) -> Array:
    x = x[(~np.isnan(x)).sum(1) >= 2]
    return np.asarray(np.nanvar(x, axis=1, ddof=1))
