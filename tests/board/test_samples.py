"""A generative track's board: samples of its rows, changes beside the paper's claim, a metric by a number."""

from __future__ import annotations

import numpy as np
import pytest
from sample_board import BoardTrack

from bench.board.model import Board
from bench.board.plots import samples as plot
from bench.board.plots import steps
from bench.board.plots.samples import samples
from bench.board.spec import BoardSpec, RowInfo, Slot
from bench.board.tables.relative import relative
from bench.board.text import markdown
from bench.contract import SHEET_COLUMNS, BenchError, Claim, Metric, PaperEffect, Record, Task

SIDE = 4


class Drawing(BoardTrack):
    name = "drawing"
    metrics = (Metric(name="distance", better="lower", digits=3), Metric(name="fid", better="lower"))
    reference = "full"
    claims = (
        Claim(
            name="Mine against full", rows=("mine",), over=("full",), scale="log ratio",
            paper=PaperEffect(value=np.log(2 / 3), text="a third less", source="a table"),
        ),
    )  # fmt: skip


class Sheets(dict):
    def view(self, name):
        if name not in self:
            raise BenchError(f"no artifact {name}")
        return self[name]


def board(values, *, views=lambda row, task, seed: f"{row}{task}{seed}", series=None, lost=()):
    """``values``: {(row, task): distances by seed}. A sheet's pixels are 10 * place of its row + seed."""
    sheets, records, slots = Sheets(), {}, []
    rows = list(dict.fromkeys(r for r, _ in values))
    for (row, task), numbers in values.items():
        for seed, v in enumerate(numbers):
            key = f"{row}{task}{seed}"
            name = views(row, task, seed)
            if name and name not in lost:
                tone = 10 * rows.index(row) + seed
                sheets[name] = np.full((SIDE * 2, SHEET_COLUMNS * SIDE, 3), tone, np.uint8)
            records[key] = Record(
                key=key, kind="cell", cell={}, status="ok", views={"samples": name} if name else {},
                series=(series or {}).get(row, {}),
            )  # fmt: skip
            metrics = {"distance": v, "fid": None}
            slots.append(Slot(row=row, task=task, seed=seed, key=key, status="ok", metrics=metrics))
    spec = BoardSpec(
        track=Drawing(), profile="laptop", ranks_by="distance",
        tasks=[Task(name=t) for t in dict.fromkeys(t for _, t in values)],
        rows=[RowInfo(row=r, label=r.title(), role="baseline") for r in rows],
    )  # fmt: skip
    return Board(spec, slots, records.get, sheets)


VALUES = {
    ("full", "a"): [2.0, 2.0],
    ("full", "b"): [4.0, 4.0],
    ("mine", "a"): [1.0, 1.0],
    ("mine", "b"): [3.0, 3.0],
}


def lines_of(monkeypatch, made):
    seen = []
    monkeypatch.setattr(plot, "_line", lambda ax, label, sheet: seen.append((label, sheet)))
    pictures = samples(made)
    return pictures, seen


def test_a_picture_a_task_with_a_line_a_row_the_best_first(monkeypatch):
    pictures, seen = lines_of(monkeypatch, board(VALUES))
    assert [p.name for p in pictures] == ["drawing-drawn-a", "drawing-drawn-b"]
    assert [label for label, _ in seen] == ["Mine", "Full"] * 2
    assert {s.shape for _, s in seen} == {(SIDE, SHEET_COLUMNS * SIDE, 3)}, "the first line of the sheet"
    assert [int(s[0, 0, 0]) for _, s in seen] == [10, 0, 10, 0], "of the first seed"


def test_a_row_without_a_sheet_has_no_line_and_a_lost_one_gives_way_to_the_next_seed(monkeypatch):
    made = board(
        VALUES, views=lambda row, task, seed: "" if row == "full" else f"{row}{task}{seed}", lost={"minea0"}
    )
    pictures, seen = lines_of(monkeypatch, made)
    assert [label for label, _ in seen] == ["Mine", "Mine"]
    assert [int(s[0, 0, 0]) for _, s in seen] == [11, 10]
    assert samples(board(VALUES, views=lambda *of: "")) == []
    assert len(pictures) == 2


def test_long_boards_are_cut_and_say_so(monkeypatch):
    many = {(f"r{i:02}", "a"): [float(i)] for i in range(plot._MAX_ROWS + 3)}
    (picture,), seen = lines_of(monkeypatch, board(many))
    assert len(seen) == plot._MAX_ROWS
    assert f"The first {plot._MAX_ROWS} of {plot._MAX_ROWS + 3} rows." in picture.caption


def test_the_relative_change_is_a_geometric_mean_and_stands_beside_the_claim():
    made = board(VALUES)
    (r,) = relative(made)
    assert r.by_task == pytest.approx({"a": np.log(0.5), "b": np.log(0.75)})
    assert r.contrast.diff == pytest.approx(np.log(0.5 * 0.75) / 2)
    said = markdown.render(made)
    assert "### Relative change against full" in said
    assert "the paper: a third less (a table)" in said
    line = next(x for x in said.splitlines() if x.startswith("| Mine | −38.8 %"))
    assert "−50 to −25" in line
    assert line.rstrip(" |").endswith("2/2"), "lower is better"


def test_a_task_whose_reference_is_not_above_zero_is_left_out():
    (r,) = relative(board({**VALUES, ("full", "b"): [-0.1, 0.1]}))
    assert r.by_task == pytest.approx({"a": np.log(0.5)})
    assert relative(board({("mine", "a"): [1.0]})) == ()


def test_without_a_claim_of_that_scale_there_is_no_such_table(monkeypatch):
    monkeypatch.setattr(Drawing, "claims", ())
    assert "Relative change" not in markdown.render(board(VALUES))


def test_a_metric_that_applies_nowhere_has_no_column():
    assert "fid" not in markdown.render(board(VALUES))


def test_a_metric_along_a_number_is_a_curve_and_other_series_are_not():
    by = {"dims": ["switch"], "coords": {"switch": [0, 500]}, "data": [2.0, 3.0]}
    other = {"dims": ["index"], "coords": {"index": [0, 1]}, "data": [1.0, 2.0]}
    names = {"dims": ["domain"], "coords": {"domain": ["x", "y"]}, "data": [1.0, 2.0]}
    only = {at: v for at, v in VALUES.items() if at[1] == "a"}
    made = board(only, series={"full": {"distance": by, "spectrum": other}, "mine": {"distance": names}})
    (picture,) = steps.over_steps(made)
    assert picture.name == "drawing-distance-by-switch"
    assert picture.caption == "distance by switch, mean over seeds."
    assert ">switch<" in picture.svg
