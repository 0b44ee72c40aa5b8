"""The tests of `bench.stats.pairs` against scipy and against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats as ss

from bench import stats


def test_paired_t_is_scipys():
    a, b = np.array([0.8, 0.7, 0.9, 0.6]), np.array([0.7, 0.65, 0.7, 0.62])
    c = stats.paired(a, b, better="higher", unit="tasks")
    assert c.p == pytest.approx(ss.ttest_rel(a, b).pvalue)
    assert c.wins == 3
    assert c.verdict == "no difference shown"
    low, high = ss.ttest_rel(a, b).confidence_interval()
    assert (c.diff - c.half, c.diff + c.half) == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("better", "verdict"), [("higher", "better"), ("lower", "worse"), ("neither", "different")]
)
def test_verdict_follows_the_direction(better, verdict):
    c = stats.paired([1.1, 2.2, 3.1, 4.2], [1, 2, 3, 4], better=better, unit="tasks")
    assert c.verdict == verdict


def test_identical_and_uniformly_shifted_pairs():
    same = stats.paired([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], better="higher", unit="tasks")
    assert (same.p, same.verdict) == (1.0, "no difference shown")
    shifted = stats.paired([1.1, 2.1, 3.1], [1.0, 2.0, 3.0], better="higher", unit="tasks")
    assert (shifted.p, shifted.verdict) == (None, "not judged")
    assert "same difference" in shifted.why


def test_welch_is_scipys_and_takes_a_deterministic_side_as_exact():
    x, y = [0.71, 0.74, 0.72], [0.68, 0.69, 0.60]
    c = stats.welch(stats.estimate(x), stats.estimate(y), better="higher")
    assert c.p == pytest.approx(ss.ttest_ind(x, y, equal_var=False).pvalue)
    low, high = ss.ttest_ind(x, y, equal_var=False).confidence_interval()
    assert (c.diff - c.half, c.diff + c.half) == pytest.approx((low, high))
    exact = stats.welch(stats.estimate(x), stats.estimate([0.7], deterministic=True), better="higher")
    assert exact.p == pytest.approx(ss.ttest_1samp(x, 0.7).pvalue)
    one = stats.welch(stats.estimate(x), stats.estimate([0.7]), better="higher")
    assert (one.verdict, one.why) == ("not judged", "fewer than 2 seeds")


def test_welch_pairs_agree_with_holm_over_scipys_p_values():
    rng = np.random.default_rng(1)
    x = rng.normal([[0.70], [0.74], [0.74], [0.60]], 0.004, (4, 3))
    p = stats.welch_pairs(x.mean(1), x.std(1, ddof=1), np.full(4, 3.0), np.zeros(4, bool))
    i, j = np.triu_indices(4, 1)
    raw = [ss.ttest_ind(x[a], x[b], equal_var=False).pvalue for a, b in zip(i, j, strict=True)]
    expected = stats.holm(raw)
    assert ((p[i, j] < 0.05) == (expected < 0.05)).all()
    small = np.array(raw) < 0.05
    assert p[i, j][small] == pytest.approx(expected[small])
    assert np.isnan(np.diag(p)).all()


def test_welch_pairs_does_not_judge_rows_without_spread():
    p = stats.welch_pairs(
        np.array([0.8, 0.7, 0.7]), np.zeros(3), np.full(3, 3.0), np.array([False, False, False])
    )
    assert np.isnan(p[0, 1])
    assert p[1, 2] == 1.0


def test_task_pairs_agree_with_scipys_paired_t():
    x = np.random.default_rng(2).normal(size=(5, 8)) + np.arange(5)[:, None]
    p, sd = stats.task_pairs(x)
    i, j = np.triu_indices(5, 1)
    raw = [ss.ttest_rel(x[a], x[b]).pvalue for a, b in zip(i, j, strict=True)]
    assert p[i, j] == pytest.approx(stats.holm(raw))
    assert sd[1, 3] == pytest.approx((x[1] - x[3]).std(ddof=1))
    assert np.isnan(stats.task_pairs(x[:, :1])[0]).all()


def test_tie_groups_follow_the_best_of_each_group():
    p = np.ones((4, 4))
    p[0, 2] = p[2, 0] = p[0, 3] = p[3, 0] = 0.01
    p[2, 3] = p[3, 2] = 0.01
    assert stats.tie_groups([0, 1, 2, 3], p) == [0, 0, 1, 2]
    # a row may be tied with the best although a better-placed one is not
    p = np.ones((3, 3))
    p[0, 1] = p[1, 0] = 0.01
    assert stats.tie_groups([0, 1, 2], p) == [0, 1, 0]
    # what could not be judged is not separated
    assert stats.tie_groups([0, 1], np.full((2, 2), np.nan)) == [0, 0]


def test_compare_takes_tasks_as_the_sample_and_seeds_only_for_one_task():
    rng = np.random.default_rng(3)
    a = {(t, s): 0.8 + rng.normal(0, 0.01) for t in "abcde" for s in range(3)}
    b = {k: v - 0.05 + rng.normal(0, 0.01) for k, v in a.items()}
    c = stats.compare(a, b, better="higher")
    assert (c.unit, c.n, c.verdict, c.wins) == ("tasks", 5, "better", 5)
    one = stats.compare({k: v for k, v in a.items() if k[0] == "a"}, b, better="higher")
    assert (one.unit, one.n) == ("seeds", 3)
    none = stats.compare({("a", 0): 1.0}, {("b", 0): 1.0}, better="higher")
    assert (none.n, none.verdict) == (0, "not judged")


def test_compare_pairs_a_deterministic_row_with_the_mean_of_the_other():
    a = {("x", 0): 0.5, ("y", 0): 0.5, ("z", 0): 0.5}
    b = {(t, s): 0.6 + i * 0.01 for i, t in enumerate("xyz") for s in (0, 1)}
    b = {k: v + (0.02 if k[1] else -0.02) for k, v in b.items()}
    c = stats.compare(a, b, better="higher")
    assert c.diff == pytest.approx(-0.11)
    assert c.verdict == "worse"


def test_paired_by_example_is_the_paired_t_where_every_example_stands_alone():
    rng = np.random.default_rng(4)
    a, b = rng.normal(0, 1, (2, 200))
    c = stats.paired_by_example([(a - b - 0.3, np.arange(200))], better="lower")
    plain = ss.ttest_rel(a - 0.3, b)
    assert (c.unit, c.n, c.verdict) == ("examples", 200, "better")
    assert c.p == pytest.approx(plain.pvalue)
    low, high = plain.confidence_interval()
    assert (c.diff - c.half, c.diff + c.half) == pytest.approx((low, high))


def test_examples_of_a_group_are_one_observation_in_whichever_task():
    """Each example ten times, over two tasks: the test of the ten times fewer, and the board's difference."""
    d = np.random.default_rng(5).normal(0.1, 1, 40)
    once = stats.paired_by_example([(d, np.arange(40))], better="higher")
    many = [(np.tile(d, k), np.tile(np.arange(40), k)) for k in (4, 6)]
    again = stats.paired_by_example(many, better="higher")
    assert again.n == 40
    assert (again.diff, again.half, again.p) == pytest.approx((once.diff, once.half, once.p))
    uneven = [(np.array([1.0, 1.0, 1.0, 1.0]), np.arange(4)), (np.array([0.0]), np.array([9]))]
    assert stats.paired_by_example(uneven, better="higher").diff == pytest.approx(0.5)


@pytest.mark.parametrize("size", [1, 6])
def test_paired_by_example_covers_what_it_says_with_groups(size):
    """Equal rows, 60 groups of ``size`` alike examples in two tasks: about 5 % false verdicts."""
    rng = np.random.default_rng(6)
    false = 0
    for _ in range(600):
        shared = rng.normal(0, 1, 60)
        groups = np.repeat(np.arange(60), size)
        parts = [(np.repeat(shared, size) + rng.normal(0, 0.3, len(groups)), groups) for _ in range(2)]
        false += stats.paired_by_example(parts, better="higher").verdict != "no difference shown"
    assert false / 600 == pytest.approx(0.05, abs=0.028)


def test_paired_by_example_does_not_judge_without_spread():
    equal = stats.paired_by_example([(np.zeros(5), np.arange(5))], better="higher")
    assert (equal.diff, equal.verdict) == (0.0, "no difference shown")
    shifted = stats.paired_by_example([(np.ones(5), np.arange(5))], better="higher")
    assert shifted.verdict == "not judged"
    assert stats.paired_by_example([(np.ones(5), np.zeros(5))], better="higher").verdict == "not judged"


def test_detectable_like_a_comparison_is_that_of_its_spread():
    d = np.random.default_rng(7).normal(0, 2, 80)
    c = stats.paired_by_example([(d, np.arange(80))], better="higher")
    assert stats.detectable_like(c) == pytest.approx(stats.pairs.detectable(d.std(ddof=1), 80))
    assert stats.detectable_like(stats.paired_by_example([(d[:1], d[:1])], better="higher")) is None


def test_detectable_difference_has_the_power_it_promises():
    rng = np.random.default_rng(5)
    d = stats.pairs.detectable(1.0, 8)
    x = rng.normal(d, 1, (20000, 8))
    assert np.mean(ss.ttest_1samp(x, 0, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.012)
    e = stats.pairs.detectable_over_seeds(1.0, 4)
    a, b = rng.normal(e, 1, (20000, 4)), rng.normal(0, 1, (20000, 4))
    assert np.mean(ss.ttest_ind(a, b, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.012)
    assert stats.pairs.detectable(1.0, 1) is None
    assert stats.pairs.detectable_over_seeds(1.0, 1) is None


def test_seeds_needed_in_one_task_reaches_the_power():
    need = stats.pairs.seeds_needed(np.array([[1.0, 2.0, 3.0]]), np.array([[0.0, 1.0, 2.0]]))
    assert need.seeds == 17  # two-sample t, effect of one sd: the textbook's 17 a group
    near = stats.pairs.seeds_needed(np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 2.0, 3.001]]))
    assert near.seeds is None
    assert "1,000" in near.why


def test_no_number_of_seeds_helps_where_methods_react_differently_to_tasks():
    rng = np.random.default_rng(6)
    a = rng.normal(0, 1, (4, 1)) + rng.normal(0, 0.01, (4, 3)) + 0.3
    need = stats.pairs.seeds_needed(a, rng.normal(0, 0.01, (4, 3)))
    assert need.seeds is None
    assert "no number of seeds" in need.why
    b = rng.normal(0, 1, (8, 3))
    more = stats.pairs.seeds_needed(b, b - 0.6 + rng.normal(0, 1, (8, 3)))
    assert more.seeds is None or more.seeds >= 1
    assert "one seed" in stats.pairs.seeds_needed(np.ones((2, 1)), np.zeros((2, 1))).why
