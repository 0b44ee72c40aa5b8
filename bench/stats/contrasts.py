"""Differences of rows: contrasts of several row means with standard error, interval and test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.stats.estimates import ROUNDING, Array, t_quantile, two_sided
from bench.stats.rows import RowMean, Source


@dataclass(frozen=True, slots=True)
class Contrast:
    """A sum of coefficient × row mean, such as the difference of two rows, with the test of its being 0.

    ``se``: standard error, with ``df`` degrees of freedom (Welch and Satterthwaite); None where it is not
    known or does not apply. ``half``: half-width of the 95 % t interval. ``p``: two-sided, uncorrected; None
    if it was not judged. ``why``: why it was not, or ``exact values`` for deterministic rows without scores
    by example: there nothing is drawn and nothing tested, and p stands for "equal" (1) or "not equal" (0).
    """

    diff: float
    se: float | None
    df: float | None
    half: float | None
    p: float | None
    why: str = ""

    def against(self, value: float) -> float | None:
        """p of the two-sided test that the true difference is ``value``; None if it cannot be judged."""
        if self.p is None:
            return None
        if self.se is None or self.df is None:
            return 1.0 if math.isclose(self.diff, value, rel_tol=ROUNDING, abs_tol=ROUNDING) else 0.0
        return float(two_sided((self.diff - value) / self.se, self.df))


def contrast(parts: Sequence[tuple[float, RowMean]]) -> Contrast:
    """The sum of coefficient × row mean; a row that comes several times counts once, with its summed
    coefficient.

    Its variance is the sum of the rows' own sources (over seeds), as in Welch's test, plus, where scores by
    example are kept, the cluster-robust variance of the contrast by cluster of examples: G / (G - 1) times
    the sum of squares of what each of the G clusters contributes, over all data sets together, with G - 1
    degrees of freedom (Liang and Zeger, Biometrika 1986). Satterthwaite's degrees of freedom are those of the
    sum.
    """
    rows = merged(parts)
    diff = sum(c * r.mean for c, r in rows)
    if (why := _cannot(rows)) != "":
        return Contrast(diff, None, None, None, None, why)
    if all(not r.sources and r.clusters is None for _, r in rows):
        scale = max(abs(c * r.mean) for c, r in rows)
        return Contrast(diff, None, None, None, float(abs(diff) <= ROUNDING * scale), "exact values")
    sources = [Source(c * c * s.variance, s.df) for c, r in rows for s in r.sources]
    if rows[0][1].clusters is not None:
        sources.append(_by_cluster(rows))
    return _tested(diff, sources, max(abs(c * r.mean) for c, r in rows))


def merged(parts: Sequence[tuple[float, RowMean]]) -> list[tuple[float, RowMean]]:
    """The parts with every row once, under the sum of its coefficients."""
    found: dict[int, tuple[float, RowMean]] = {}
    for c, r in parts:
        found[id(r)] = (found[id(r)][0] + c if id(r) in found else c, r)
    return [(c, r) for c, r in found.values() if c != 0] or list(found.values())[:1]


def _cannot(rows: Sequence[tuple[float, RowMean]]) -> str:
    """Why these rows cannot be compared, or ""."""
    if named := next((r.why for _, r in rows if r.why), ""):
        return named
    if not all(r.known for _, r in rows):
        return "fewer than 2 seeds"
    if any(r.clusters is not None and len(r.clusters) < 2 for _, r in rows):
        return "fewer than 2 clusters of examples"
    if len({r.clusters is None for _, r in rows}) > 1:
        return "only some of these rows have scores by example"
    return ""


def _by_cluster(rows: Sequence[tuple[float, RowMean]]) -> Source:
    total: dict[str, float] = {}
    for c, r in rows:
        for g, u in (r.clusters or {}).items():
            total[g] = total.get(g, 0.0) + c * u
    n = len(total)
    return Source(n / (n - 1) * math.fsum(u * u for u in total.values()), n - 1)


def _tested(diff: float, sources: Sequence[Source], scale: float) -> Contrast:
    var = sum(s.variance for s in sources)
    if math.sqrt(var) <= ROUNDING * scale:
        if abs(diff) <= ROUNDING * scale:
            return Contrast(0.0, None, None, None, 1.0, "the same values")
        return Contrast(diff, None, None, None, None, "no spread over seeds or examples")
    se, df = math.sqrt(var), satterthwaite(sources)[1]
    return Contrast(diff, se, df, float(t_quantile(df)) * se, float(two_sided(diff / se, df)))


def satterthwaite(sources: Sequence[Source]) -> tuple[float, float]:
    """Variance of a sum of independent sources, and its degrees of freedom: infinite where it is 0."""
    var = sum(s.variance for s in sources)
    parts = sum(s.variance**2 / s.df for s in sources)
    return var, (var**2 / parts if parts else math.inf)


def all_pairs(rows: Sequence[RowMean]) -> Array:
    """Uncorrected p of every pair of rows, (k, k), NaN where a pair was not judged and on the diagonal."""
    import numpy as np

    p = np.full((len(rows), len(rows)), np.nan)
    for i, a in enumerate(rows):
        for j, b in enumerate(rows[:i]):
            found = contrast([(1, a), (-1, b)]).p
            p[i, j] = p[j, i] = math.nan if found is None else found
    return p
