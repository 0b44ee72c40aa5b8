"""Ranks, groups and rules for missing cells on boards whose answer is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.stats
from sample_board import Sample, board_of

from bench import stats
from bench.board.model import Board
from bench.board.spec import FAILURES, RowInfo, Slot
from bench.board.text import formatting as fmt
from bench.board.text import markdown
from bench.board.text.notes import notes
from bench.board.text.statistics import families
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
    tasks = [Task(name=f"{d}-{s}x", params={"dataset": d, "scale": s}) for d in "abc" for s in (1, 4, 10)]
    rng = np.random.default_rng(0)
    v = {r: rng.normal(0.75, 0.01, (9, 3)) for r in ("a", "lr")}
    board = board_of({r: x.tolist() for r, x in v.items()}, tasks=tasks)
    assert len({*board.arrays.data}) == 3
    found = row(board, "a").delta.contrast
    of_curves = {r: x.reshape(3, 3, 3).mean(1) for r, x in v.items()}
    parts = [c.var(ddof=1) / 27 for x in of_curves.values() for c in x]
    assert found.diff == pytest.approx(v["a"].mean() - v["lr"].mean())
    assert found.se == pytest.approx(np.sqrt(sum(parts)))
    assert found.df == pytest.approx(sum(parts) ** 2 / sum(p**2 / 2 for p in parts))


def test_tasks_of_one_declared_data_set_are_one_observation(sample):
    values = {r: [around(0.7, seed=k), around(0.7, seed=k + 9)] for r, k in (("lr", 0), ("a", 1))}
    tasks = [Task(name="even", data="digits"), Task(name="uneven", data="digits")]
    found = row(board_of(values, tasks=tasks), "a").delta.contrast
    a, lr = (np.mean(values[r], axis=0) for r in ("a", "lr"))
    assert found.p == pytest.approx(scipy.stats.ttest_ind(a, lr, equal_var=False).pvalue)
    assert row(board_of(values), "a").delta.contrast.p != pytest.approx(found.p)


def test_a_seed_counts_where_it_has_every_task_of_a_data_set(sample):
    tasks = [Task(name="even", data="digits"), Task(name="uneven", data="digits")]
    board = board_of(
        {"lr": [[0.7, 0.71, 0.72]] * 2, "a": [[0.8, 0.81, 0.9], [0.8, 0.81, "new"]]}, tasks=tasks
    )
    (mean,) = board.row_means.together([1], [0, 1])
    assert mean.mean == pytest.approx(0.805)
    none = board_of({"lr": [[0.7, 0.71]] * 2, "a": [["new", 0.8], [0.8, "new"]]}, tasks=tasks)
    assert "no seed has all tasks of even" in row(none, "a").delta.contrast.why
    assert row(none, "a").rank == 1
    assert not none.ranking.lettered


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
    assert row(board, "a").delta.adjusted < 0.05
    assert row(board, "a").delta.contrast.diff == pytest.approx(-10, abs=0.3)
    assert row(board, "lr").delta is None


def test_letters_overlap_where_a_row_is_separated_from_only_some(sample):
    levels = {"lr": 0.70, "a": 0.704, "b": 0.708}
    board = board_of({r: [[x - 0.001, x, x + 0.001, x, x]] for r, x in levels.items()})
    assert [r.letters for r in board.rows] == ["a", "b", "c"]
    wide = board_of({r: [[x - 0.004, x, x + 0.004, x, x]] for r, x in levels.items()})
    assert {r.info.row: r.letters for r in wide.rows} == {"b": "a", "a": "ab", "lr": "b"}
    assert [r.leading for r in wide.rows] == [True, True, False]


def test_intervals_to_the_reference_are_simultaneous(sample):
    values = {r: [around(0.7, 5, seed=k), around(0.8, 5, seed=k + 9)] for k, r in enumerate(["lr", *"abcd"])}
    many = row(board_of(values), "a").delta
    alone = row(board_of({r: values[r] for r in ("lr", "a")}), "a").delta
    assert many.contrast == alone.contrast
    assert many.half > alone.half == pytest.approx(alone.contrast.half, rel=1e-2)


def test_a_row_with_fewer_tasks_is_compared_on_those(sample):
    values = {"lr": [around(0.7), around(0.9, seed=1)], "a": [around(0.75, seed=2), ["failed"] * 3]}
    delta = row(board_of(values), "a").delta
    assert delta.contrast.diff == pytest.approx(np.mean(values["a"][0]) - np.mean(values["lr"][0]))


def test_the_best_mean_of_a_column_is_bold_without_a_test(sample):
    board = board_of({"lr": [around(0.70)], "a": [around(0.75, seed=1)], "b": [around(0.7501, seed=2)]})
    best = {r.info.row for r in board.rows if r.cells[0].best}
    assert best == {board.rows[0].info.row}


def test_one_seed_claims_no_letters(sample):
    board = board_of({"lr": [[0.7]], "a": [[0.8]]})
    assert not board.ranking.lettered
    assert [r.letters for r in board.rows] == ["", ""]
    assert [r.rank for r in board.rows] == [1, 2]
    assert row(board, "a").delta.half is None


def test_rows_may_have_seeds_of_their_own_number(sample):
    board = board_of({"lr": [around(0.7, 5)], "a": [around(0.8, 3)]})
    said = {n.label: n for n in notes(board)}["seeds"]
    assert (said.short, said.long) == ("3 or 5 seeds", "5 planned a row and task; 3 for A.")
    assert "(" not in fmt.cell(row(board, "a").cells[0], 4), "three of three planned"
    fewer = board_of({"lr": [around(0.7, 5)], "a": [[*around(0.8, 2), "new"]]})
    assert fmt.cell(row(fewer, "a").cells[0], 4).endswith("(2/3 …)")


def test_groups_of_tasks_have_means_of_their_own(sample):
    tasks = [Task(name="x", group="near"), Task(name="y", group="far"), Task(name="z", group="far")]
    board = board_of({"lr": [[0.7], [0.5], [0.3]], "a": [[0.8], [0.6], [0.2]]}, tasks=tasks)
    assert board.groups == ("near", "far")
    assert [e.mean for e in row(board, "a").groups] == pytest.approx([0.8, 0.4])
    assert board_of({"lr": [[0.7]]}).groups == ()


def test_the_best_possible_value_stands_under_the_rows(sample):
    class Known(sample.track):
        def ceilings(self, tasks):
            return {"t0": 0.95}

    board = board_of({"lr": [[0.7], [0.5]]}, track=Known())
    line = next(x for x in markdown.render(board).splitlines() if "best possible" in x)
    assert line == "|  | best possible |  |  | 0.9500 |  |"
    both = type("Both", (Known,), {"ceilings": lambda self, tasks: {"t0": 0.95, "t1": 0.75}})()
    assert fmt.ceilings(board_of({"lr": [[0.7], [0.5]]}, track=both))[0] == "0.8500"


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
    means = dict(zip(values, board.row_means.together(range(len(values)), [0]), strict=True))
    gap = stats.contrast([(1, means["worst"]), (-1, means["best"])])
    assert (gap.p, gap.half, gap.why) == (0.0, None, "exact values")
    assert stats.contrast([(1, means["same"]), (-1, means["best"])]).p == 1.0


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


def test_no_mean_is_the_best_where_all_values_of_it_are_censored(sample):
    class Steps(sample.track):
        metrics = (Metric(name="auc", better="lower", censored=True, digits=0),)

    board = board_of(
        {"lr": [[500.0, 500.0], [100.0, 90.0]], "a": [[500.0, 500.0], [80.0, 70.0]]}, track=Steps()
    )
    never = [s for s in board.slots if s.metrics["auc"] == 500.0]
    assert len(never) == 4
    for slot in never:
        slot.metrics = {"auc": {"bound": 500.0}}
    board = Board(board.spec, board.slots)
    assert [[c.best for c in r.cells] for r in board.rows] == [[False, True], [False, False]]


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


class Splitting(Sample):
    split_per_seed = True


def test_where_the_split_changes_with_the_seed_rows_are_ranked_and_compared_on_the_seeds_that_all_have():
    """Seed 2 is an easy test set: who ran on it is not better for that, who did not is not worse."""
    easy = {
        "lr": [[0.50, 0.51, 0.90]],
        "a": [[0.52, 0.53]],
        "b": [[0.40, 0.42, 0.80]],
    }
    fixed, split = board_of(easy), board_of(easy, track=Splitting())
    assert [fixed.infos[i].row for i in fixed.ranking.order] == ["lr", "b", "a"]
    assert [split.infos[i].row for i in split.ranking.order] == ["a", "lr", "b"]
    place = split.arrays.row_index
    assert split.ranking.deltas[place["a"]].contrast.diff == pytest.approx(0.02)
    assert split.ranking.deltas[place["b"]].contrast.diff == pytest.approx(-0.095)
    a, b = split.row_means.together([place["lr"], place["b"]], [0])
    assert stats.contrast([(1, a), (-1, b)]).diff == pytest.approx((0.10 + 0.09 + 0.10) / 3)


class Pairing(Sample):
    paired_seeds = True


def test_where_rows_share_what_a_seed_draws_they_are_compared_seed_by_seed():
    """Row a is .01 better at each seed, and seeds differ by ten times that."""
    values = {"lr": [[0.50, 0.60, 0.70]], "a": [[0.511, 0.609, 0.710]]}
    apart, paired = board_of(values), board_of(values, track=Pairing())
    for made, halves in ((apart, (0.2, 0.3)), (paired, (0.002, 0.003))):
        delta = made.ranking.deltas[made.arrays.row_index["a"]]
        assert delta.contrast.diff == pytest.approx(0.01)
        assert halves[0] < delta.half < halves[1]
    assert apart.ranking.letters == {0: "a", 1: "a"}
    assert sorted(paired.ranking.letters.values()) == ["a", "b"]
    said = {n.label: n.long for n in families(paired)}["holds for"]
    assert "these test sets" in said
    assert "seed by seed" in said
    assert "seed by seed" not in {n.label: n.long for n in families(apart)}["holds for"]
