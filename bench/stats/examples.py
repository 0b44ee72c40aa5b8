"""How much contrasts vary with the test examples, and what seeds add beyond that.

A contrast of rows on examples of which new ones could be drawn, with networks that could be trained anew, has
two sources of chance. *Examples*: the cluster-robust variance of what each cluster contributes to the
contrast, averaged over seeds, over all data sets together (Liang and Zeger, Biometrika 1986). *Seeds*: the
variance of the contrast over the seeds of a data set, less what of it comes from examples: from their
reacting differently to networks, or, where every seed is tested on examples of its own, from their being
others. The rest is what networks differ in as a whole.

The contrast is taken seed by seed, since rows share what a seed draws. Taking each row's rest by itself would
leave the difficulty of a seed's own examples in it, which all rows share: in simulation
(``tests/perf/test_stats_sim.py``) standard errors are then up to 45 % too large, or the error is .09 at 5 %.
With one data set and three seeds, of which most of the variance is, the error comes to .08; with five to .05.

Rows of a track that pairs seeds without scores by example (`ClusterScores.none`) come here too: of the two
sources of chance only that over seeds is left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.stats.estimates import Array, Bools
from bench.stats.rows import Names, RowMean, SeedScores, Source


@dataclass(frozen=True, slots=True, eq=False)
class Several:
    """Several rows, or several contrasts of rows, on one data set, seed by seed.

    ``values``, (k, S), and ``influence``, (k, S, G), as the `errors` that they bring into a mean over seeds:
    rows may have different seeds, each its own number of them. ``has``: (k, S), which seeds there are.
    """

    values: Array
    influence: Array
    has: Bools


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """Several rows, or several contrasts of rows, on the same clusters, seeds and data sets.

    ``influence``: (k, G), averaged over seeds, on all data sets together. ``present``: (k, G), on which
    clusters there was a test. ``by_data``: one a data set; a deterministic row adds nothing over seeds, so
    there it has all of them, and zeros. Without any other row there are none.
    """

    influence: Array
    present: Bools
    by_data: tuple[Several, ...]

    def sum(self, coefficients: npt.ArrayLike) -> Aligned:
        """The one contrast with these coefficients, (k,)."""
        c = np.asarray(coefficients, float)
        of = (
            Several((c @ d.values)[None], np.einsum("k,ksg->sg", c, d.influence)[None], _one(d.has.all(0)))
            for d in self.by_data
        )
        return Aligned((c @ self.influence)[None], _one(self.present.any(0)), tuple(of))

    def less(self, i: int) -> Aligned:
        """Every row after row ``i``, minus that row."""
        of = (
            Several(
                d.values[i + 1 :] - d.values[i],
                d.influence[i + 1 :] - d.influence[i],
                d.has[i + 1 :] & d.has[i],
            )
            for d in self.by_data
        )
        return Aligned(
            self.influence[i + 1 :] - self.influence[i], self.present[i + 1 :] | self.present[i], tuple(of)
        )


def _one(flags: Any) -> Bools:
    return np.asarray(flags, bool)[None]


def align(rows: Sequence[RowMean]) -> Aligned:
    """Rows with values seed by seed, all of them on the same data sets."""
    scores = [dict(r.clusters or {}) for r in rows]
    every = _union([s.names for row in scores for s in row.values()])
    influence, present = np.zeros((len(rows), len(every))), np.zeros((len(rows), len(every)), bool)
    for i, row in enumerate(scores):
        for s in row.values():
            at = np.searchsorted(every, s.names)
            influence[i, at] += s.influence.mean(0)
            present[i, at] = True
    exact = [not r.sources for r in rows]
    seeded = () if all(exact) else scores[0].keys()
    return Aligned(influence, present, tuple(_several([row[c] for row in scores], exact) for c in seeded))


def _union(names: Sequence[Names]) -> Names:
    first = names[0]
    if all(n is first or np.array_equal(n, first) for n in names):
        return first
    return np.unique(np.concatenate(names))


def _several(scores: Sequence[SeedScores], exact: Sequence[bool]) -> Several:
    names = _union([s.names for s in scores])
    seeds = np.unique(np.concatenate([s.seeds for s in scores]))
    shape = len(scores), len(seeds)
    values, influence, has = np.zeros(shape), np.zeros((*shape, len(names))), np.zeros(shape, bool)
    for i, (s, fixed) in enumerate(zip(scores, exact, strict=True)):
        at = np.searchsorted(seeds, s.seeds)
        has[i, slice(None) if fixed else at] = True
        if not fixed:
            values[i, at] = errors(s.values)
            influence[i][np.ix_(at, np.searchsorted(names, s.names))] = errors(s.influence)
    return Several(values, influence, has)


def errors(x: Array, axis: int = 0) -> Array:
    """What each observation along an axis brings into the error of their mean: squares sum to its variance.

    Errors of two means over different seeds that share some may be subtracted seed by seed: what both draw
    of a shared seed cancels as far as both count it, and the other seeds stay. 0 for a single observation.
    """
    n = x.shape[axis]
    return np.asarray((x - x.mean(axis, keepdims=True)) / math.sqrt(max(n * (n - 1), 1)))


def by_example(a: Aligned) -> tuple[Array, Array]:
    """Variance over examples of each contrast, and its degrees of freedom: (k,) both.

    Those are G - 1 for clusters that contribute alike, and fewer where few of them contribute most (a small
    data set beside large ones; rare errors): 2 over the squared relative error of the variance, which the
    fourth powers estimate. With G - 1 a data set of 6 to 12 clusters beside larger ones makes the error .08
    to .10 at 5 %.
    """
    square = np.square(a.influence)
    n, var = a.present.sum(1), square.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.square(square).sum(1) / np.square(var) - 1 / n
        df = np.minimum(n - 1, 2 / np.maximum(spread, 1e-12))
    return var, np.where(var > 0, df, np.maximum(n - 1.0, 1.0))  # of no examples: a variance of 0


def beyond_examples(d: Several) -> tuple[Array, Array, Array]:
    """What seeds add on one data set: the rest of their variance, all of it, its degrees of freedom: (k,)
    each.

    All are NaN where rows share fewer than two seeds. Degrees of freedom are those of the shared ones, though
    a row may have more.
    """
    n = d.has.sum(1)
    df = np.where(n < 2, np.nan, n - 1.0)
    total = np.where(n < 2, np.nan, np.square(d.values).sum(1))
    return total - np.square(d.influence).sum((1, 2)), total, df


def variance(a: Aligned) -> tuple[Array, Array]:
    """Of each contrast, over examples and seeds, and its degrees of freedom: (k,) both."""
    over_examples, df = by_example(a)
    noise, rest = np.square(over_examples) / df, np.zeros(len(df))
    for d in a.by_data:
        more, total, df_seeds = beyond_examples(d)
        rest, noise = rest + more, noise + np.square(total) / df_seeds
    found = over_examples + np.maximum(rest, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return found, np.square(found) / noise


def sources(a: Aligned) -> list[Source]:
    """The sources of chance in the one contrast that ``a`` holds; NaN where rows share no two seeds."""
    found = [Source(float(v[0]), float(df[0])) for v, df in [by_example(a)]]
    for d in a.by_data:
        rest, total, df = (float(x[0]) for x in beyond_examples(d))
        if total != 0:
            found.append(Source(rest, df, total))
    return found
