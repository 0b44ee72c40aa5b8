"""The pictures of the board of `controlnet`: the share over the steps, and conditions side by side."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sample_board import BoardTrack

from bench.board.model import Board
from bench.board.plots import agreement as plot
from bench.board.plots import steps as every_track
from bench.board.plots.agreement import agreement, over_steps, side_by_side
from bench.board.spec import BoardSpec, RowInfo, Slot
from bench.contract import SHEET_COLUMNS, Claim, Metric, Record, Task

SIDE = 4
STEPS = [5, 10, 20]


class Conditions(BoardTrack):
    name = "controlnet"
    metrics = (Metric(name="convergence_step", better="lower", censored=True, digits=0),)
    reference = "plain"
    claims = (Claim(name="Mine against plain", rows=("mine",), over=("plain",)),)


class Images(dict):
    def view(self, name):
        return self[name]


def tones(row):
    """An image of four lines of squares, each of one tone: 10 times the row, and the line."""
    lines = np.repeat(10 * row + np.arange(4, dtype=np.uint8), SIDE)[:, None, None]
    return np.broadcast_to(lines, (4 * SIDE, SHEET_COLUMNS * SIDE, 3))


@pytest.fixture
def board():
    rows, tasks = ("mine", "plain", "other"), ("edge", "depth")
    images, records, slots = Images(), {}, []
    for r, row in enumerate(rows):
        images[row] = tones(r)
        for task in tasks:
            for seed in range(2):
                key = f"{row}{task}{seed}"
                share = {"dims": ["step"], "coords": {"step": STEPS}, "data": [0.1, 0.2 + r + seed, None]}
                records[key] = Record(key=key, kind="cell", cell={}, status="ok", views={"samples": row},
                                      series={"share": share})  # fmt: skip
                metrics = {"convergence_step": 10.0 * (r + 1)}
                slots.append(Slot(row=row, task=task, seed=seed, key=key, status="ok", metrics=metrics))
    spec = BoardSpec(
        track=Conditions(), profile="laptop", ranks_by="convergence_step",
        tasks=[Task(name=t) for t in tasks],
        rows=[RowInfo(row=r, label=r.title(), role="baseline") for r in rows],
    )  # fmt: skip
    return Board(spec, slots, records.get, images)


def test_a_panel_a_condition_has_the_rows_of_the_claim_with_all_seeds(board, monkeypatch):
    seen = {}
    monkeypatch.setattr(plot, "_panel", lambda ax, task, lines: seen.update({task: lines}))
    (picture,) = over_steps(board)
    assert picture.name == "controlnet-agreement"
    assert list(seen) == ["edge", "depth"]
    assert set(seen["edge"]) == {"Mine", "Plain"}
    steps, shares = seen["edge"]["Plain"]
    assert steps.tolist() == STEPS
    assert shares[:, :2].tolist() == [[0.1, 1.2], [0.1, 2.2]]
    assert np.isnan(shares[:, 2]).all()


def test_numbers_at_a_logarithmic_axis_are_plain(board, monkeypatch):
    line = np.array([12.0, 60, 120, 400]), np.zeros((1, 4))
    monkeypatch.setattr(plot, "_line", lambda board, cell: line)
    (picture,) = over_steps(board)
    ticks = re.findall(r"<text[^>]*>([^<]*)</text>", picture.svg)
    assert {"20", "50", "100", "200"} <= set(ticks)
    assert not any("$" in text for text in ticks)


def test_it_is_drawn_on_an_axis_of_steps_and_no_other_picture_draws_the_same_series(board):
    picture, *others = agreement(board)
    assert "mean over seeds" in picture.caption
    assert "edge" in picture.svg
    assert [p.name for p in others] == ["controlnet-side-by-side-edge", "controlnet-side-by-side-depth"]
    assert every_track.over_steps(board) == []


def test_condition_picture_and_what_is_read_from_it_stand_side_by_side(board, monkeypatch):
    seen = {}
    monkeypatch.setattr(plot, "_draw_squares", lambda board, task, lines: seen.update({task: lines}))
    side_by_side(board)
    assert list(seen) == ["edge", "depth"]
    assert [(label, int(squares[0, 0, 0])) for label, squares in seen["edge"]] == [
        ("asked for", 1), ("the real picture", 3), ("Mine drew", 0), ("read from it", 2),
        ("Plain drew", 10), ("read from it", 12),
    ]  # fmt: skip


def test_a_row_whose_image_has_other_lines_is_left_out(board):
    for row in ("mine", "plain"):
        board._artifacts[row] = board._artifacts[row][:SIDE]
    assert side_by_side(board) == []
