"""Rows that share what a seed draws, without scores by example: their differences are taken seed by seed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats as ss

from bench import stats


def row(values, seeds=None, exact=False):
    """A row of a track that pairs seeds: data set -> one value a seed."""
    units = {name: [stats.ClusterScores.none()] * len(v) for name, v in values.items()}
    weights = dict.fromkeys(values, 1 / len(values))
    numbers = None if seeds is None else dict.fromkeys(values, seeds)
    return stats.row_mean(values, weights, exact=exact, units=units, seeds=numbers)


def minus(a, b):
    return stats.contrast([(1, a), (-1, b)])


A, B = [0.71, 0.74, 0.72, 0.69, 0.78], [0.65, 0.70, 0.66, 0.66, 0.71]


def test_on_one_data_set_it_is_scipys_paired_t_with_its_interval():
    c, theirs = minus(row({"x": A}), row({"x": B})), ss.ttest_rel(A, B)
    low, high = theirs.confidence_interval()
    assert (c.diff, c.p, c.df) == pytest.approx((np.mean(A) - np.mean(B), theirs.pvalue, 4))
    assert (c.diff - c.half, c.diff + c.half) == pytest.approx((low, high))
    assert c.against(0.05) == pytest.approx(ss.ttest_rel(np.array(A) - 0.05, B).pvalue)


def test_over_data_sets_variances_of_differences_are_summed():
    d = np.subtract(A, B)
    other = np.array([0.02, 0.00, 0.05])
    c = minus(row({"x": A, "y": other}), row({"x": B, "y": 0 * other}))
    parts = np.array([d.var(ddof=1) / 5, other.var(ddof=1) / 3]) / 4
    assert c.diff == pytest.approx((d.mean() + other.mean()) / 2)
    assert c.se == pytest.approx(math.sqrt(parts.sum()))
    assert c.df == pytest.approx(parts.sum() ** 2 / (parts[0] ** 2 / 4 + parts[1] ** 2 / 2))


def test_seeds_are_paired_by_their_number():
    a, b = row({"x": A}), row({"x": A[::-1]}, seeds=[4, 3, 2, 1, 0])
    assert minus(a, b).p == 1
    assert minus(row({"x": A}), row({"x": B}, seeds=[5, 6, 7, 8, 9])).why == "fewer than 2 shared seeds"


def test_a_row_with_fewer_seeds_has_the_degrees_of_freedom_of_those_that_are_shared():
    c = minus(row({"x": A}), row({"x": B[:3]}))
    assert c.diff == pytest.approx(np.mean(A) - np.mean(B[:3]))
    assert c.df == pytest.approx(2)


def test_a_single_seed_cannot_be_compared():
    assert minus(row({"x": A[:1]}), row({"x": B[:1]})).why == "fewer than 2 seeds"


def test_deterministic_rows_add_nothing_and_two_of_them_are_equal_or_not():
    fixed, other = row({"x": [0.65]}, exact=True), row({"x": [0.66]}, exact=True)
    assert minus(row({"x": A}), fixed).p == pytest.approx(ss.ttest_1samp(A, 0.65).pvalue)
    c = minus(fixed, other)
    assert (c.p, c.half, c.why) == (0, None, "exact values")
    assert minus(fixed, row({"x": [0.65]}, exact=True)).p == 1


def test_all_pairs_have_the_p_of_their_contrast():
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 1, (2, 5))
    rows = [row(dict(zip("xy", luck + rng.normal(0.2 * i, 0.1, (2, 5)), strict=True))) for i in range(3)]
    rows += [row({"x": [v], "y": [v]}, exact=True) for v in (0.1, 0.2)]
    p = stats.all_pairs(rows)
    for i, a in enumerate(rows):
        for j, b in enumerate(rows[:i]):
            assert p[i, j] == pytest.approx(minus(a, b).p)
    assert (p[3, 4], p[4, 3]) == (0, 0)


def test_dunnetts_interval_is_wider_than_one_alone_and_narrower_than_bonferronis():
    rng = np.random.default_rng(1)
    rows = [row({"x": rng.normal(0, 1, 5)}) for _ in range(5)]
    for r, against in zip(rows[1:], stats.dunnett(rows, 0)[1:], strict=True):
        alone = minus(r, rows[0])
        assert against is not None
        assert alone.half < against.half <= float(ss.t.ppf(1 - 0.025 / 4, 4)) * alone.se
        assert alone.p <= against.adjusted <= min(1, 4 * alone.p)


def test_seeds_that_would_decide_are_counted_from_the_differences():
    needed = stats.seeds_needed([(1, row({"x": A})), (-1, row({"x": [a + d for a, d in zip(
        A, [0.01, -0.01, 0.012, -0.002, 0.005], strict=True)]}))])  # fmt: skip
    apart = stats.seeds_needed([(1, row({"x": A})), (-1, row({"x": B}))])
    assert needed.seeds is not None
    assert needed.seeds > 5
    assert apart.seeds is not None
    assert apart.seeds <= 5


def test_where_rows_move_together_with_the_seed_five_percent_of_nothing_is_seen():
    """The error of the test, of rows whose common part is ten times their own."""
    rng = np.random.default_rng(2)
    luck = rng.normal(0, 1, (4000, 1, 2, 5))
    x = luck + rng.normal(0, 0.1, (4000, 2, 2, 5))
    found = [minus(*(row(dict(zip("xy", of, strict=True))) for of in both)).p for both in x]
    assert np.mean(np.array(found) < 0.05) == pytest.approx(0.05, abs=0.011)
