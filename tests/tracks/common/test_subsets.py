"""Choosing fewer examples: how many, which, and always the same ones."""

from __future__ import annotations

import numpy as np

from bench.tracks.common.subsets import few_per_class, thinned, thinned_by_domain


def test_thinning_spreads_evenly_and_keeps_both_ends():
    rows = np.arange(10, 30)
    assert thinned(rows, 3).tolist() == [10, 19, 29]
    for n in (0, 20, 21):
        assert thinned(rows, n) is rows


def test_thinning_keeps_so_many_of_each_domain_over_the_whole_order():
    domain = np.array([0] * 100 + [1] * 3 + [2] * 10)
    rows = thinned_by_domain(np.arange(113), domain, 5)
    assert np.bincount(domain[rows]).tolist() == [5, 3, 5]
    assert rows[0] == 0
    assert rows[4] == 99
    assert (np.diff(rows) > 0).all()
    assert len(thinned_by_domain(np.arange(113), domain, 0)) == 113


def test_a_few_of_each_class_are_the_same_ones_in_any_order():
    y = np.array([2] * 30 + [0] * 5 + [1] * 30)
    rows = np.arange(len(y))
    few = few_per_class(rows, y, 7)
    assert np.bincount(y[few]).tolist() == [5, 7, 7]
    assert (np.diff(few) > 0).all()
    assert few_per_class(rows, y, 7).tolist() == few.tolist()
    assert set(few_per_class(rows, y, 3)) < set(few), "more of a class are those and others"
    assert few[y[few] == 2].max() > 10, "drawn, not the first ones"
    assert few_per_class(rows, y, 0) is rows
