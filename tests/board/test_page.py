"""The page as text: escaping, what it embeds and what it does not, self-containedness; the pictures' SVG."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import pytest

from bench.board.model import Board
from bench.board.page.embedded import Embedded
from bench.board.page.render import render
from bench.board.plots.along_axis import along_axis
from bench.board.plots.paired_series import paired_series
from bench.board.plots.states import status_matrix
from bench.board.plots.validation import point
from bench.board.registry import pictures
from bench.board.spec import RowInfo, Slot
from bench.contract import Task


def embedded(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def test_strangers_text_is_never_markup(page_text):
    assert page_text.count("<script") == 2
    assert page_text.count("</script>") == 2
    assert "<script>alert" not in page_text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page_text
    assert "<img src=x" not in page_text
    assert "<b>shapes" not in page_text


def test_the_data_block_survives_a_closing_tag_in_a_log(page_text):
    data = embedded(page_text)
    cells = [s for c in data["boards"][0]["cells"].values() for s in c]
    assert len(cells) == 75
    failed = next(s for s in cells if s["status"] == "failed")
    assert failed["detail"]["lines"][-1] == "</script><img src=x>"
    assert len(failed["detail"]["log"]) == 12
    assert failed["detail"]["log"][-1] == "epoch 29: loss 0.0333 </script>"
    assert data["shared"][failed["detail"]["hp"]] == {"lr": 0.001, "dim": 16}


def test_every_slot_is_listed_and_blocks_are_shared(page_text):
    data = embedded(page_text)
    assert len(data["shared"]) <= 6
    states = {s["status"] for c in data["boards"][0]["cells"].values() for s in c}
    assert states == {
        "ok",
        "skipped",
        "failed",
        "oom",
        "timeout",
        "diverged",
        "lost",
        "new",
        "blocked",
        "unplanned",
    }


def test_nothing_is_fetched(page_text):
    addresses = set(re.findall(r"https?://[^\"'\s<)]+", page_text))
    assert addresses <= {"http://www.w3.org/1999/xlink"}
    assert not re.search(r"<(link|img|iframe)\b|@import|url\((?!#)", page_text)
    assert "default-src 'none'" in page_text


def test_details_are_capped_and_failures_come_first(sample, slots):
    read = []

    def detail(key):
        read.append(key)
        return sample.detail(slots)(key)

    board = Board(sample.spec(), slots, detail)
    assert len(paired_series(board)) == 1
    read.clear()
    data = Embedded(3)
    data.add(board)
    assert len(read) == 3
    status = {s.key: s.status for s in slots}
    assert "ok" not in {status[k] for k in read}
    assert data.left_out == len({s.key for s in slots if s.status not in ("new", "blocked", "unplanned")}) - 3


def test_odd_values_still_make_json(sample):
    slots = [Slot(row="lr", task="flights-1x", seed=0, key="k", status="ok", cost={"run_s": float("nan")},
                  metrics={"auc": 0.7, "x": float("inf"), "deep": {"a": {"b": {"c": {"d": {"e": 1}}}}}},
                  reason="\ud800 lone \x00")]  # fmt: skip
    data = embedded(render([Board(sample.spec(paper_figures=()), slots)]))
    (slot,) = next(iter(data["boards"][0]["cells"].values()))
    assert slot["metrics"]["x"] == "inf"
    assert slot["cost"]["run_s"] == "nan"


def test_a_page_of_no_boards_and_of_an_empty_board(sample):
    assert "<main>" in render([])
    assert "No cell has a result yet." in render([Board(sample.spec(), [])])


def test_pictures_are_wellformed_text_svg(board):
    found = {p.name: p for p in pictures(board)}
    assert set(found) == {"sample_ctr-axis", "sample_ctr-spectrum", "sample_ctr-states"}
    for p in found.values():
        ET.fromstring(p.svg)
        assert "<style" not in p.svg
        assert "<image" not in p.svg
        assert p.caption
    words = "".join(ET.fromstring(found["sample_ctr-axis"].svg).itertext())
    assert "Multi-embedding · DCNv2" in words
    assert {"Single · DCNv2", "Multi-embedding · DNN"} <= {*words.splitlines()} or "Single · DCNv2" in words
    assert "Prior" not in words, "rows that are not compared are grey lines without a name"


def test_test_is_shown_against_validation_where_both_are_known(sample):
    rows = [RowInfo(row=f"r{i}", label=f"Row {i}") for i in range(9)]
    slots = [
        Slot(row=r.row, task=t.name, seed=s, key=f"{r.row}{t.name}{s}", status="ok",
             metrics={"auc": 0.7 + s / 100, "val_auc": 0.8 + i / 100 if s else None})
        for i, r in enumerate(rows) for t in sample.tasks for s in range(3)
    ]  # fmt: skip
    board = Board(sample.spec(rows=rows, paper_figures=()), slots)
    found = {p.name: p for p in pictures(board)}["sample_ctr-validation"]
    drawn = ET.fromstring(found.svg)
    words = "".join(drawn.itertext())
    assert "auc on validation" in words
    assert "auc on test" in words
    assert "Row 6" in words
    assert "Row 7" not in words, "after the seventh the rows share a colour"
    assert "the others" in words
    points = drawn.findall(".//*[@clip-path]")
    assert len([p for p in points if p.tag.endswith("g")]) >= len(rows)
    assert point(board.rows[0].cells[0], "auc") == pytest.approx((0.8 + _level(board), 0.715))


def _level(board):
    return int(board.rows[0].info.row[1:]) / 100


def test_pictures_are_the_same_every_time_and_do_not_share_ids(board):
    one, two = pictures(board), pictures(board)
    assert [p.svg for p in one] == [p.svg for p in two]
    used = [set(re.findall(r'(?:href="#|url\(#)([^")]+)', p.svg)) for p in one]
    assert not used[0] & used[1]


def test_a_label_of_mathtext_or_control_characters_is_only_a_label(sample):
    rows = [RowInfo(row="lr", label="$\\frac{1}{$ \x07_x")]
    slots = [
        Slot(row="lr", task=t.name, seed=s, key=f"{t.name}{s}", status="ok", metrics={"auc": 0.7 + s / 100})
        for t in sample.tasks
        for s in range(3)
    ]
    for p in pictures(Board(sample.spec(rows=rows, paper_figures=()), slots)):
        assert "$\\frac{1}{$ _x" in "".join(ET.fromstring(p.svg).itertext())


def test_no_curve_without_an_axis_and_no_matrix_for_a_huge_board(sample, slots):
    plain = [Task(name=t.name) for t in sample.tasks]
    board = Board(sample.spec(tasks=plain), slots)
    assert along_axis(board) is None
    assert paired_series(board) == []
    rows = [RowInfo(row=f"r{k}", label="x") for k in range(3000)]
    slot = Slot(row="r0", task="flights-1x", seed=0, key="k", status="ok", metrics={"auc": 0.7})
    assert status_matrix(Board(sample.spec(rows=rows, paper_figures=()), [slot])) is None
