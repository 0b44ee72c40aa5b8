"""Scores by example for the area under the ROC curve, which is no mean over examples by itself.

The area is a mean over pairs of a positive and a negative. What a single example contributes to it is its
*placement* (the share of the other class that it ranks right), and the variance of the area follows from the
placements of both classes (DeLong, DeLong and Clarke-Pearson, Biometrics 1988; for examples in clusters
Obuchowski, Biometrics 1997). Here they are written as one value an example whose mean is the area, so that
whatever works on scores by example works on areas too: `bench.contract.Units`, and the cluster-robust
variance of `bench.stats`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def placements(labels: npt.ArrayLike, scores: npt.ArrayLike) -> Array:
    """One value an example, (n,), whose mean is the area A under the ROC curve.

    With n1 positives and n0 negatives, a positive that ranks above a share V of the negatives has the value
    A + (n / n1) (V - A), and a negative below a share V of the positives A + (n / n0) (V - A); a tie counts
    one half. The sum of the squares of (value - A) / n is DeLong's variance of the area, but for his factors
    n1 / (n1 - 1) and n0 / (n0 - 1), and the sum over examples of the product of two rows' is his covariance.
    All values are NaN if a score is not finite, as the area is then.

    Args:
        labels: (n,) 0 or 1, both present.
        scores: (n,) the higher, the likelier is label 1.
    """
    positive, s = np.asarray(labels) == 1, np.asarray(scores, float)
    if not np.isfinite(s).all():
        return np.full(s.shape, np.nan)
    ones, zeros = np.sort(s[positive]), np.sort(s[~positive])
    n, n1, n0 = len(s), len(ones), len(zeros)
    share = np.empty(n)
    share[positive] = _below(zeros, s[positive]) / n0
    share[~positive] = 1 - _below(ones, s[~positive]) / n1
    area = float(share[positive].mean())
    return np.asarray(area + np.where(positive, n / n1, n / n0) * (share - area), float)


def _below(ordered: Array, x: Array) -> Array:
    """How many of ``ordered`` are below each x; those equal to it count one half."""
    both = np.searchsorted(ordered, x, "left") + np.searchsorted(ordered, x, "right")
    return np.asarray(both / 2, float)


def by_cluster(values: npt.ArrayLike, clusters: npt.ArrayLike) -> tuple[npt.NDArray[Any], Array]:
    """The clusters in ascending order, (G,), and one value a cluster, (G,), whose mean is that of ``values``.

    A cluster's value is m + (G / n) × (the sum of value - m over its examples), m being the mean of all n:
    its distance from m, divided by G, is what the cluster contributes to the mean. The variance of the mean
    of these G values is thereby the cluster-robust one of the mean of ``values``, and Obuchowski's for
    `placements`. A file of units is as many times smaller as a cluster has examples.

    Args:
        values: (n,) one value an example.
        clusters: (n,) the cluster of each example: a user, a day, a family.
    """
    v = np.asarray(values, float)
    names, at = np.unique(np.asarray(clusters), return_inverse=True)
    mean = v.mean()
    total = np.bincount(at, weights=v - mean, minlength=len(names))
    return names, np.asarray(mean + len(names) / len(v) * total, float)
