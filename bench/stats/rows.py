"""A row's mean over data sets, with each source of chance that is in it: seeds, and examples where kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.stats.estimates import Array


@dataclass(frozen=True, slots=True)
class Source:
    """One independent source of chance in a weighted mean: the variance that it adds, and how well that is
    known.

    ``df``: degrees of freedom of the estimate of ``variance``.
    """

    variance: float
    df: float


@dataclass(frozen=True, slots=True, eq=False)
class ClusterScores:
    """What each cluster of test examples contributes to one value (of one seed on one data set).

    ``names``: (G,) distinct. ``influence``: (G,) the sum of (value - mean) / n over the cluster's examples,
    so that all of them sum to 0.
    """

    names: npt.NDArray[np.str_]
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
    def mean(cls, scores: Sequence[ClusterScores]) -> ClusterScores:
        """Of a value that is the mean of several (the tasks of a data set); a cluster may be in some only."""
        names, at = np.unique(np.concatenate([s.names for s in scores]), return_inverse=True)
        each = np.concatenate([s.influence for s in scores])
        return cls(names, _sums(at, each / len(scores), len(names)))


def _sums(at: npt.NDArray[np.intp], values: Array, n: int) -> Array:
    return np.asarray(np.bincount(at, weights=values, minlength=n), float)


@dataclass(frozen=True, slots=True, eq=False)
class RowMean:
    """A row's mean over data sets with what is uncertain in it.

    ``sources``: what seeds add, one a data set (what they add beyond the examples where ``clusters`` is
    given); empty for a deterministic row. ``clusters``: a cluster of examples -> its influence on the mean,
    summing to about 0; None where no scores by example are kept. ``known``: False if some data set has a
    single seed of a row that is not deterministic, so that its variance is not known. ``why``: a reason why
    the row cannot be compared, or "".
    """

    mean: float
    sources: tuple[Source, ...]
    clusters: Mapping[str, float] | None
    known: bool
    why: str = ""


def row_mean(
    values: Mapping[str, Sequence[float]],
    weights: Mapping[str, float],
    *,
    exact: bool = False,
    units: Mapping[str, Sequence[ClusterScores]] | None = None,
    log: bool = False,
) -> RowMean:
    """The weighted mean over data sets of a row's mean over seeds.

    Without ``units`` its variance is the sum over data sets c of w_c² s_c² / S_c, s_c² being the variance
    over the S_c seeds there: seeds are independent between data sets (`bench.contract.Task.stream`), and no
    variance is pooled, neither over data sets nor over rows. It speaks of these test sets. With ``units`` it
    speaks of examples like these: the variance by cluster of examples (`contrast`) plus what seeds add beyond
    it.

    Args:
        values: data set -> the row's value of each seed, averaged over the tasks of that data set; no NaN.
        weights: data set -> its weight in the mean; they sum to 1.
        exact: the row is deterministic: of each data set the first value is taken, and seeds add nothing.
        units: data set -> for each seed, in the order of ``values``, what clusters of examples contribute.
        log: the mean of the natural logarithms of the values (a contrast is then the logarithm of a ratio).
    """
    if log and any(v <= 0 for row in values.values() for v in row):
        return RowMean(float("nan"), (), None, False, "a value that is not positive has no logarithm")
    sources: list[Source] = []
    clusters: dict[str, float] | None = None if units is None else {}
    mean, known = 0.0, True
    for name, weight in weights.items():
        raw = np.asarray(values[name][:1] if exact else values[name], float)
        v, n = np.log(raw) if log else raw, len(raw)
        mean += weight * float(v.mean())
        shared = 0.0
        if units is not None and clusters is not None:
            each = ClusterScores.mean(units[name][:n])
            for g, u in zip(each.names.tolist(), each.influence.tolist(), strict=True):
                clusters[g] = clusters.get(g, 0.0) + weight * u
        if n < 2:
            known = known and exact
        else:
            sources.append(Source(weight**2 * max(float(v.var(ddof=1)) - shared, 0.0) / n, n - 1))
    return RowMean(mean, tuple(sources), clusters, known)
