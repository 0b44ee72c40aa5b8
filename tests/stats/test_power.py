"""Detectable differences and seeds that decide: the power that they promise, by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats as ss

from bench import stats


def test_detectable_difference_has_the_power_it_promises():
    rng = np.random.default_rng(5)
    d = stats.detectable(1 / math.sqrt(8), 7)
    x = rng.normal(d, 1, (20000, 8))
    assert np.mean(ss.ttest_1samp(x, 0, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.012)
    assert stats.detectable(1.0, math.inf) == pytest.approx(1.96 + 0.842, abs=0.01)


def test_seeds_needed_on_one_data_set_are_the_textbooks():
    rows = [stats.row_mean({"x": [v - 1, v, v + 1]}, {"x": 1.0}) for v in (2.0, 1.0)]
    need = stats.seeds_needed([(1, rows[0]), (-1, rows[1])])
    assert need.seeds == 17  # two-sample t, an effect of one sd: 17 a group
    near = stats.row_mean({"x": [1.0, 2.0, 3.001]}, {"x": 1.0})
    assert "1,000" in stats.seeds_needed([(1, rows[0]), (-1, near)]).why


def test_where_examples_are_too_few_no_seeds_help():
    rng = np.random.default_rng(6)

    def row(shift, spread):
        v = shift + rng.normal(0, spread, 30) + 0.01 * rng.normal(size=(3, 1))
        units = [stats.ClusterScores.of(x, np.arange(30)) for x in v]
        return stats.row_mean({"x": v.mean(1)}, {"x": 1.0}, units={"x": units})

    assert "more test examples" in stats.seeds_needed([(1, row(0.02, 1)), (-1, row(0, 1))]).why
    assert stats.seeds_needed([(1, row(0.02, 0.001)), (-1, row(0, 0.001))]).seeds < 50


def test_nothing_to_decide_says_so():
    a, b = (stats.row_mean({"x": [v]}, {"x": 1.0}) for v in (1.0, 2.0))
    assert stats.seeds_needed([(1, a), (-1, b)]).why == "fewer than 2 seeds"
