"""What the statistics promise, checked by simulation on data whose truth is known (small versions of
``tests/perf/test_stats_sim.py``).
"""

from __future__ import annotations

import numpy as np
import pytest

from bench import stats
from bench.stats.families import family_of

DATA = dict.fromkeys("abc", 1 / 3)


def coverage_t(n, runs, rng):
    x = rng.normal(size=(runs, n))
    return float(np.mean(np.abs(x.mean(1)) <= stats.half_width(x.std(1, ddof=1), n)))


def coverage_bootstrap(n, runs, rng, draws=400):
    x = rng.normal(size=(runs, n))
    means = x[:, rng.integers(0, n, (draws, n))].mean(2)
    low, high = np.percentile(means, [2.5, 97.5], axis=1)
    return float(np.mean((low <= 0) & (high >= 0)))


def board(rng, rows, spread=5.0, best=0.0, wide=2):
    """Rows of three seeds on three data sets; of ``wide`` the second varies ``spread`` times as much."""
    sd = np.where(np.arange(rows) % wide == 1, spread, 1.0)
    values = rng.normal(size=(rows, 3, 3)) * sd[:, None, None]
    values[0] += best
    return [stats.row_mean(dict(zip("abc", v, strict=True)), DATA) for v in values]


@pytest.mark.parametrize("n", [3, 5])
def test_t_interval_covers_what_it_says(n):
    assert coverage_t(n, 20000, np.random.default_rng(0)) == pytest.approx(0.95, abs=0.006)


def test_bootstrap_would_not():
    assert coverage_bootstrap(3, 2000, np.random.default_rng(0)) < 0.80


def test_equal_rows_are_rarely_separated_whatever_their_variances():
    """Over all pairs of a board of six rows. Binomial 99.9 % above 5 %."""
    rng = np.random.default_rng(1)
    wrong = sum((stats.holm_pairs(stats.all_pairs(board(rng, 6))) < 0.05).any() for _ in range(500))
    assert wrong / 500 <= 0.085


@pytest.mark.parametrize("reference", [0, 1])
def test_equal_rows_rarely_differ_from_the_reference(reference):
    """Over all comparisons of six rows with one that varies little, or much."""
    rng, wrong = np.random.default_rng(2), 0
    for _ in range(200):
        rows = board(rng, 6)
        each = [
            (i, stats.contrast([(1, r), (-1, rows[reference])])) for i, r in enumerate(rows) if i != reference
        ]
        wrong += family_of(rows, reference, each).chance(min(c.p for _, c in each)) < 0.05
    assert wrong / 200 <= 0.1


def test_variances_pooled_over_rows_would_separate_equal_ones():
    rng, wrong, runs = np.random.default_rng(3), 0, 300
    for _ in range(runs):
        rows = board(rng, 6, wide=6)
        se = np.sqrt(2 * np.mean([sum(s.variance for s in r.sources) for r in rows]))
        gaps = np.subtract.outer(*[[r.mean for r in rows]] * 2)[np.triu_indices(6, 1)]
        wrong += (stats.holm(stats.two_sided(gaps / se, 36)) < 0.05).any()
    assert wrong / runs > 0.1


def test_a_real_difference_is_found():
    rng, found = np.random.default_rng(4), 0
    for _ in range(200):
        q = stats.holm_pairs(stats.all_pairs(board(rng, 4, spread=1.0, best=4.0)))
        found += (q[0, 1:] < 0.05).all()
    assert found / 200 >= 0.9
