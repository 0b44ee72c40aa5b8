"""Ranks, groups and rules for missing cells on boards whose answer is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.stats
from sample_board import board_of

from bench.board.model import Board
from bench.board.spec import FAILURES, RowInfo, Slot
from bench.board.text.notes import notes
from bench.contract import BenchError, Metric, Task


def row(board, name):
    return next(r for r in (*board.rows, *board.ablations) if r.info.row == name)


def around(centre, n=3, sd=0.001, seed=0):
    return list(centre + np.random.default_rng(seed).normal(0, sd, n))


def test_ranks_groups_and_order_of_the_sample(board):
    names = [r.info.row for r in board.rows]
    assert names == ["multi/dcnv2", "multi/dnn", "single/dcnv2", "fm", "lr", "prior", "single/dnn", "mine"]
    assert [r.rank for r in board.rows] == [1, 2, 3, 4, 5, 6, None, None]
    assert [r.letters for r in board.rows] == ["a", "b", "c", "d", "e", "f", "", ""]
    assert [r.partial for r in board.rows] == [False] * 6 + [True] * 2
    assert [r.info.row for r in board.ablations] == ["multi/dcnv2-shared"]
    assert board.ablations[0].rank is None


def test_points_of_a_curve_are_one_observation(sample):
    tasks = [Task(name=f"{d}-{s}x", params={"dataset": d, "scale": s}) for d in "abcde" for s in (1, 4, 10)]
    rng = np.random.default_rng(0)
    # What row a gains differs between the data sets, not along scale.
    by_dataset = np.array([0.010, 0.012, 0.002, -0.001, 0.001])[:, None, None]
    noise = rng.normal(0, 0.001, (2, 5, 3, 3))
    a = (0.75 + by_dataset + noise[0]).reshape(15, 3)
    lr = (0.75 + noise[1]).reshape(15, 3)
    spec = sample.spec(
        tasks=tasks, rows=[RowInfo(row="a", label="a"), RowInfo(row="lr", label="lr")], paper_figures=()
    )
    slots = [
        Slot(row=r, task=t.name, seed=s, key=f"{r}{t.name}{s}", status="ok", metrics={"auc": float(v[i, s])})
        for r, v in (("a", a), ("lr", lr)) for i, t in enumerate(tasks) for s in range(3)
    ]  # fmt: skip
    board = Board(spec, slots)
    assert [len(s) for s in board.ranking.samples] == [3] * 5
    means = [v.mean(1).reshape(5, 3).mean(1) for v in (a, lr)]
    delta = row(board, "a").delta
    assert (delta.n, delta.unit) == (5, "curves")
    assert delta.p == pytest.approx(scipy.stats.ttest_rel(*means).pvalue)
    assert scipy.stats.ttest_rel(a.mean(1), lr.mean(1)).pvalue < 0.05 < delta.p, (
        "points taken for observations"
    )
    assert "the 5 curves are the sample" in {n.label: n.long for n in notes(board)}["tie groups"]


def test_few_independent_tasks_are_tested_over_seeds(sample):
    values = {r: [around(0.7 + i / 10, seed=i + k) for i in range(4)] for r, k in (("lr", 0), ("a", 9))}
    delta = row(board_of(values), "a").delta
    a, lr = (np.mean(values[r], axis=0) for r in ("a", "lr"))
    assert delta.unit == "seeds"
    assert delta.p == pytest.approx(scipy.stats.ttest_ind(a, lr, equal_var=False).pvalue)
    assert row(board_of({r: [v[:1] for v in of] for r, of in values.items()}), "a").delta.unit == "tasks"


def test_one_curve_is_tested_over_seeds_on_its_mean(sample):
    values = {
        "lr": [around(0.7 + i, seed=i) for i in range(3)],
        "a": [around(0.7 + i, seed=9 + i) for i in range(3)],
    }
    tasks = [Task(name=f"{s}x", params={"scale": s}) for s in (1, 4, 10)]
    board = board_of(values, tasks=tasks)
    a, lr = (np.mean(values[r], axis=0) for r in ("a", "lr"))
    delta = row(board, "a").delta
    assert delta.unit == "seeds"
    assert delta.p == pytest.approx(scipy.stats.ttest_ind(a, lr, equal_var=False).pvalue)


def test_a_clear_winner_is_alone_in_its_group_and_lower_can_be_better(sample):
    rng = np.random.default_rng(0)
    base = rng.normal(0, 5, (8, 1))
    values = {k: (base + level + rng.normal(0, 0.2, (8, 3))).tolist()
              for k, level in (("lr", 30), ("a", 20), ("b", 20.05))}  # fmt: skip

    class Low(sample.track):
        metrics = (Metric(name="auc", better="lower"),)

    board = board_of(values, track=Low())
    assert [r.info.row for r in board.rows][2] == "lr"
    assert [r.letters for r in board.rows] == ["a", "a", "b"]
    assert row(board, "a").delta.verdict == "better"
    assert row(board, "a").delta.diff == pytest.approx(-10, abs=0.3)
    assert row(board, "lr").delta is None


def test_one_task_is_tested_over_seeds(sample):
    board = board_of({"lr": [around(0.70)], "a": [around(0.75, seed=1)], "b": [around(0.7501, seed=2)]})
    assert board.ranking.grouped
    assert {r.info.row: r.letters for r in board.rows} == {"a": "a", "b": "a", "lr": "b"}
    assert row(board, "a").delta.unit == "seeds"
    assert [row(board, r).cells[0].best for r in ("lr", "a", "b")] == [False, True, True]


def test_one_seed_and_one_task_claim_no_groups(sample):
    board = board_of({"lr": [[0.7]], "a": [[0.8]]})
    assert not board.ranking.grouped
    assert [r.letters for r in board.rows] == ["", ""]
    assert [r.rank for r in board.rows] == [1, 2]
    assert not any(c.best for r in board.rows for c in r.cells)
    assert board.ranking.detectable() is None
    assert board.ranking.runner_up is None


@pytest.mark.parametrize("status", ["failed", "oom", "timeout", "diverged"])
def test_one_held_cell_makes_a_row_partial_even_with_other_seeds(sample, status):
    v = {"lr": [[0.7, 0.71], [0.7, 0.7]], "a": [[0.9, status], [0.9, 0.91]]}
    board = board_of(v)
    assert [r.info.row for r in board.rows] == ["lr", "a"]
    assert row(board, "a").partial
    assert row(board, "a").rank is None
    assert row(board, "a").mean.mean == pytest.approx((0.9 + 0.905) / 2)


@pytest.mark.parametrize("status", ["lost", "new", "blocked"])
def test_what_is_nobodys_fault_is_not_held_against_a_row_with_another_seed(sample, status):
    board = board_of({"lr": [[0.7, 0.71], [0.7, 0.7]], "a": [[0.9, status], [0.9, 0.91]]})
    assert [(r.info.row, r.partial) for r in board.rows] == [("a", False), ("lr", False)]


@pytest.mark.parametrize("status", ["skipped", "unplanned", *sorted(FAILURES)])
def test_a_whole_task_without_a_value_makes_a_row_partial(sample, status):
    board = board_of({"lr": [[0.7], [0.7]], "a": [[0.9], [status]]})
    assert row(board, "a").partial
    assert row(board, "a").cells[1].estimate is None


@pytest.mark.parametrize("worse_first", [True, False])
@pytest.mark.parametrize("better", ["higher", "lower"])
def test_two_deterministic_rows_are_separate_where_their_values_differ(sample, better, worse_first):
    class Directed(sample.track):
        metrics = (Metric(name="auc", better=better),)

    order = [("best", 0.90), ("same", 0.90), ("worst", 0.10)]
    if better == "lower":
        order = [(r, 1 - v) for r, v in order]
    fixed = dict(reversed(order) if worse_first else order)
    values = {r: [[v]] for r, v in fixed.items()} | {"lr": [around(0.5)]}
    rows = [RowInfo(row=r, label=r, deterministic=r in fixed) for r in values]
    board = board_of(values, rows=rows, track=Directed())
    assert {r.info.row: r.letters for r in board.rows} == {
        "best": "a",
        "same": "a",
        "lr": "b",
        "worst": "c",
    }
    assert {r.info.row for r in board.rows if r.cells[0].best} == {"best", "same"}
    assert board.ranking.pairs == 4, "differing values of two deterministic rows are no test over seeds"
    gap = board.ranking.difference(*(list(values).index(r) for r in ("worst", "best")))
    assert (gap.verdict, gap.p, gap.half) == ("worse", 0.0, None)
    same = board.ranking.difference(*(list(values).index(r) for r in ("same", "best")))
    assert (same.verdict, same.p) == ("no difference shown", 1.0)


def test_over_new_tasks_deterministic_rows_are_tested_as_any_other(sample):
    rng = np.random.default_rng(1)
    values = {r: [[v] for v in rng.normal(0.7, 0.1, 6)] for r in ("a", "lr")}
    rows = [RowInfo(row=r, label=r, deterministic=True) for r in values]
    board = board_of(values, rows=rows)
    assert [r.letters for r in board.rows] == ["a", "a"]
    assert board.ranking.unit == "tasks"
    p = scipy.stats.ttest_rel(*(np.ravel(v) for v in values.values())).pvalue
    assert row(board, "a").delta.p == pytest.approx(p)


def test_a_task_that_nobody_answered_is_left_out_of_every_mean(sample):
    board = board_of({"lr": [[0.7], ["blocked"]], "a": [[0.8], ["blocked"]]})
    assert board.counted == (0,)
    assert not any(r.partial for r in board.rows)
    assert row(board, "a").mean.mean == pytest.approx(0.8)


def test_partial_rows_are_ordered_by_tasks_then_by_distance_to_the_tasks_medians(sample):
    v = {"lr": [[0.7], [0.5], [0.3]], "b": [[0.9], ["failed"], ["failed"]], "c": [[0.8], [0.6], ["failed"]],
         "d": [["failed"], [0.61], [0.45]]}  # fmt: skip
    board = board_of(v)
    assert [r.info.row for r in board.rows] == ["lr", "d", "c", "b"]


def test_a_deterministic_row_is_one_observation(board):
    e = board.estimate("prior", "flights-1x")
    assert (e.n, e.half, e.deterministic) == (1, None, True)


def test_replicates_of_a_seed_are_one_observation(sample):
    slots = [Slot(row="lr", task="flights-1x", seed=s, key=k, status="ok", metrics={"auc": v})
             for s, k, v in ((0, "a", 0.7), (0, "b", 0.8), (1, "c", 0.9))]  # fmt: skip
    e = Board(sample.spec(), slots).estimate("lr", "flights-1x")
    assert (e.n, e.mean) == (2, pytest.approx(0.825))


def test_censored_values_flag_the_mean_and_sit_at_their_bound(sample):
    class Steps(sample.track):
        metrics = (Metric(name="auc", better="lower", censored=True, digits=0),)

    board = board_of({"lr": [[100.0, 120.0], [100.0, 90.0]]}, track=Steps())
    board.slots[0].metrics = {"auc": {"bound": 500.0}}
    board = Board(board.spec, board.slots)
    assert board.rows[0].cells[0].estimate.bound == "≥"
    assert board.rows[0].cells[0].estimate.mean == 310.0
    assert board.rows[0].mean.bound == "≥"


def test_counts_hardware_stale_and_marks(board):
    assert board.status_counts["ok"] == 62
    assert board.status_counts["oom"] == 2
    assert board.hardware == ("2 × x86, no GPU",)
    assert board.stale == 3
    assert row(board, "fm").cells[1].stale == 3
    assert row(board, "single/dcnv2").cells[2].noted
    assert row(board, "multi/dcnv2").cells[0].alias_of == "single/dcnv2"


def test_unknown_names_are_named_with_the_nearest(sample, slots):
    slots[3] = dataclasses.replace(slots[3], row="singel/dcnv2")
    with pytest.raises(BenchError, match=r"unknown row 'singel/dcnv2'; did you mean 'single/dcnv2'"):
        Board(sample.spec(), slots)
    with pytest.raises(BenchError, match="has no metric 'acu'; did you mean 'auc'"):
        Board(sample.spec(ranks_by="acu"), [])


def test_an_empty_board_is_a_board(sample):
    board = Board(sample.spec(), [])
    assert board.counted == ()
    assert all(r.partial and r.mean is None for r in board.rows)
    assert board.status_counts == {}
