"""Boards of runs that were interrupted: which tasks count, who is ranked, and what the header says."""

from __future__ import annotations

import html
import itertools

import numpy as np
import pytest
from golden import as_text

from bench.board.model import Board
from bench.board.page.render import render
from bench.board.spec import RowInfo, Slot
from bench.board.text import markdown
from bench.board.text.notes import headline, notes
from bench.contract import Task

#: Worst first: what runs first must not win by being first. ``prior`` is deterministic.
LEVEL = {"prior": 0.50, "lr": 0.60, "fm": 0.65, "dnn": 0.80, "net": 0.78}
ROWS = tuple(RowInfo(row=r, label=r.upper(), deterministic=r == "prior") for r in LEVEL)


def interrupted(sample, done, *, tasks=3, seeds=2, status=None, rows=ROWS, default="new"):
    """A board on which only the cells of ``done`` (row, task, seed) have a value; ``status``: of others."""
    names = [Task(name=f"t{k}") for k in range(tasks)]
    slots = []
    for info, (t, task), seed in itertools.product(rows, enumerate(names), range(seeds)):
        if info.deterministic and seed:
            continue
        ok = (info.row, t, seed) in done
        value = LEVEL.get(info.row, 0.7) + 0.01 * t + 0.001 * seed
        state = "ok" if ok else (status or {}).get((info.row, t, seed), default)
        slots.append(Slot(row=info.row, task=task.name, seed=seed, key=f"{info.row}-{t}-{seed}", status=state,
                          metrics={"auc": value} if ok else {}))  # fmt: skip
    return Board(sample.spec(tasks=names, rows=rows, paper_figures=()), slots)


def order(tasks=3, seeds=2, rows=LEVEL):
    """Cells in the order in which a plan runs them: all rows of a task on one seed, then the next task."""
    return [(r, t, s) for s in range(seeds) for t in range(tasks) for r in rows if not (r == "prior" and s)]


def tasks_note(board):
    return next((n for n in notes(board) if n.label == "tasks"), None)


def ranked(board):
    return [r.info.row for r in board.rows if r.rank is not None]


@pytest.mark.parametrize("tasks", [1, 3])
def test_wherever_a_run_is_interrupted_no_other_row_is_named_the_winner(sample, tasks):
    cells = order(tasks)
    for n in range(len(cells) + 1):
        board = interrupted(sample, set(cells[:n]), tasks=tasks)
        whole = min(n // len(LEVEL), tasks)
        if not whole:
            assert ranked(board) == [], f"after {n} cells"
            assert not any(r.letters for r in board.rows)
        else:
            assert ranked(board) == ["dnn", "net", "fm", "lr", "prior"], f"after {n} cells"
            assert board.counted == tuple(range(whole))


def test_workers_that_end_in_another_order_change_no_winner(sample):
    cells = order()
    rng = np.random.default_rng(0)
    for _ in range(200):
        # Of the cells begun by four workers any may have ended, with or without a machine that was lost.
        begun = int(rng.integers(len(cells)))
        done = {*cells[:begun], *(c for c in cells[begun : begun + 4] if rng.random() < 0.5)}
        lost = {c: "lost" for c in cells if c not in done and rng.random() < 0.2}
        board = interrupted(sample, done, status=lost)
        assert ranked(board)[:1] in ([], ["dnn"]), done


@pytest.mark.parametrize("state", ["new", "lost", "blocked"])
def test_a_task_begun_by_the_worst_row_alone_unranks_nobody(sample, state):
    cells = {c for c in order(2, 1) if c[1] == 0 or c[0] == "prior"}
    board = interrupted(sample, cells, tasks=2, seeds=1, default=state)
    assert ranked(board) == ["dnn", "net", "fm", "lr", "prior"]
    assert not any(r.partial for r in board.rows)
    assert (board.counted, dict(board.tally.waiting)) == ((0,), {1: (1, 2, 3, 4)})
    assert "1 of 2 tasks counts; t1 waits for LR, FM, DNN and NET." in tasks_note(board).long


def test_a_seed_of_several_is_a_value_and_waits_for_nothing(sample):
    first = [c for c in order() if c[2] == 0]
    board = interrupted(sample, {*first, ("lr", 0, 1)})
    assert board.counted == (0, 1, 2)
    assert tasks_note(board) is None
    assert ranked(board)[0] == "dnn"


@pytest.mark.parametrize("state", ["failed", "oom", "timeout", "diverged", "skipped"])
def test_a_failure_or_a_skip_is_an_answer_and_unranks_its_own_row_only(sample, state):
    lacking = {("fm", 1, 0), ("fm", 1, 1)}
    board = interrupted(sample, {*order()} - lacking, status={("fm", 1, 0): state, ("fm", 1, 1): "new"})
    assert board.counted == (0, 1, 2)
    assert ranked(board) == ["dnn", "net", "lr", "prior"]
    assert tasks_note(board) is None


def test_data_that_are_missing_for_every_row_are_left_out_as_before(sample):
    board = interrupted(sample, {c for c in order() if c[1] != 1}, default="blocked")
    assert (board.counted, tasks_note(board)) == ((0, 2), None)
    assert "Left out of all means, since no row has a value: t1." in markdown.render(board)


def test_a_row_just_added_holds_up_no_board_that_is_there(sample):
    rows = (*ROWS, RowInfo(row="mine", label="MINE", role="plugin"))
    board = interrupted(sample, {*order()}, rows=rows)
    assert ranked(board) == ["dnn", "net", "fm", "lr", "prior"]
    assert board.counted == (0, 1, 2)
    assert "MINE not counted" in headline(board)
    assert "Nothing waits for MINE, still to run." in tasks_note(board).long
    # One that skips a task has not begun by that: the board is not of the tasks that it skips.
    skips = {("mine", 0, s): "skipped" for s in range(2)}
    assert interrupted(sample, {*order()}, rows=rows, status=skips).counted == (0, 1, 2)
    # Begun, it is compared with the others on the tasks that it has.
    board = interrupted(sample, {*order(), ("mine", 1, 0)}, rows=rows)
    assert board.counted == (1,)
    assert "mine" in ranked(board)
    assert "1 of 3 tasks counts; t0 and t2 wait for MINE." in tasks_note(board).long


def test_two_added_rows_that_have_no_task_in_common_are_set_aside(sample):
    rows = (*ROWS, *(RowInfo(row=f"mine{k}", label=f"MINE{k}", role="plugin") for k in range(2)))
    board = interrupted(sample, {*order(), ("mine0", 0, 0), ("mine0", 1, 0), ("mine1", 2, 0)}, rows=rows)
    assert board.counted == (0, 1, 2)
    assert ranked(board) == ["dnn", "net", "fm", "lr", "prior"]
    assert {r.info.row for r in board.rows if r.partial} == {"mine0", "mine1"}


def test_an_ablation_holds_up_no_task_and_begins_none(sample):
    rows = (*ROWS, RowInfo(row="less", label="LESS", core=False))
    board = interrupted(sample, {c for c in order() if c[1] == 0} | {("less", 1, 0)}, rows=rows)
    assert (board.counted, dict(board.tally.waiting), board.tally.unawaited) == ((0,), {}, ())


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (order(2, 1)[:6], "1 of 2 tasks counts; t1 waits for LR, FM, DNN and NET."),
        (order(2, 1)[:2], "none of 2 tasks counts; t0 waits for FM, DNN and NET. So no row is ranked"),
    ],
)
def test_every_renderer_says_which_tasks_count(sample, done, said):
    board = interrupted(sample, {*done}, tasks=2, seeds=1)
    assert said in " ".join(as_text(board, 400).split())
    assert said in markdown.render(board)
    assert said in html.unescape(render([board], made="now"))


def test_many_names_are_cut_short(sample):
    rows = tuple(RowInfo(row=f"r{k}", label=f"R{k}") for k in range(9))
    done = {(f"r{k}", t, 0) for k in range(9) for t in range(9 - k)}
    text = tasks_note(interrupted(sample, done, rows=rows, tasks=9, seeds=1)).long
    assert "1 of 9 tasks counts; t1 waits for R8; t2 waits for R7 and R8; t3 waits for R6, R7 and R8" in text
    assert "and so on" in text
    assert "t4" not in text


def test_what_is_not_ranked_still_has_means_over_what_is_there(sample):
    board = interrupted(sample, {*order()[:3]})
    assert headline(board) == "No task counts yet: on each one some row is still to run, so no row is ranked."
    means = {r.info.row: r.mean and r.mean.mean for r in board.rows}
    assert means == {"prior": 0.5, "lr": 0.6, "fm": 0.65, "dnn": None, "net": None}
    assert [r.info.row for r in board.rows][:3] == ["fm", "lr", "prior"]
    assert "No cell has a result" in headline(interrupted(sample, set()))
