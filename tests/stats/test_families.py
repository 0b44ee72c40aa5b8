"""Corrections for several comparisons: Holm's by hand, Dunnett's against published tables and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import stats
from bench.stats.families import Family


def test_holm_by_hand_and_nan_is_not_a_comparison():
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    adjusted = stats.holm([0.01, math.nan, 0.03])
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.03])
    assert math.isnan(adjusted[1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p):
    q = stats.holm(p)
    assert (q >= np.array(p)).all()
    assert (q <= 1).all()
    assert (np.diff(q[np.argsort(p, kind="stable")]) >= 0).all()


def test_holm_over_pairs_takes_each_pair_once():
    p = np.full((3, 3), np.nan)
    for i, j, x in ((0, 1, 0.01), (0, 2, 0.04), (1, 2, 0.03)):
        p[i, j] = p[j, i] = x
    q = stats.holm_pairs(p)
    assert q[[0, 0, 1], [1, 2, 2]] == pytest.approx([0.03, 0.06, 0.06])
    assert np.array_equal(q, q.T, equal_nan=True)


#: Two-sided 5 % points for comparisons with a control, equal groups, one common variance estimate; Dunnett,
#: Biometrics 20 (1964), table II: degrees of freedom -> k = 1 to 9 comparisons.
PUBLISHED = {
    5: [2.57, 3.03, 3.29, 3.48, 3.62, 3.73, 3.82, 3.90, 3.97],
    10: [2.23, 2.57, 2.76, 2.89, 2.99, 3.07, 3.14, 3.19, 3.24],
    20: [2.09, 2.38, 2.54, 2.65, 2.73, 2.80, 2.86, 2.90, 2.95],
    math.inf: [1.96, 2.21, 2.35, 2.44, 2.51, 2.57, 2.61, 2.65, 2.69],
}


@pytest.mark.parametrize("df", PUBLISHED)
def test_dunnetts_published_table(df):
    for k, expected in enumerate(PUBLISHED[df], 1):
        one = np.ones(k)
        family = Family(math.sqrt(0.5) * one, df * one, one, df, math.inf * one)
        assert float(stats.t_quantile(df, 1 - family.critical(0.05))) == pytest.approx(expected, abs=0.006)


def test_unequal_variances_against_simulation_of_all_estimates():
    """Eight rows and a reference whose variances are all estimated, apart from each other."""
    rng, n = np.random.default_rng(0), 100_000
    var, of, df_of, df = rng.exponential(size=8) + 0.1, 0.7, 6, np.linspace(3, 12, 8)
    t = np.abs(rng.normal(size=(n, 8)) * np.sqrt(var) - rng.normal(size=(n, 1)) * math.sqrt(of))
    t /= np.sqrt(of * rng.chisquare(df_of, (n, 1)) / df_of + var * rng.chisquare(df, (n, 8)) / df)
    share = of / (of + var)
    joint = 1 / (share**2 / df_of + (1 - share) ** 2 / df)
    family = Family(np.sqrt(share), joint, share, df_of, df)
    for p in (0.1, 0.02, 0.005):
        seen = (t > stats.t_quantile(joint, 1 - p)).any(1).mean()
        assert family.adjust(p) == pytest.approx(seen, abs=4 * math.sqrt(seen / n))
    assert family.adjust(family.critical(0.05)) == pytest.approx(0.05, rel=1e-6)


def rows(rng, k, seeds=3, mean=0.0):
    data = dict.fromkeys("abc", 1 / 3)
    return [stats.row_mean({c: rng.normal(mean, 1, seeds) for c in data}, data) for _ in range(k)]


def test_a_family_of_one_is_the_plain_test():
    a, b = rows(np.random.default_rng(1), 2)
    (found, none) = stats.dunnett([a, b], 1)
    c = stats.contrast([(1, a), (-1, b)])
    assert none is None
    assert found.contrast == c
    assert (found.half, found.adjusted) == pytest.approx((c.half, c.p), rel=0.02)


def test_correction_lies_between_none_and_holms_first_step_and_fits_its_interval():
    every = rows(np.random.default_rng(2), 7)
    for a in stats.dunnett(every, 3):
        if a is not None:
            assert a.contrast.p <= a.adjusted <= min(6 * a.contrast.p, 1)
            assert a.half > a.contrast.half
            assert (abs(a.contrast.diff) > a.half) == (a.adjusted < 0.05)


def test_deterministic_rows_and_such_with_one_seed_are_no_part_of_the_family():
    rng = np.random.default_rng(3)
    data = dict.fromkeys("abc", 1 / 3)
    exact = [stats.row_mean({c: [v] for c in data}, data, exact=True) for v in (0.0, 5.0)]
    lone = stats.row_mean({c: [1.0] for c in data}, data)
    found = stats.dunnett([*exact, lone, *rows(rng, 2)], 0)
    assert (found[1].half, found[1].adjusted) == (None, 0.0)
    assert (found[2].half, found[2].adjusted) == (None, None)
    alone = stats.dunnett([exact[0], *rows(np.random.default_rng(3), 2)], 0)
    assert [f.adjusted for f in found[3:]] == pytest.approx([f.adjusted for f in alone[1:]])
    assert stats.dunnett(exact, 0)[1].adjusted == 0.0


def test_with_scores_by_example_rows_that_share_examples_need_less_correction():
    rng = np.random.default_rng(4)
    ids, base = np.arange(60), rng.normal(0, 1, 60)

    def row(own):
        v = own + rng.normal(0, 0.05, (3, 60))
        return stats.row_mean(
            {"x": v.mean(1)}, {"x": 1.0}, units={"x": [stats.ClusterScores.of(s, ids) for s in v]}
        )

    every = [row(base), *(row(rng.normal(0.1, 0.05, 60)) for _ in range(5))]
    found = [a for a in stats.dunnett(every, 0) if a is not None]
    assert all(a.contrast.p <= a.adjusted < 2 * a.contrast.p for a in found)  # nearly one and the same test
