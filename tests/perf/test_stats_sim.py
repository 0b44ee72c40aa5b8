"""The full simulations behind the board's rules, printed (``pytest -m perf -s`` on this file)."""

from __future__ import annotations

import resource
import time

import numpy as np
import pytest
from stats_components import RANKS_BY, noise, published, row_means
from stats_peers import before

from bench import stats
from bench.board.model import Board
from bench.board.spec import BoardSpec, RowInfo, Slot
from bench.contract import Metric, Task, Track
from bench.stats import examples, families

pytestmark = pytest.mark.perf


def test_coverage_of_intervals():
    rng = np.random.default_rng(0)
    for n in (2, 3, 5, 12, 20):
        x = rng.normal(size=(20000, n))
        t = np.mean(np.abs(x.mean(1)) <= stats.half_width(x.std(1, ddof=1), n))
        draws = x[:2000, rng.integers(0, n, (1000, n))].mean(2)
        low, high = np.percentile(draws, [2.5, 97.5], axis=1)
        boot = np.mean((low <= 0) & (high >= 0))
        print(f"n = {n:2}: coverage of the 95 % t interval {t:.3f}, of the percentile bootstrap {boot:.3f}")
        assert abs(t - 0.95) < 0.01


@pytest.mark.parametrize("track", RANKS_BY)
def test_pairs_separated_on_the_published_records(track):
    records = published(track)
    now = int((stats.holm_pairs(stats.all_pairs(records.rows)) < 0.05).sum() / 2)
    exact = np.array([not r.sources for r in records.rows])
    seeds = min(
        len(s) for v, e in zip(records.values.values(), exact, strict=True) if not e for s in v.values()
    )
    x = np.array([[(v[c] * seeds)[:seeds] for c in records.weights] for v in records.values.values()])
    then = int((before(x, records.components()[0], exact) < 0.05).sum())
    print(f"{track}: {len(exact)} rows, {now} pairs separated, {then} by the procedure before")


def draw(rng, track, rows, seeds, *, interaction=1.0, shared=False, equal=True):
    """One board's values (rows, sets, seeds), weights and which rows are deterministic, from a track's records.

    ``equal``: all rows have the same mean over these data sets; else the one that they have in the records.
    """
    weights, sd, mean, apart = COMPONENTS[track]
    at = rng.choice(len(sd), min(rows, len(sd)), replace=False)
    centre = 1 + interaction * apart[at] + (0 if equal else (mean[at] - mean.mean())[:, None])
    x = centre[:, :, None] + sd[at, :, None] * noise(rng, len(at), len(weights), seeds, shared)
    return x, weights, ~sd[at].any(1)


COMPONENTS = {track: published(track).components() for track in RANKS_BY}


def claims_of(every):
    """Up to four rows against the first one: contrasts and corrected p."""
    found = [stats.contrast([(1, r), (-1, every[0])]) for r in every[1:5]]
    return found, stats.holm([np.nan if c.p is None else c.p for c in found])


def against_first(every):
    """The smallest p of all rows against the first, after Dunnett's correction."""
    found = [(i, stats.contrast([(1, r), (-1, every[0])])) for i, r in enumerate(every) if i]
    tested = [(i, c) for i, c in found if c.se is not None]
    if not tested:
        return np.nan
    return families.family_of(every, 0, tested).chance(min(c.p for _, c in tested))


def board_errors(track, rows, seeds, boards, few, **drawn):
    """How often each family errs on boards of equal rows, and how often intervals of claims hold."""
    rng = np.random.default_rng(rows * 100 + seeds)
    wrong, held = np.zeros(4), []
    for board in range(boards):
        x, weights, exact = draw(rng, track, rows, seeds, **drawn)
        every = row_means(x, weights, exact)
        found, p = claims_of(every)
        held += [abs(c.diff) <= c.half for c in found if c.half is not None]
        pairs = stats.holm_pairs(stats.all_pairs(every))
        reference = [against_first(every)] if board < few else [np.nan]
        tests = (p, reference, pairs, before(x, weights, exact))
        wrong += [bool((np.asarray(q) < 0.05).any()) for q in tests]
    return wrong / [boards, few, boards, boards], float(np.mean(held))


def told(name, wrong, held):
    a, b, c, d = wrong
    print(
        f"{name}: claims {a:.3f}, against the reference {b:.3f}, pairs {c:.3f}, before {d:.3f}; cover {held:.3f}"
    )


@pytest.mark.parametrize("track", RANKS_BY)
def test_boards_of_equal_rows(track):
    """Familywise error of claims, of comparisons with the reference and of all pairs; and coverage."""
    boards, few, every = 400, 200, []
    for rows in (2, 6, 15):
        for seeds in (3, 5, 10):
            wrong, held = board_errors(track, rows, seeds, boards, few)
            told(f"{track}, {rows:2} rows, {seeds:2} seeds", wrong, held)
            every.append([*wrong, held])
            assert max(wrong[0], wrong[2]) <= 0.06 + 2 * np.sqrt(0.05 * 0.95 / boards)
    for name, drawn in (
        ("no interaction", {"interaction": 0.0}),
        ("one stream for all sets", {"shared": True}),
    ):
        told(f"{track}, 15 rows,  3 seeds, {name}", *board_errors(track, 15, 3, boards, few, **drawn))
    mean = np.mean(every, axis=0)
    told(f"{track}, mean of the nine", mean[:4], mean[4])
    assert mean[:3].max() <= 0.06
    assert 0.93 <= mean[4] <= 0.975


@pytest.mark.parametrize("track", RANKS_BY)
def test_power_if_the_records_were_the_truth(track):
    """Pairs, and claims against the first row, that are found where rows differ as their recorded means do."""
    rng, boards = np.random.default_rng(5), 100
    for seeds in (3, 5, 10):
        found = np.zeros(3)
        for _ in range(boards):
            x, weights, exact = draw(rng, track, 15, seeds, equal=False)
            every = row_means(x, weights, exact)
            pairs = stats.holm_pairs(stats.all_pairs(every)) < 0.05
            found += [
                pairs.sum() / 2,
                (before(x, weights, exact) < 0.05).sum(),
                (claims_of(every)[1] < 0.05).mean(),
            ]
        now, then, claims = found / boards
        print(f"{track}, {seeds:2} seeds: {now:.1f} pairs, before {then:.1f}; {claims:.2f} of four claims")
        assert now > then


def example_boards(rng, runs, sets, seeds, rotate, b, rare):
    """Differences of two rows that are equal over examples and networks, as `examples.align` makes them.

    Values are a sum of a difficulty that both rows share, what each makes of an example (``rare``: of one in
    ten), what one network does, and networks better or worse as a whole (``b``). With it the differences of the
    means, (runs,), and of each row and data set the variance over seeds and its part that is of examples.
    """
    influence, by_data, mean, rows = [], [], 0.0, []
    for n in sets:
        shape = (runs, 2, seeds if rotate else 1, n)
        v = rng.normal(0, 1.5, (runs, 1, *shape[2:])) + rng.normal(0, 0.7, (runs, 2, seeds, n))
        v = v + rng.normal(size=shape) * (rng.random(shape) < rare) / np.sqrt(rare)
        v = v + b * rng.normal(0, n**-0.5, (runs, 2, seeds, 1))
        y, u = v.mean(-1) / len(sets), (v - v.mean(-1, keepdims=True)) / n / len(sets) * np.sqrt(n / (n - 1))
        part = np.square(u).sum((2, 3)) / seeds if rotate else u.var(axis=2, ddof=1).sum(-1)
        rows.append(np.stack([y.var(axis=2, ddof=1), part]) / seeds)
        d = u[:, 0] - u[:, 1]
        if rotate:
            d = (d[:, :, None] * np.eye(seeds)[None, :, :, None]).reshape(runs, seeds, seeds * n)
        values, parts = examples.errors(y[:, 0] - y[:, 1], 1), examples.errors(d, 1)
        by_data.append(examples.Several(values, parts, np.ones((runs, seeds), bool)))
        influence.append(d.mean(1))
        mean = mean + (y[:, 0] - y[:, 1]).mean(1)
    every = np.concatenate(influence, axis=1)
    return (
        examples.Aligned(every, np.ones(every.shape, bool), tuple(by_data)),
        mean,
        np.concatenate(rows, axis=2),
    )


def several_tests(a, rows, seeds):
    """The test of boards, and what else suggests itself: variance and degrees of freedom of each, (runs,)."""
    (alone, df), (total, part) = examples.by_example(a), rows
    clusters = a.influence.shape[1] - 1
    of_rows = np.maximum(total - part, 0)
    return {
        "boards": examples.variance(a),
        "every row's own rest of its seeds": _sum([alone, *of_rows.T], [df, *[seeds - 1] * of_rows.shape[1]]),
        "seeds alone": _sum(total.T, [seeds - 1] * total.shape[1]),
        "examples alone, G - 1": (alone, clusters),
    }


def _sum(variances, df):
    noise = sum(np.square(v) / f for v, f in zip(variances, df, strict=True))
    return sum(variances), np.square(sum(variances)) / noise


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("rotate", [False, True])
def test_rows_that_are_equal_over_examples_and_networks(rotate, seeds):
    """Errors at 5 % of one contrast with scores by example, with new examples and new networks each time."""
    runs, every, rng = 1000, {}, np.random.default_rng(9)
    for sets in ([60], [60] * 4, [100, 100, 100, 8]):
        for b, rare in ((0, 1), (1, 1), (3, 1), (1, 0.1)):
            a, diff, rows = example_boards(rng, runs, sets, seeds, rotate, b, rare)
            for name, (var, df) in several_tests(a, rows, seeds).items():
                wrong = np.mean(stats.two_sided(diff / np.sqrt(var), df) < 0.05)
                every.setdefault(name, []).append((wrong, var.mean() / diff.var()))
            print(
                f"{sets}, seed effect {b}, {'rare' if rare < 1 else 'normal'}: {every['boards'][-1][0]:.3f}"
            )
    kind = "own examples" if rotate else "shared examples"
    for name, of in every.items():
        wrong, ratio = np.array(of).T
        print(
            f"{kind}, {seeds} seeds, {name}: error {wrong.min():.3f} to {wrong.max():.3f}, mean {wrong.mean():.3f}; "
            f"variance over the true one {ratio.min():.2f} to {ratio.max():.2f}"
        )
    wrong = np.array(every["boards"])[:, 0]
    assert wrong.mean() <= 0.055
    assert wrong.max() <= 0.08


def test_few_clusters_in_one_data_set():
    """Deterministic rows; G - 1 degrees of freedom are too many where a small data set weighs as much as others."""
    runs, rng = 4000, np.random.default_rng(10)
    for sets in ([300], [100, 100, 100, 8], [300, 300, 300, 6], [2000, 2000, 12]):
        influence = np.concatenate([_centred(rng.normal(size=(runs, n))) for n in sets], axis=1) / len(sets)
        diff = sum(rng.normal(0, n**-0.5, runs) for n in sets) / len(sets)
        var, df = examples.by_example(examples.Aligned(influence, np.ones(influence.shape, bool), ()))
        wrong = [
            np.mean(stats.two_sided(diff / np.sqrt(var), f) < 0.05) for f in (df, influence.shape[1] - 1)
        ]
        print(f"{sets}: {wrong[0]:.3f}, with G - 1 {wrong[1]:.3f}")
        assert wrong[0] <= 0.065


def _centred(v):
    n = v.shape[1]
    return (v - v.mean(1, keepdims=True)) / n * np.sqrt(n / (n - 1))


def test_board_of_100_000_slots():
    for rows, tasks, seeds in ((50, 40, 50), (100, 333, 3), (400, 83, 3)):
        spec, slots = _big(rows, tasks, seeds)
        start = time.perf_counter()
        board = Board(spec, slots)
        took = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{rows} rows × {tasks} tasks × {seeds} seeds: {len(slots):,} slots, {took:.2f} s, {peak} MB")
        assert len(board.rows) == rows


class _Stub(Track):
    name, reference = "stub", "r0"
    metrics = (Metric(name="auc", better="higher"),)
    tasks = load = truth = score = smoke = lambda self, *a: None


def _big(rows, tasks, seeds):
    v = np.random.default_rng(0).normal(0.7, 0.01, (rows, tasks, seeds)).tolist()
    infos = [RowInfo(row=f"r{i}", label=f"Row {i}") for i in range(rows)]
    columns = [Task(name=f"t{j}") for j in range(tasks)]
    slots = [
        Slot(row=f"r{i}", task=f"t{j}", seed=k, key=f"{i}-{j}-{k}", status="ok", metrics={"auc": v[i][j][k]})
        for i in range(rows) for j in range(tasks) for k in range(seeds)
    ]  # fmt: skip
    spec = BoardSpec(track=_Stub(), profile="laptop", ranks_by="auc", tasks=columns, rows=infos)
    return spec, slots
