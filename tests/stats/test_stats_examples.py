"""Contrasts with scores by example: variance by cluster, plus what seeds add beyond it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats as ss

from bench import stats


def on(values, clusters, data="x", exact=False, seeds=None, log=False):
    """A row on one data set: ``values`` (S, n); clusters (n,), or (S, n) if every seed has its own."""
    clusters = np.broadcast_to(clusters, values.shape)
    units = [stats.ClusterScores.of(v, c) for v, c in zip(values, clusters, strict=True)]
    numbers, means = None if seeds is None else {data: seeds}, values.mean(1)
    if log:
        units, means = [u.log(m) for u, m in zip(units, means, strict=True)], np.log(means)
    return stats.row_mean({data: means}, {data: 1.0}, exact=exact, units={data: units}, seeds=numbers)


def test_of_deterministic_rows_it_is_the_paired_t_over_examples():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (2, 200))
    rows = [on(v[None], np.arange(200), exact=True) for v in (a, b)]
    c = stats.contrast([(1, rows[0]), (-1, rows[1])])
    assert (c.diff, c.se) == pytest.approx((np.mean(a - b), ss.sem(a - b)))
    assert c.df <= 199
    assert c.p == pytest.approx(ss.ttest_rel(a, b).pvalue, rel=0.05)


def test_copies_of_an_example_in_several_data_sets_are_one_observation():
    rng = np.random.default_rng(1)
    d = rng.normal(0.1, 1, 40)
    ids = np.arange(40)
    once = stats.contrast([(1, on(d[None], ids, exact=True))])
    units = {
        name: [stats.ClusterScores.of(np.tile(d, k), np.tile(ids, k))] for name, k in (("x", 4), ("y", 6))
    }
    again = stats.contrast([(1, stats.row_mean({"x": [d.mean()], "y": [d.mean()]}, {"x": 0.3, "y": 0.7},
                                               exact=True, units=units))])  # fmt: skip
    assert (again.diff, again.se, again.df) == pytest.approx((once.diff, once.se, once.df))


def test_tasks_of_a_data_set_are_averaged_cluster_by_cluster():
    scores = [stats.ClusterScores.of([1.0, 3.0], ["a", "b"]), stats.ClusterScores.of([0.0, 1.0], ["b", "c"])]
    found = stats.ClusterScores.mean(scores)
    assert found.names.tolist() == ["a", "b", "c"]
    assert found.influence == pytest.approx([-0.25, 0.25 - 0.125, 0.125])


def test_seeds_that_differ_by_chance_of_examples_alone_add_nothing_on_average():
    """Seeds tested on examples of their own, networks all alike: the rest of their variance is about 0."""
    rng, rest = np.random.default_rng(2), []
    for _ in range(300):
        clusters = np.arange(150).reshape(3, 50)
        row = on(rng.normal(0, 1, (3, 50)), clusters)
        found = stats.contrasts.sources([(1.0, row)])
        rest.append(found[1].variance / found[0].variance)
    assert np.mean(rest) == pytest.approx(0, abs=0.2)


def simulated(rng, rotate, seeds, sets, b):
    """The difference of two rows that are equal over examples and networks.

    Values are a sum of the difficulty that both share, of what each makes of an example, of what a single
    network does, and of networks better or worse as a whole (``b``).
    """
    rows = [({}, {}), ({}, {})]
    for c in range(sets):
        n = 40
        shape = (seeds, n) if rotate else (1, n)
        shared = rng.normal(0, 1.5, shape)
        ids = np.arange(seeds * n).reshape(seeds, n) if rotate else np.tile(np.arange(n), (seeds, 1))
        for values, units in rows:
            v = shared + rng.normal(0, 1, shape) + rng.normal(0, 1, (seeds, n))
            v = v + b / math.sqrt(n) * rng.normal(0, 1, (seeds, 1))
            values[c] = v.mean(1)
            units[c] = [stats.ClusterScores.of(x, i) for x, i in zip(v, 1000 * c + ids, strict=True)]
    means = [stats.row_mean(v, dict.fromkeys(v, 1 / sets), units=u) for v, u in rows]
    return stats.contrast([(1, means[0]), (-1, means[1])])


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("b", [0.0, 2.0])
def test_equal_rows_are_separated_in_five_of_a_hundred(rotate, b):
    rng, runs = np.random.default_rng(3), 500
    wrong = sum(simulated(rng, rotate, 3, 2, b).p < 0.05 for _ in range(runs))
    assert wrong / runs <= 0.075


@pytest.mark.parametrize("alike", [0.0, 0.9, 1.0])
def test_a_row_with_more_seeds_than_the_other_that_shares_what_these_draw(alike):
    """With the variance over shared seeds alone for that of the difference, .15 to .49 of them erred."""
    rng, wrong, runs, n = np.random.default_rng(10), 0, 300, 40
    for _ in range(runs):
        shared = rng.normal(0, 1.5, n) + math.sqrt(alike) * 2 / math.sqrt(n) * rng.normal(0, 1, (5, 1))
        rows = []
        for seeds in (5, 3):
            own = math.sqrt(1 - alike) * 2 / math.sqrt(n) * rng.normal(0, 1, (5, 1))
            rows.append(on((shared + own + 0.1 * rng.normal(0, 1, (5, n)))[:seeds], np.arange(n)))
        wrong += stats.contrast([(1, rows[0]), (-1, rows[1])]).p < 0.05
    assert wrong / runs <= 0.07


def test_a_row_against_the_first_of_its_own_seeds_has_the_error_of_the_others():
    v = np.random.default_rng(11).normal(0, 1, (5, 1)) + np.zeros((5, 30))
    v = v + np.random.default_rng(12).normal(0, 1, 30)  # every seed makes the same of an example
    c = stats.contrast([(1, on(v, np.arange(30))), (-1, on(v[:3], np.arange(30)))])
    mean, first = v.mean(1), v[:3].mean(1)
    parts = (mean - mean.mean()) / math.sqrt(20)
    parts[:3] -= (first - first.mean()) / math.sqrt(6)
    assert c.se == pytest.approx(math.sqrt(np.square(parts).sum()))
    assert c.diff == pytest.approx(mean.mean() - first.mean())


def test_few_clusters_that_weigh_most_leave_few_degrees_of_freedom():
    rng = np.random.default_rng(4)
    units = {"big": [stats.ClusterScores.of(rng.normal(size=400), np.arange(400))],
             "small": [stats.ClusterScores.of(rng.normal(size=8), 1000 + np.arange(8))]}  # fmt: skip
    row = stats.row_mean({"big": [0.0], "small": [0.0]}, {"big": 0.5, "small": 0.5}, exact=True, units=units)
    assert stats.contrast([(1, row)]).df < 15
    alone = stats.row_mean({"big": [0.0]}, {"big": 1.0}, exact=True, units={"big": units["big"]})
    assert stats.contrast([(1, alone)]).df > 250


def test_all_pairs_are_the_contrasts_with_missing_seeds_and_a_deterministic_row():
    rng = np.random.default_rng(5)
    ids = np.arange(30)
    rows = [on(rng.normal(0.2 * i, 1, (3, 30)), ids) for i in range(3)]
    rows.append(on(rng.normal(0, 1, (2, 30)), ids, seeds=[0, 2]))
    rows += [on(rng.normal(0, 1, (1, 30)), ids, exact=True) for _ in range(2)]
    rows.append(on(rng.normal(0, 1, (1, 30)), ids))
    p = stats.all_pairs(rows)
    for i, a in enumerate(rows):
        for j, b in enumerate(rows[:i]):
            expected = stats.contrast([(1, a), (-1, b)]).p
            assert p[i, j] == pytest.approx(math.nan if expected is None else expected, nan_ok=True)
            assert p[j, i] == pytest.approx(p[i, j], nan_ok=True)
    assert np.isnan(p[6]).all()
    assert not np.isnan(p[:6, :6][~np.eye(6, dtype=bool)]).any()


def test_seeds_are_paired_by_their_number():
    """Row b is row a with its seeds in another order: named, they cancel."""
    rng = np.random.default_rng(6)
    v = rng.normal(0, 1, (3, 30))
    a, b = on(v, np.arange(30)), on(v[[2, 0, 1]], np.arange(30), seeds=[2, 0, 1])
    assert stats.contrast([(1, a), (-1, b)]).p == 1
    apart = stats.contrast([(1, on(v[:2], np.arange(30))), (-1, on(v[:2], np.arange(30), seeds=[5, 6]))])
    assert apart.why == "fewer than 2 shared seeds"


def test_rows_with_and_without_scores_are_not_compared():
    v = np.random.default_rng(7).normal(0, 1, (3, 30))
    a, b = on(v, np.arange(30)), stats.row_mean({"x": v.mean(1)}, {"x": 1.0})
    assert stats.contrast([(1, a), (-1, b)]).why == "only some of these rows have scores by example"
    lone = on(v, np.zeros(30))
    assert stats.contrast([(1, lone), (-1, lone)]).why == "fewer than 2 clusters of examples"
    elsewhere = on(v, np.arange(30), data="y")
    assert stats.contrast([(1, a), (-1, elsewhere)]).why == "scores by example on different data sets"


def test_influence_on_a_logarithm_is_relative():
    """A row that is another one times 1.2 differs by log 1.2 on any sample of examples."""
    v = np.random.default_rng(8).uniform(1, 2, (3, 50))
    c = stats.contrast([(1, on(1.2 * v, np.arange(50), log=True)), (-1, on(v, np.arange(50), log=True))])
    assert c.diff == pytest.approx(math.log(1.2))
    assert (c.p, c.why) == (None, "no spread over seeds or examples")
