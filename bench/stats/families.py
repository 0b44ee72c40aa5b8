"""Corrections for several comparisons: Holm's, for claims and for all pairs; Dunnett's, against one row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.stats.contrasts import Contrast, contrast, satterthwaite
from bench.stats.estimates import LEVEL, Array, t_quantile
from bench.stats.examples import align
from bench.stats.rows import RowMean

# Above this correlation of two comparisons the sum over nodes below would be too coarse; less is
# conservative.
_CLOSEST = 0.95
# The range of uncorrected p (.00005 to .99, as `_loglog`) in which the correction is integrated; below it the
# correction stays as it is there.
_LOW, _HIGH = -10.0, 1.5


def holm(p: npt.ArrayLike) -> Array:
    """Holm's adjusted p-values, in the order given; NaN (a comparison that could not be made) stays NaN.

    Holm (1979): sort, multiply the i-th smallest of m by m − i + 1, keep the running maximum, cap at 1.
    """
    p = np.asarray(p, float)
    out = np.full(p.shape, np.nan)
    made = np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(p[made], kind="stable")]
    out[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return out


def holm_pairs(p: Array) -> Array:
    """Holm's adjusted p of all pairs of rows, (k, k) as `bench.stats.all_pairs` gives them."""
    out = np.full(p.shape, np.nan)
    i, j = np.triu_indices(len(p), 1)
    out[i, j] = out[j, i] = holm(p[i, j])
    return out


class Against(NamedTuple):
    """A row minus the reference, as one of a family of such comparisons.

    ``half``: half-width of the simultaneous 95 % interval; ``adjusted``: p after Dunnett's correction. Both
    are None where the comparison was not judged, ``half`` also between two deterministic rows.
    """

    contrast: Contrast
    half: float | None
    adjusted: float | None


def dunnett(rows: Sequence[RowMean], reference: int) -> list[Against | None]:
    """Every row against the reference at 5 % for all of them together; None in the place of the reference.

    Dunnett's comparison with a control for unequal variances and degrees of freedom: the chance that none of
    the t ratios passes its own two-sided bound, at one common uncorrected p, is integrated numerically with
    the correlation of the ratios (all share the reference's mean) and of their standard errors (all share its
    variance estimate). Variance ratios are taken as estimated.
    """
    found = [
        None if i == reference else contrast([(1, r), (-1, rows[reference])]) for i, r in enumerate(rows)
    ]
    tested = [i for i, c in enumerate(found) if c is not None and c.se is not None]
    family = family_of(rows, reference, [(i, c) for i in tested if (c := found[i]) is not None])
    bound = family.critical(1 - LEVEL) if tested else math.nan
    out: list[Against | None] = []
    for c in found:
        if c is None:
            out.append(None)
        elif c.p is None or c.se is None or c.df is None:
            out.append(Against(c, None, c.p))
        else:
            half = float(t_quantile(c.df, 1 - bound)) * c.se
            out.append(Against(c, half, family.adjust(c.p)))
    return out


class Family:
    """Dunnett's correction for one family of comparisons, as a map from uncorrected p to corrected p.

    Args:
        loadings: (k,) correlation of two ratios i and j is loadings[i] * loadings[j].
        df: (k,) degrees of freedom of each ratio.
        share: (k,) the part of each estimated variance that is the reference's own, the same estimate in all.
        df_share: degrees of freedom of that part.
        df_rest: (k,) degrees of freedom of the rest.
    """

    def __init__(
        self,
        loadings: npt.ArrayLike,
        df: npt.ArrayLike,
        share: npt.ArrayLike,
        df_share: float,
        df_rest: npt.ArrayLike,
    ) -> None:
        self._load = np.minimum(np.asarray(loadings, float), math.sqrt(_CLOSEST))
        self._df, self._share = np.asarray(df, float), np.asarray(share, float)
        z, self._weight = np.polynomial.hermite_e.hermegauss(11)
        self._weight = self._weight / self._weight.sum()
        shared = _scaled_chi2(z, np.array([df_share]))
        own = _scaled_chi2(z, np.asarray(df_rest, float))
        # The estimated standard error over the true one: (nodes of the shared estimate, of the own one, k).
        self._se = np.sqrt(self._share * shared[:, None] + (1 - self._share) * own[None])

    @cached_property
    def _curve(self) -> Any:
        from scipy.interpolate import PchipInterpolator

        at = np.linspace(_LOW, _HIGH, 14)
        found = np.minimum([max(self.chance(p), p) for p in _back(at)], 1 - 1e-12)
        return PchipInterpolator(at, _loglog(found))

    def adjust(self, p: float) -> float:
        """The chance that, with all differences 0, some comparison has an uncorrected p as small as this.

        It is read off a curve through 14 points, which is within .1 % of `chance`.
        """
        x = float(_loglog(p))
        below = min(x - _LOW, 0.0)
        return float(_back(self._curve(max(x, _LOW)) + below)) if x < _HIGH else 1.0

    def critical(self, alpha: float) -> float:
        """The uncorrected p that corresponds to a corrected one of ``alpha``."""
        return float(_back(self._curve.solve(float(_loglog(alpha)), extrapolate=False)[0]))

    def chance(self, p: float) -> float:
        """The same, integrated anew: the chance that some ratio is beyond its own quantile of level 1 - p."""
        from scipy.special import ndtr

        bound = t_quantile(self._df, 1 - p) * self._se
        rest = np.sqrt(1 - np.square(self._load))
        z = np.arange(0, 6.5, 0.25)[:, None, None, None]
        weight = np.exp(-np.square(z.ravel()) / 2) * np.where(z.ravel() == 0, 1, 2)
        within = ndtr((bound - self._load * z) / rest) - ndtr((-bound - self._load * z) / rest)
        # The own estimates are independent of each other, given the shared one and the reference's mean.
        own = np.einsum("zsok,o->zsk", within, self._weight)
        return float(1 - weight @ own.prod(2) @ self._weight / weight.sum())


def _loglog(p: npt.ArrayLike) -> Array:
    """log(-log(1 - p)), in which the correction of k independent comparisons is a shift by log k."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(-np.log1p(-np.asarray(p, float))), float)


def _back(x: npt.ArrayLike) -> Array:
    return np.asarray(-np.expm1(-np.exp(np.asarray(x, float))), float)


def _scaled_chi2(z: Array, df: Array) -> Array:
    """Values of chi-squared / df at the normal quantiles ``z``: (nodes, k)."""
    from scipy.special import gammainccinv, ndtr

    d = np.minimum(df, 1e8)[None]
    return np.asarray(gammainccinv(d / 2, ndtr(-z)[:, None]) * 2 / d, float)


def family_of(rows: Sequence[RowMean], reference: int, tested: Sequence[tuple[int, Contrast]]) -> Family:
    """Comparisons with the reference: of each the row, and its contrast, which has a standard error."""
    se, df = np.array([c.se for _, c in tested], float), np.array([c.df for _, c in tested], float)
    base = rows[reference]
    if base.clusters is not None:
        load = _one_factor(_correlation([rows[i] for i, _ in tested], base, se)) if tested else se
        return Family(load, df, 0 * se, math.inf, df)
    shared, df_shared = satterthwaite(base.sources)
    share = shared / np.square(se)
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = np.square(1 - share) / (1 / df - np.square(share) / df_shared)
    return Family(np.sqrt(share), df, share, df_shared, np.where(rest > 0, rest, np.inf))


def _correlation(rows: Sequence[RowMean], base: RowMean, se: Array) -> Array:
    """Of the differences to ``base``, (k, k), through the examples; that through seeds is left out, as is
    what their standard errors share, which makes the bounds a little wider than need be.
    """
    u = align([base, *rows]).less(0).influence
    return np.asarray(u @ u.T / np.outer(se, se))


def _one_factor(correlation: Array) -> Array:
    """Loadings l, within [0, 1], of which the products l_i l_j are near the correlations (least squares)."""
    r = correlation - np.diag(np.diag(correlation))
    k = len(r)
    if k < 2:
        return np.zeros(k)
    load = np.full(k, math.sqrt(max(r.sum() / (k * (k - 1)), 0.0)))
    for _ in range(50):
        for i in range(k):
            others = np.delete(load, i)
            norm = float(others @ others)
            load[i] = min(max(float(np.delete(r[i], i) @ others) / norm, 0.0), 1.0) if norm else 0.0
    return load
