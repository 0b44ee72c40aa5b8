"""Row means and their differences: Welch over seeds, with deterministic rows and logarithms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats as ss

from bench import stats


def one(values, **options):
    return stats.row_mean({"x": values}, {"x": 1.0}, **options)


def row(rng, seeds=3, data="abcd", sd=1.0, mean=0.0):
    return stats.row_mean({c: rng.normal(mean, sd, seeds) for c in data}, {c: 1 / len(data) for c in data})


def test_on_one_data_set_it_is_scipys_welch_with_its_interval():
    a, b = [0.71, 0.74, 0.72], [0.65, 0.70, 0.66, 0.71]
    c = stats.contrast([(1, one(a)), (-1, one(b))])
    theirs = ss.ttest_ind(a, b, equal_var=False)
    low, high = theirs.confidence_interval()
    assert (c.diff, c.p, c.df) == pytest.approx((np.mean(a) - np.mean(b), theirs.pvalue, theirs.df))
    assert (c.diff - c.half, c.diff + c.half) == pytest.approx((low, high))
    assert c.against(0.05) == pytest.approx(ss.ttest_ind(np.array(a) - 0.05, b, equal_var=False).pvalue)


def test_variance_is_summed_over_data_sets_with_satterthwaites_degrees_of_freedom():
    values, weights = {"a": [1.0, 2.0, 4.0], "b": [0.0, 1.0]}, {"a": 0.75, "b": 0.25}
    c = stats.contrast([(1, stats.row_mean(values, weights))])
    parts = [0.75**2 * np.var(values["a"], ddof=1) / 3, 0.25**2 * 0.5 / 2]
    assert c.diff == pytest.approx(0.75 * 7 / 3 + 0.125)
    assert c.se == pytest.approx(math.sqrt(sum(parts)))
    assert c.df == pytest.approx(sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2))


def test_a_deterministic_row_adds_no_variance():
    x = np.array([0.71, 0.74, 0.72])
    c = stats.contrast([(1, one(x)), (-1, one([0.65, 0.65, 0.65], exact=True))])
    assert c.p == pytest.approx(ss.ttest_1samp(x, 0.65).pvalue)
    assert c.df == pytest.approx(2)


def test_two_deterministic_rows_are_equal_or_not():
    a, b = one([0.7], exact=True), one([0.7 + 1e-15], exact=True)
    other = one([0.6], exact=True)
    assert stats.contrast([(1, a), (-1, b)]).p == 1
    c = stats.contrast([(1, a), (-1, other)])
    assert (c.p, c.half, c.why) == (0, None, "exact values")
    assert (c.against(0.1), c.against(0.2)) == (1, 0)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (([0.7], [0.6, 0.5]), "fewer than 2 seeds"),
        (([0.7, 0.7], [0.6, 0.6]), "no spread over seeds or examples"),
    ],
)
def test_what_cannot_be_judged_says_why(rows, why):
    a, b = (one(v) for v in rows)
    c = stats.contrast([(1, a), (-1, b)])
    assert (c.p, c.half, c.against(0.3), c.why) == (None, None, None, why)
    assert c.diff == pytest.approx(a.mean - b.mean)
    assert np.isnan(stats.all_pairs([a, b])).all()


def test_seeds_that_all_agree_show_no_difference():
    a, b = one([0.7, 0.7]), one([0.7, 0.7, 0.7])
    c = stats.contrast([(1, a), (-1, b)])
    assert (c.p, c.against(0.1)) == (1, None)
    assert stats.all_pairs([a, b])[0, 1] == 1


def test_a_row_that_comes_twice_counts_once():
    rng = np.random.default_rng(0)
    a, b, c = (row(rng) for _ in range(3))
    parts = [(0.5, a), (-0.5, c), (0.5, b), (-0.5, c)]
    found = stats.contrast(parts)
    expected = [0.25 * s.variance for r in (a, b) for s in r.sources] + [s.variance for s in c.sources]
    assert found.se == pytest.approx(math.sqrt(sum(expected)))
    assert found.diff == pytest.approx((a.mean + b.mean) / 2 - c.mean)


def test_all_pairs_are_the_contrasts_of_two_rows():
    rng = np.random.default_rng(1)
    rows = [row(rng, seeds=s, sd=sd) for s, sd in ((3, 1), (5, 0.1), (2, 3))]
    data = dict.fromkeys("abcd", 0.25)
    rows += [stats.row_mean({c: [v] for c in data}, data, exact=True) for v in (0.1, 0.1, 0.3)]
    rows += [stats.row_mean({c: [0.2] for c in data}, data)]
    p = stats.all_pairs(rows)
    assert np.isnan(np.diag(p)).all()
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            expected = stats.contrast([(1, a), (-1, b)]).p if i != j else None
            assert p[i, j] == pytest.approx(math.nan if expected is None else expected, nan_ok=True)


@pytest.mark.parametrize("spread", [1, 6])
def test_intervals_cover_with_three_seeds_and_unequal_rows(spread):
    rng, held, runs = np.random.default_rng(2), 0, 2000
    for _ in range(runs):
        c = stats.contrast([(1, row(rng, sd=spread)), (-1, row(rng))])
        held += abs(c.diff) <= c.half
    assert held / runs == pytest.approx(0.95, abs=0.02)
