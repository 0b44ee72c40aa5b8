"""Claims on boards whose answer is known: what is compared, the verdict, and the sentence that is printed."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
from golden import as_text
from sample_board import Sample, board_of
from scipy import stats as ss

from bench import stats
from bench.board.inference.claims import in_front
from bench.board.page.render import render
from bench.board.spec import RowInfo
from bench.board.tables.relative import relative_change
from bench.board.text import claims, csvout, markdown
from bench.board.text.notes import headline, notes
from bench.board.text.statistics import families
from bench.contract import Claim, Metric, PaperEffect, Task


def track(*declared, better="higher", digits=3):
    class Claiming(Sample):
        claims = declared
        metrics = (Metric(name="auc", better=better, digits=digits),)

    return Claiming()


def around(centre, seed, n=5, sd=0.002):
    return (centre + np.random.default_rng(seed).normal(0, sd, n)).tolist()


def values(gains, tasks=3):
    """Rows that lie by so much above ``lr`` on each task."""
    return {
        r: [around(0.5 + t / 10 + gain, seed=10 * k + t) for t in range(tasks)]
        for k, (r, gain) in enumerate({"lr": 0.0, **gains}.items())
    }


OVER = Claim(name="A over LR", rows=("a",), over=("lr",))


def lines(board):
    return {line.name: line for line in claims.lines(board)}


@pytest.mark.parametrize(
    ("gain", "paper", "verdict"),
    [
        (0.03, None, "shown"),
        (0.03, 0.03, "shown"),
        (0.03, 0.02, "shown"),
        (0.03, 0.06, "shown, smaller than the paper's"),
        (0.0, 0.06, "not shown"),
        (-0.03, 0.06, "opposite"),
    ],
)
def test_the_board_begins_with_the_verdict_on_the_first_claim(gain, paper, verdict):
    figure = None if paper is None else PaperEffect(value=paper, text=f"+{paper}", source="Table 2")
    claim = Claim(name="A over LR", rows=("a",), over=("lr",), paper=figure)
    board = board_of(values({"a": gain}), track=track(claim))
    said = headline(board)
    assert said.startswith(f"A over LR on 3 tasks: {verdict}, ")
    assert said in as_text(board)
    assert said in markdown.render(board).replace("\\", "")
    line = lines(board)["A over LR"]
    assert (line.verdict, line.paper) == (verdict, "" if figure is None else figure.text)
    assert line.on == "3 tasks; these test sets"
    text = markdown.render(board)
    assert text.index("| claim |") < text.index("| \\#, letters |"), "claims stand above the rows"
    assert text.index("| claim |") < text.index("- **claims**")


def test_a_claim_is_the_contrast_that_compare_and_delta_are_made_of():
    board = board_of(values({"a": 0.02, "b": 0.01}), track=track(OVER))
    (view,) = board.claims.found
    a, lr = board.row_means.together([1, 0], [0, 1, 2])
    assert view.contrasts == (stats.contrast([(1, a), (-1, lr)]),)
    delta = next(r for r in board.rows if r.info.row == "a").delta
    assert delta.contrast == view.contrasts[0]
    assert view.judged.p == view.contrasts[0].p, "one claim needs no correction"
    assert delta.adjusted > view.contrasts[0].p, "which is what two rows against the reference do need"


def test_p_is_holms_over_the_claims_alone():
    other = Claim(name="B over LR", rows=("b",), over=("lr",), of_paper=False)
    v = values({"a": 0.003, "b": 0.003, **{f"r{k}": 0.0 for k in range(9)}})
    board = board_of(v, track=track(OVER, other))
    raw = [c.contrasts[0].p for c in board.claims.found]
    assert [c.judged.p for c in board.claims.found] == pytest.approx(stats.holm(raw).tolist())
    assert "p by Holm's correction over these 2 alone" in {n.label: n.long for n in families(board)}["claims"]
    assert "B over LR [ours]" in as_text(board)


def test_several_pairs_are_averaged_and_shown_only_against_every_counterpart():
    v = {"lr": [around(0.5, 0)], "m/x": [around(0.62, 1)], "m/y": [around(0.64, 2)], "s/x": [around(0.60, 3)],
         "s/y": [around(0.60, 4)], "w/x": [around(0.63, 5)], "w/y": [around(0.63, 6)]}  # fmt: skip
    claim = Claim(name="m over s", rows=("m/x", "m/y"), over=("s/x", "s/y"), also=(("w/x", "w/y"),))
    board = board_of(v, track=track(claim))
    (view,) = board.claims.found
    mean = {r: np.mean(x) for r, x in v.items()}
    by_hand = [(mean["m/x"] + mean["m/y"] - mean[f"{o}/x"] - mean[f"{o}/y"]) / 2 for o in "sw"]
    assert [c.diff for c in view.contrasts] == pytest.approx(by_hand)
    assert view.contrasts[0].p < 0.001
    assert view.judged.verdict == "not shown"
    assert "not shown, +.030" in headline(board)
    assert headline(board).endswith("over w.")
    assert lines(board)["the same over w"].verdict == ""
    assert in_front(board) == [("m/x", "s/x", "w/x"), ("m/y", "s/y", "w/y")]


def test_ratios_are_means_of_logarithms_and_printed_in_per_cent():
    v = {"lr": [[1.0, 1.02, 0.98], [8.0, 8.1, 7.9]], "a": [[0.8, 0.82, 0.79], [6.4, 6.5, 6.3]]}
    claim = Claim(name="A over LR", rows=("a",), over=("lr",), scale="log ratio",
                  paper=PaperEffect(value=math.log(0.5), text="−50 %", source="Table 1"))  # fmt: skip
    board = board_of(v, track=track(claim, better="lower"))
    (view,) = board.claims.found
    by_hand = np.mean([np.log(a).mean() - np.log(b).mean() for a, b in zip(v["a"], v["lr"], strict=True)])
    c = view.contrasts[0]
    assert c.diff == pytest.approx(by_hand)
    assert view.judged.verdict == "shown, smaller than the paper's"
    ends = [f"{100 * math.expm1(c.diff + s * c.half):+.1f}".replace("-", "−") for s in (-1, 1)]
    change = f"{100 * math.expm1(c.diff):+.1f} % ({ends[0]} to {ends[1]})"
    assert change.replace("-", "−") in headline(board)


def test_the_logarithm_is_taken_before_the_mean_over_the_tasks_of_a_data_set():
    """Else the ratio would be that of the mean values, which the task with the largest ones rules."""
    v = {"lr": [[10.0, 11.0, 9.0], [1000.0, 1010.0, 990.0]], "a": [[5.0, 5.5, 4.5], [1000.0, 990.0, 1010.0]]}
    tasks = [Task(name=n, data="one") for n in ("short", "long")]
    claim = Claim(name="A over LR", rows=("a",), over=("lr",), scale="log ratio")
    board = board_of(v, tasks=tasks, track=track(claim, better="lower"))
    (view,) = board.claims.found
    log = {r: np.log(x).mean(0) for r, x in v.items()}  # of each seed
    assert view.contrasts[0].diff == pytest.approx(math.log(0.5) / 2, abs=1e-3)
    assert view.contrasts[0].diff == pytest.approx(log["a"].mean() - log["lr"].mean())
    assert view.contrasts[0].p == pytest.approx(ss.ttest_ind(log["a"], log["lr"], equal_var=False).pvalue)
    assert (view.data, view.new_tasks) == (1, None)
    row = board.row_means.together([0], [0, 1])[0]
    assert row.mean == pytest.approx(np.mean(v["lr"])), "differences are of the values themselves"


def censored(v, bounds):
    """A board of steps until something is reached; ``bounds``: (row, task, seed) that never got there."""
    claim = Claim(name="A over LR", rows=("a",), over=("lr",), scale="log ratio")

    class Steps(type(track(claim, better="lower"))):
        metrics = (Metric(name="auc", better="lower", digits=0, censored=True),)

    board = board_of(v, track=Steps())
    for s in board.slots:
        if (s.row, s.task, s.seed) in bounds:
            s.metrics = {"auc": {"bound": s.metrics["auc"]}}
    return type(board)(board.spec, board.slots)


def test_a_task_on_which_no_row_gets_there_says_nothing_of_a_ratio():
    """With it the claim would be drawn to no difference, with a certainty that nothing supports."""
    v = {"lr": [[100.0, 110.0, 90.0], [600.0] * 3], "a": [[80.0, 85.0, 75.0], [600.0] * 3]}
    board = censored(v, {(r, "t1", s) for r in v for s in range(3)})
    (view,) = board.claims.found
    assert [board.tasks[t].name for t in view.tasks] == ["t0"]
    assert view.left_out == {"t1": "all values are censored, so that nothing is known of a difference"}
    alone = censored({r: x[:1] for r, x in v.items()}, set())
    assert view.contrasts == alone.claims.found[0].contrasts
    assert view.censored == {}
    table = relative_change(board)
    assert "all values of both rows are censored" in table.note
    assert table.rows[0][1] == lines(board)["A over LR"].difference


@pytest.mark.parametrize(("row", "sign"), [("a", "≥"), ("lr", "≤"), ("both", "")])
def test_a_censored_value_goes_into_a_ratio_as_its_bound_and_the_ratio_is_marked(row, sign):
    v = {
        "lr": [[100.0, 110.0, 90.0], [600.0, 400.0, 500.0]],
        "a": [[80.0, 85.0, 75.0], [500.0, 450.0, 600.0]],
    }
    rows = ("a", "lr") if row == "both" else (row,)
    plain = censored(v, set()).claims.found[0].contrasts[0]
    board = censored(v, {(r, "t1", 0) for r in rows})
    (view,) = board.claims.found
    assert view.contrasts[0] == plain, "mean and interval are those of the bounds"
    assert view.censored == dict.fromkeys(rows, (1, 6))
    line = lines(board)["A over LR"]
    assert line.difference.startswith(f"{sign}−" if sign else "−")
    label = {"a": "A", "lr": "LR"}
    assert all(f"1 of 6 of {label[r]}" in line.on for r in rows)
    assert line.difference in headline(board)


def test_a_task_without_a_ratio_a_result_or_a_difference_by_construction_is_left_out_aloud():
    v = {"lr": [[0.5, 0.6], [0.5, 0.6], [-0.1, 0.1], [0.5, 0.6], [0.5, 0.6]],
         "a": [[0.7, 0.8], [0.7, 0.8], [0.2, 0.1], ["failed"] * 2, [0.5, 0.6]]}  # fmt: skip
    claim = Claim(name="A over LR", rows=("a",), over=("lr",), scale="log ratio", tasks=("t[0-4]",))
    board = board_of(v, track=track(claim))
    for s in board.slots:
        if (s.row, s.task) == ("a", "t4"):
            s.key = next(o.key for o in board.slots if (o.row, o.task, o.seed) == ("lr", "t4", s.seed))
    again = type(board)(board.spec, board.slots)
    (view,) = again.claims.found
    assert [again.tasks[t].name for t in view.tasks] == ["t0", "t1"]
    assert view.left_out == {
        "t2": "a value that is not positive has no ratio",
        "t3": "no result of A",
        "t4": "the same cells by construction",
    }
    assert "t3: no result of A" in lines(again)["A over LR"].on


def test_a_claim_may_be_about_a_group_or_about_named_tasks():
    tasks = [Task(name="x", group="near"), Task(name="y", group="far"), Task(name="z", group="far")]
    near = Claim(name="near", rows=("a",), over=("lr",), group="near")
    named = Claim(name="named", rows=("a",), over=("lr",), tasks=("x", "z"))
    board = board_of(values({"a": 0.02}), tasks=tasks, track=track(near, named))
    assert [v.tasks for v in board.claims.found] == [(0,), (0, 2)]
    assert headline(board).startswith("near on x: shown, ")
    assert "near" in as_text(board).split("#, letters")[1].splitlines()[0]


def test_over_new_tasks_data_sets_are_the_sample():
    v = values({"a": 0.02}, tasks=6)
    board = board_of(v, track=track(OVER))
    contrast, judged = board.claims.found[0].new_tasks
    d = [np.mean(a) - np.mean(b) for a, b in zip(v["a"], v["lr"], strict=True)]
    assert contrast == stats.over_tasks(d)
    assert judged.verdict == "shown"
    assert lines(board)["over new tasks"].on == "6 data sets as the sample"
    assert board_of(values({"a": 0.02}, tasks=4), track=track(OVER)).claims.found[0].new_tasks is None


def test_power_is_about_the_claims():
    board = board_of(values({"a": 0.0005}), track=track(OVER))
    (view,) = board.claims.found
    c = view.contrasts[0]
    assert view.detectable == pytest.approx(stats.detectable(c.se, c.df))
    said = {n.label: n for n in notes(board)}["power"]
    assert said.short.startswith("first claim detects ≥ .00")
    assert "standard error" in said.long
    assert "if the difference seen is the true one" in said.long
    assert "power" not in {n.label for n in notes(board_of(values({"a": 0.1})))}


def test_a_claim_whose_rows_are_not_on_the_board_is_named_and_not_judged():
    absent = Claim(name="B over LR", rows=("b",), over=("lr",))
    board = board_of(values({"a": 0.02}), track=track(absent))
    assert board.claims.found == ()
    assert {n.label: n.long for n in families(board)}["claims"] == "Not on this board: “B over LR” needs b."
    assert headline(board).startswith("A has the best auc")
    assert "| claim |" not in markdown.render(board)


def test_a_claim_that_nothing_can_judge_says_why():
    board = board_of({"lr": [[0.5]], "a": [[0.6]]}, track=track(OVER))
    assert headline(board) == "A over LR on t0: not judged, +.100 (fewer than 2 seeds)."
    failed = board_of({"lr": [[0.5]], "a": [["failed"]]}, track=track(OVER))
    assert headline(failed) == "A over LR: not judged; no task has a result of all its rows."


def test_a_deterministic_row_against_one_with_seeds_is_judged():
    v = {"lr": [around(0.5, 0), around(0.6, 1)], "a": [[0.55], [0.65]]}
    rows = [RowInfo(row="lr", label="LR"), RowInfo(row="a", label="A", deterministic=True)]
    board = board_of(v, rows=rows, track=track(OVER))
    assert board.claims.found[0].judged.verdict == "shown"


def test_claims_are_lines_of_the_csv_too():
    board = board_of(values({"a": 0.02}), track=track(OVER))
    (line,) = [r for r in csv.DictReader(io.StringIO(csvout.render(board))) if r["role"] == "claim"]
    c = board.claims.found[0].contrasts[0]
    assert (line["row"], line["verdict"], line["metric"]) == ("A over LR", "shown", "auc")
    assert float(line["mean"]) == c.diff
    assert float(line["half"]) == c.half
    assert float(line["p"]) == board.claims.found[0].judged.p


def test_the_page_shows_claims_above_the_table_and_escapes_them():
    claim = Claim(name="<b>A</b> over LR", rows=("a",), over=("lr",),
                  paper=PaperEffect(value=0.06, text="+.06", source="<i>Table</i> 2"))  # fmt: skip
    text = render([board_of(values({"a": 0.02}), track=track(claim))])
    assert "<b>A</b>" not in text
    assert "<i>Table" not in text
    assert text.index('table class="plain claims"') < text.index('table class="board"')
    assert 'class="verdict smaller"' in text
    assert 'class="papers"' in text


def test_without_claims_pairs_or_else_the_best_row_and_the_reference_are_in_front():
    assert in_front(board_of(values({"a": 0.02, "b": 0.0}))) == [("a", "lr")]
    rows = [RowInfo(row="lr", label="LR"), RowInfo(row="a", label="A", role="method", counterpart="b"),
            RowInfo(row="b", label="B")]  # fmt: skip
    assert in_front(board_of(values({"a": 0.02, "b": 0.0}), rows=rows)) == [("a", "b")]
    assert in_front(board_of({"lr": [[0.5]]})) == [("lr",)]
