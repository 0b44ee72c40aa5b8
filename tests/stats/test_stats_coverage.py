"""What the statistics promise, checked by simulation on data whose truth is known (small versions of
``tests/perf/test_stats_sim.py``).
"""

from __future__ import annotations

import numpy as np
import pytest

from bench import stats


def coverage_t(n, runs, rng):
    x = rng.normal(size=(runs, n))
    return float(np.mean(np.abs(x.mean(1)) <= stats.half_width(x.std(1, ddof=1), n)))


def coverage_bootstrap(n, runs, rng, draws=400):
    x = rng.normal(size=(runs, n))
    means = x[:, rng.integers(0, n, (draws, n))].mean(2)
    low, high = np.percentile(means, [2.5, 97.5], axis=1)
    return float(np.mean((low <= 0) & (high >= 0)))


def null_means(rows, tasks, seeds, tau, rng):
    """Task means of rows that are equal over the population of tasks: interaction ``tau``, seed sd 1."""
    return rng.normal(0, tau, (rows, tasks)) + rng.normal(0, 1, (rows, tasks, seeds)).mean(2)


def false_separation(rows, tasks, seeds, tau, runs, rng):
    """Share of boards of equal rows on which any row is put outside group a."""
    wrong = 0
    for _ in range(runs):
        m = null_means(rows, tasks, seeds, tau, rng)
        p, _ = stats.task_pairs(m)
        wrong += max(stats.tie_groups(list(np.argsort(-m.mean(1))), p)) > 0
    return wrong / runs


def false_separation_pooled(tasks, seeds, tau, runs, rng):
    """Two equal rows, task × seed pooled as independent: what this suite does not do."""
    d = rng.normal(0, tau, (runs, tasks, 1)) + rng.normal(0, 1, (runs, tasks, seeds))
    d = d.reshape(runs, -1)
    p = stats.two_sided(d.mean(1) / (d.std(1, ddof=1) / np.sqrt(d.shape[1])), d.shape[1] - 1)
    return float(np.mean(p < 0.05))


@pytest.mark.parametrize("n", [3, 5])
def test_t_interval_covers_what_it_says(n):
    assert coverage_t(n, 20000, np.random.default_rng(0)) == pytest.approx(0.95, abs=0.006)


def test_bootstrap_would_not():
    assert coverage_bootstrap(3, 2000, np.random.default_rng(0)) < 0.80


@pytest.mark.parametrize("tau", [0, 1, 3])
def test_equal_rows_are_rarely_separated(tau):
    """Family-wise: over all groups of a board of six rows, 8 tasks × 3 seeds. Binomial 99.9 % above 5 %."""
    assert false_separation(6, 8, 3, tau, 500, np.random.default_rng(1)) <= 0.085


def test_pooling_task_and_seed_would_separate_equal_rows():
    assert false_separation_pooled(8, 3, 3, 2000, np.random.default_rng(2)) > 0.15


def test_within_a_task_equal_rows_are_rarely_separated():
    rng, wrong = np.random.default_rng(3), 0
    for _ in range(500):
        x = rng.normal(size=(6, 3))
        p = stats.welch_pairs(x.mean(1), x.std(1, ddof=1), np.full(6, 3.0), np.zeros(6, bool))
        wrong += max(stats.tie_groups(list(np.argsort(-x.mean(1))), p)) > 0
    assert wrong / 500 <= 0.085


def test_a_real_difference_is_found():
    rng, found = np.random.default_rng(4), 0
    for _ in range(200):
        m = null_means(4, 8, 3, 0.5, rng)
        m[0] += 3.0
        p, _ = stats.task_pairs(m)
        found += stats.tie_groups(list(np.argsort(-m.mean(1))), p).count(0) == 1
    assert found / 200 >= 0.9
