"""Intervals of means against scipy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats as ss

from bench import stats


def test_interval_is_scipys_t_interval():
    x = [0.71, 0.74, 0.72]
    e = stats.estimate(x)
    low, high = ss.t.interval(0.95, 2, np.mean(x), ss.sem(x))
    assert (e.mean - e.half, e.mean + e.half) == pytest.approx((low, high))
    assert e.n == 3
    assert e.holds(low + 1e-9)
    assert not e.holds(high + 1e-6)


def test_one_value_and_a_deterministic_row_have_no_interval():
    assert stats.estimate([0.5]) == stats.Estimate(0.5, None, 1)
    fixed = stats.estimate([0.5, 0.5, 0.5], deterministic=True)
    assert (fixed.n, fixed.half, fixed.deterministic) == (1, None, True)
    nothing = stats.estimate([None, math.nan])
    assert nothing.n == 0
    assert math.isnan(nothing.mean)


@pytest.mark.parametrize(("better", "sign"), [("lower", "≥"), ("higher", "≤")])
def test_censored_values_enter_at_their_bound_and_flag_the_mean(better, sign):
    e = stats.estimate([100.0, 200.0, {"bound": 1000.0}], better=better)
    assert e.mean == pytest.approx(1300 / 3)
    assert e.bound == sign
    assert e.half is not None
    every = stats.estimate([{"bound": 1000.0}] * 3, better=better)
    assert (every.mean, every.half, every.bound) == (1000.0, None, sign)
