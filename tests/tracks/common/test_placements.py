"""The area under the ROC curve as a mean over examples: placements against DeLong's pairs, one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score

from bench.tracks.common.placements import by_cluster, placements


def kernel(y, s):
    """(n1, n0): 1 where the positive ranks above the negative, one half for a tie."""
    a, b = s[y == 1][:, None], s[y == 0][None]
    return (a > b) + 0.5 * (a == b)


def data(seed, n=60, levels=12):
    """Labels, two rows' scores with many ties, and clusters of unequal size that hold both labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    y[:2] = 0, 1
    s = np.round((rng.normal(size=(2, n)) + 0.8 * y) * levels / 4) / levels
    return y, s, rng.integers(0, n // 4, n) ** 2


@pytest.mark.parametrize("seed", range(5))
def test_mean_is_the_area_and_placements_are_those_of_all_pairs(seed):
    y, (s, _), _ = data(seed)
    v, k = placements(y, s), kernel(y, s)
    assert v.mean() == pytest.approx(roc_auc_score(y, s))
    n, area = len(y), k.mean()
    assert v[y == 1] == pytest.approx(area + n / (y == 1).sum() * (k.mean(1) - area))
    assert v[y == 0] == pytest.approx(area + n / (y == 0).sum() * (k.mean(0) - area))


@pytest.mark.parametrize("seed", range(5))
def test_covariance_of_two_areas_is_delongs(seed):
    y, s, _ = data(seed)
    n, n1, n0 = len(y), int(y.sum()), int((1 - y).sum())
    k = [kernel(y, x) for x in s]
    s10, s01 = np.cov([x.mean(1) for x in k]), np.cov([x.mean(0) for x in k])
    u = np.array([(v - v.mean()) / n for v in (placements(y, x) for x in s)])
    one, zero = u[:, y == 1], u[:, y == 0]
    found = n1 / (n1 - 1) * one @ one.T + n0 / (n0 - 1) * zero @ zero.T
    assert found == pytest.approx(s10 / n1 + s01 / n0)


@pytest.mark.parametrize("seed", range(5))
def test_variance_over_clusters_is_obuchowskis(seed):
    """His S10 / n1 + S01 / n0 + 2 S11 / (n1 n0), as sums over clusters of the placements of their members."""
    y, (s, _), c = data(seed)
    k = kernel(y, s)
    n1, n0, area = int(y.sum()), int((1 - y).sum()), k.mean()
    s10 = s01 = s11 = 0.0
    for g in np.unique(c):
        ones = (k.mean(1) - area)[c[y == 1] == g].sum()
        zeros = (k.mean(0) - area)[c[y == 0] == g].sum()
        s10, s01, s11 = s10 + ones**2 / n1, s01 + zeros**2 / n0, s11 + ones * zeros
    groups = len(np.unique(c))
    names, v = by_cluster(placements(y, s), c)
    assert names.tolist() == np.unique(c).tolist()
    assert v.mean() == pytest.approx(area)
    # One factor G / (G - 1) for all three sums; his are by the clusters that hold a positive, a negative,
    # or any.
    expected = groups / (groups - 1) * (s10 / n1 + s01 / n0 + 2 * s11 / (n1 * n0))
    assert v.var(ddof=1) / groups == pytest.approx(expected)


def test_delongs_variance_is_that_of_repeated_samples():
    rng, runs = np.random.default_rng(7), 4000
    y = np.repeat([1, 0], [40, 80])
    v = np.array([placements(y, rng.normal(size=120) + y) for _ in range(runs)])
    seen = v.mean(1).var()
    expected = (np.square(v - v.mean(1, keepdims=True)).sum(1) / 120**2).mean()
    assert expected == pytest.approx(seen, rel=0.06)


@given(arrays(np.int64, 30, elements=st.integers(0, 4)), arrays(np.int64, 30, elements=st.integers(0, 1)))
def test_any_ties(s, y):
    y[0], y[1] = 0, 1
    assert placements(y, s).mean() == pytest.approx(kernel(y, s).mean())


def test_what_cannot_be_ranked_is_nan():
    assert np.isnan(placements([0, 1, 1], [0.1, np.nan, 0.3])).all()


def test_without_repeats_a_cluster_is_its_example():
    v = np.array([3.0, 1.0, 2.0])
    names, found = by_cluster(v, ["c", "a", "b"])
    assert names.tolist() == ["a", "b", "c"]
    assert found.tolist() == pytest.approx([1.0, 2.0, 3.0])
