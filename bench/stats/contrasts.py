"""Differences of rows: contrasts of several row means with standard error, interval and test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.stats import examples
from bench.stats.estimates import ROUNDING, Array, t_quantile, two_sided
from bench.stats.rows import RowMean, Source

#: Why a contrast of deterministic rows without scores by example has no interval: nothing in it is drawn.
EXACT = "exact values"


@dataclass(frozen=True, slots=True)
class Contrast:
    """A sum of coefficient × row mean, such as the difference of two rows, with the test of its being 0.

    ``se``: standard error, with ``df`` degrees of freedom (Welch and Satterthwaite); None where it is not
    known or does not apply. ``half``: half-width of the 95 % t interval. ``p``: two-sided, uncorrected; None
    if it was not judged. ``why``: why it was not, or `EXACT` for deterministic rows without scores by
    example: there nothing is tested, and p stands for "equal" (1) or "not equal" (0).
    """

    diff: float
    se: float | None
    df: float | None
    half: float | None
    p: float | None
    why: str = ""

    def against(self, value: float) -> float | None:
        """p of the two-sided test that the true difference is ``value``; None if it cannot be judged."""
        if self.why == EXACT:
            return 1.0 if math.isclose(self.diff, value, rel_tol=ROUNDING, abs_tol=ROUNDING) else 0.0
        if self.se is None or self.df is None:
            return None
        return float(two_sided((self.diff - value) / self.se, self.df))


def contrast(parts: Sequence[tuple[float, RowMean]]) -> Contrast:
    """The sum of coefficient × row mean; a row that comes several times counts with its summed coefficient.

    Without scores by example its variance is the sum of the rows' own over seeds, as in Welch's test: it
    speaks of these test sets. With them it is that over examples plus what seeds add beyond it, seed by seed
    (`bench.stats.examples`); with `ClusterScores.none` the latter alone, on one data set the paired t test.
    Satterthwaite's degrees of freedom are those of the sum.
    """
    rows = merged(parts)
    diff, scale = sum(c * r.mean for c, r in rows), max(abs(c * r.mean) for c, r in rows)
    if (why := _cannot([r for _, r in rows])) != "":
        return Contrast(diff, None, None, None, None, why)
    if not any(r.drawn for _, r in rows):
        return Contrast(diff, None, None, None, float(abs(diff) <= ROUNDING * scale), EXACT)
    var, df = satterthwaite(sources(rows))
    if math.isnan(var):
        return Contrast(diff, None, None, None, None, "fewer than 2 shared seeds")
    if math.sqrt(var) <= ROUNDING * scale:
        if abs(diff) <= ROUNDING * scale:
            return Contrast(0.0, None, None, None, 1.0, "the same values")
        return Contrast(diff, None, None, None, None, "no spread over seeds or examples")
    se = math.sqrt(var)
    return Contrast(diff, se, df, float(t_quantile(df)) * se, float(two_sided(diff / se, df)))


def merged(parts: Sequence[tuple[float, RowMean]]) -> list[tuple[float, RowMean]]:
    """The parts with every row once, under the sum of its coefficients."""
    found: dict[int, tuple[float, RowMean]] = {}
    for c, r in parts:
        found[id(r)] = (found[id(r)][0] + c if id(r) in found else c, r)
    return list(found.values())


def sources(rows: Sequence[tuple[float, RowMean]]) -> list[Source]:
    """The sources of chance in a contrast of rows that are each there once."""
    if rows[0][1].clusters is None:
        return [Source(c * c * s.variance, s.df) for c, r in rows for s in r.sources]
    return examples.sources(examples.align([r for _, r in rows]).sum([c for c, _ in rows]))


def satterthwaite(sources: Sequence[Source]) -> tuple[float, float]:
    """Variance of a sum of independent sources, and its degrees of freedom: infinite where it is 0."""
    rest = sum(s.variance for s in sources if s.total is not None)
    var = sum(s.variance for s in sources if s.total is None) + max(rest, 0.0)
    noise = sum((s.variance if s.total is None else s.total) ** 2 / s.df for s in sources)
    return (math.nan if math.isnan(rest) else var), (var**2 / noise if noise else math.inf)


def _cannot(rows: Sequence[RowMean]) -> str:
    """Why these rows cannot be compared, or ""."""
    if named := next((r.why for r in rows if r.why), ""):
        return named
    if not all(r.known for r in rows):
        return "fewer than 2 seeds"
    if len({r.clusters is None for r in rows}) > 1:
        return "only some of these rows have scores by example"
    if len({frozenset(r.clusters or {}) for r in rows}) > 1:
        return "scores by example on different data sets"
    if any(s.influence.shape[1] == 1 for r in rows for s in (r.clusters or {}).values()):
        return "fewer than 2 clusters of examples"
    return ""


def all_pairs(rows: Sequence[RowMean]) -> Array:
    """Uncorrected p of every pair of rows, (k, k), NaN where a pair was not judged and on the diagonal.

    Each is the p of the `contrast` of the two rows.
    """
    if any(r.clusters is not None for r in rows):
        return _pairs_by_seed(rows)
    k = len(rows)
    mean = np.array([r.mean if r.known else np.nan for r in rows])
    exact = np.array([not r.sources for r in rows], bool)
    var = np.array([sum(s.variance for s in r.sources) for r in rows], float)
    noise = np.array([sum(s.variance**2 / s.df for s in r.sources) for r in rows], float)
    i, j = np.triu_indices(k, 1)
    total = var[i] + var[j]
    with np.errstate(divide="ignore", invalid="ignore"):
        p = _p(mean[i], mean[j], total, np.square(total) / (noise[i] + noise[j]))
    different = exact[i] & exact[j] & np.isnan(p) & ~np.isnan(mean[i] + mean[j])
    p[different] = 0.0
    out = np.full((k, k), np.nan)
    out[i, j] = out[j, i] = p
    return out


def _p(a: Array, b: Array, var: Array, df: Array) -> Array:
    """p of differences of means with these variances; NaN without any spread, but for equal means."""
    scale = ROUNDING * np.maximum(np.abs(a), np.abs(b))
    with np.errstate(divide="ignore", invalid="ignore"):
        p = two_sided((a - b) / np.sqrt(var), df)
    return np.where(np.sqrt(var) > scale, p, np.where(np.abs(a - b) <= scale, 1.0, np.nan) + 0 * var)


def _pairs_by_seed(rows: Sequence[RowMean]) -> Array:
    p = np.full((len(rows), len(rows)), np.nan)
    fit = [i for i, r in enumerate(rows) if _cannot([r]) == "" and r.clusters is not None]
    data = {frozenset(rows[i].clusters or {}) for i in fit}
    if len(data) > 1:
        raise ValueError("rows with scores by example on different data sets are no table of pairs")
    if len(fit) < 2:
        return p
    every = examples.align([rows[i] for i in fit])
    mean, drawn = np.array([rows[i].mean for i in fit]), np.array([rows[i].drawn for i in fit], bool)
    for at in range(len(fit) - 1):
        found = _p(mean[at + 1 :], mean[at], *examples.variance(every.less(at)))
        found[np.isnan(found) & ~drawn[at + 1 :] & ~drawn[at]] = 0.0
        p[fit[at], fit[at + 1 :]] = p[fit[at + 1 :], fit[at]] = found
    return p
