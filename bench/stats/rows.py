"""A row's mean over data sets, with each source of chance that is in it: seeds, and examples where kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.stats.estimates import Array

Names = npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Source:
    """One independent source of chance in a mean: the variance that it adds, and how well that is known.

    ``df``: degrees of freedom of the estimate. ``total``: given for what seeds add beyond examples, which is
    the rest of the seeds' variance, ``total``, after that of the examples is taken off; such a rest may come
    out negative, and only the sum of all rests is cut at 0.
    """

    variance: float
    df: float
    total: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ClusterScores:
    """What each cluster of test examples contributes to one value (of one seed on one data set).

    ``names``: (G,) distinct, ascending. ``influence``: (G,) the sum of (value - mean) / n over the cluster's
    examples, so that all of them sum to 0.
    """

    names: Names
    influence: Array

    @classmethod
    def of(cls, values: npt.ArrayLike, clusters: npt.ArrayLike) -> ClusterScores:
        """From one value an example, (n,), and the cluster of each, (n,); without clusters these are the ids.

        A cluster of one name is one cluster in all data sets, so names that only by chance agree (row
        numbers) are to be made different by whoever calls this.
        """
        v = np.asarray(values, float)
        names, at = np.unique(np.asarray(clusters, str), return_inverse=True)
        return cls(names, _sums(at, (v - v.mean()) / len(v), len(names)))

    @classmethod
    def none(cls) -> ClusterScores:
        """No examples at all: contrasts of rows are then taken seed by seed, and speak of these test sets."""
        return cls(np.zeros(0, str), np.zeros(0))

    def log(self, value: float) -> ClusterScores:
        """The same of the value's logarithm: an example's influence is that on the value, over the value."""
        return ClusterScores(self.names, self.influence / value)

    @classmethod
    def mean(cls, scores: Sequence[ClusterScores]) -> ClusterScores:
        """Of a value that is the mean of several (the tasks of a data set); a cluster may be in some only."""
        names, at = np.unique(np.concatenate([s.names for s in scores]), return_inverse=True)
        each = np.concatenate([s.influence for s in scores])
        return cls(names, _sums(at, each / len(scores), len(names)))


def _sums(at: npt.NDArray[np.intp], values: Array, n: int) -> Array:
    return np.asarray(np.bincount(at, weights=values, minlength=n), float)


@dataclass(frozen=True, slots=True, eq=False)
class SeedScores:
    """A row on one data set, seed by seed, every number times the weight of the data set in the mean.

    ``seeds``: (S,) distinct, ascending. ``values``: (S,) the row's. ``influence``: (S, G) what the clusters
    ``names``, (G,), contribute, 0 where a seed was not tested on one; times the root of G_s / (G_s - 1), G_s
    being the clusters of that seed, since their mean is taken off, so that squares may be summed.
    """

    seeds: npt.NDArray[np.int64]
    values: Array
    names: Names
    influence: Array


@dataclass(frozen=True, slots=True, eq=False)
class RowMean:
    """A row's mean over data sets with what is uncertain in it.

    ``sources``: the variance over seeds, one a data set; empty for a deterministic row. ``clusters``: data
    set -> the values of single seeds, and what clusters of examples contribute to them, of which there may be
    none; None where rows are independent samples. With them it is the contrast of several rows that says what
    seeds add, beyond examples if there are any (`bench.stats.examples`).
    ``known``: False if some data set has a single seed of a row that is not deterministic, so that its
    variance is not known. ``why``: a reason why the row cannot be compared, or "".
    """

    mean: float
    sources: tuple[Source, ...]
    clusters: Mapping[str, SeedScores] | None
    known: bool
    why: str = ""

    @property
    def drawn(self) -> bool:
        """Whether anything in it is a matter of chance: seeds, or test examples with scores."""
        return bool(self.sources) or any(s.influence.size for s in (self.clusters or {}).values())


def row_mean(
    values: Mapping[str, Sequence[float]],
    weights: Mapping[str, float],
    *,
    exact: bool = False,
    units: Mapping[str, Sequence[ClusterScores]] | None = None,
    seeds: Mapping[str, Sequence[int]] | None = None,
) -> RowMean:
    """The weighted mean over data sets of a row's mean over seeds.

    Without ``units`` its variance is the sum over data sets c of w_c² s_c² / S_c, s_c² being the variance
    over the S_c seeds there: seeds are independent between data sets (`bench.contract.Task.stream`), and no
    variance is pooled, neither over data sets nor over rows. It speaks of these test sets. With ``units`` a
    contrast is taken seed by seed and speaks of examples like these; with `ClusterScores.none` of every seed
    it is taken seed by seed and speaks of these test sets.

    Args:
        values: data set -> the row's value of each seed, averaged over the tasks of that data set; no NaN.
        weights: data set -> its weight in the mean; they sum to 1.
        exact: the row is deterministic: of each data set the first value is taken, and seeds add nothing.
        units: data set -> for each seed, in the order of ``values``, what clusters of examples contribute.
        seeds: data set -> the seeds of ``values``; without it they are 0, 1, … Rows are compared seed by seed
            where units are kept, so this is needed where a row lacks one.
    """
    sources: list[Source] = []
    clusters: dict[str, SeedScores] | None = None if units is None else {}
    mean, known = 0.0, True
    for name, weight in weights.items():
        v = np.asarray(values[name][:1] if exact else values[name], float)
        n = len(v)
        mean += weight * float(v.mean())
        if n > 1:
            sources.append(Source(weight**2 * float(v.var(ddof=1)) / n, n - 1))
        known = known and (exact or n > 1)
        if units is not None and clusters is not None:
            numbers = np.asarray(range(n) if seeds is None else seeds[name][:n])
            clusters[name] = _by_seed(numbers, weight * v, units[name][:n], weight)
    return RowMean(mean, tuple(sources), clusters, known)


def _by_seed(
    seeds: npt.NDArray[np.int64], values: Array, units: Sequence[ClusterScores], weight: float
) -> SeedScores:
    names = np.unique(np.concatenate([u.names for u in units]))
    influence = np.zeros((len(units), len(names)))
    for at, u in enumerate(units):
        g = len(u.names)
        influence[at, np.searchsorted(names, u.names)] = u.influence * weight * math.sqrt(g / max(g - 1, 1))
    order = np.argsort(seeds)
    return SeedScores(seeds[order], values[order], names, influence[order])
