"""The full simulations behind the board's rules, printed (``pytest -m perf -s`` on this file)."""

from __future__ import annotations

import resource
import time

import numpy as np
import pytest

from bench import stats
from bench.board.model import Board
from bench.board.spec import BoardSpec, RowInfo, Slot
from bench.contract import Metric, Task, Track

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


def test_false_separations():
    """Boards of equal rows: any row outside group a is an error (8 tasks × 3 seeds, seed sd 1)."""
    rng = np.random.default_rng(1)
    for rows in (2, 4, 8, 12):
        for tau in (0, 1, 3):
            pairs = best = pooled = 0
            runs = 2000
            for _ in range(runs):
                x = rng.normal(0, tau, (rows, 8, 1)) + rng.normal(0, 1, (rows, 8, 3))
                m = x.mean(2)
                order = np.argsort(-m.mean(1))
                pairs += max(stats.tie_groups(list(order), stats.task_pairs(m)[0])) > 0
                best += _holm_best(m, order[0])
                pooled += max(stats.tie_groups(list(order), stats.task_pairs(x.reshape(rows, -1))[0])) > 0
            print(
                f"{rows:2} rows, interaction {tau}: over all pairs {pairs / runs:.3f}, best against the "
                f"rest only {best / runs:.3f}, task × seed pooled {pooled / runs:.3f}"
            )
            assert pairs / runs <= 0.065


def test_points_of_a_curve_taken_for_observations():
    """Boards of equal rows on data sets × 5 scales × 3 seeds; a row's gain on a data set holds at all scales."""
    rng = np.random.default_rng(2)
    for datasets in (3, 5):
        for tau in (0, 1, 3):
            curves = points = 0
            runs = 1000
            for _ in range(runs):
                x = rng.normal(0, tau, (8, datasets, 1, 1)) + rng.normal(0, 1, (8, datasets, 5, 3))
                m = x.mean(3)
                order = list(np.argsort(-m.mean((1, 2))))
                curves += max(stats.tie_groups(order, stats.task_pairs(m.mean(2))[0])) > 0
                points += max(stats.tie_groups(order, stats.task_pairs(m.reshape(8, -1))[0])) > 0
            print(
                f"{datasets} data sets, interaction {tau}: curves as observations {curves / runs:.3f},"
                f" their points {points / runs:.3f}"
            )
            assert curves / runs <= 0.065


def _holm_best(m, best):
    others = [i for i in range(len(m)) if i != best]
    p = [stats.paired(m[best], m[i], better="higher", unit="tasks").p for i in others]
    return bool((stats.holm(p) < 0.05).any())


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
