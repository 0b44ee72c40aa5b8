"""The golden board: one fixed list of slots as terminal text, Markdown and CSV, and what each must show.

After a wanted change, ``python tests/board/golden.py`` writes the golden files again; read the diff.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from golden import as_text
from rich.cells import cell_len

from bench.board.model import Board
from bench.board.spec import STATES, RowInfo, Slot
from bench.board.text import csvout, markdown
from bench.board.text import formatting as fmt
from bench.board.text.notes import headline, notes
from bench.board.text.statistics import families
from bench.board.view import CellView
from bench.contract import STATUSES, SYMBOLS, Task

GOLDEN = Path(__file__).parent / "golden"


def test_terminal_is_the_golden_one(board):
    assert as_text(board) == (GOLDEN / "board.txt").read_text(encoding="utf-8")


def test_markdown_is_the_golden_one(board):
    assert markdown.render(board) == (GOLDEN / "board.md").read_text(encoding="utf-8")


def test_csv_is_the_golden_one(board):
    ours = list(csv.DictReader(io.StringIO(csvout.render(board))))
    kept = list(csv.DictReader(io.StringIO((GOLDEN / "board.csv").read_text(encoding="utf-8"))))
    numbers = ("mean", "half", "sd")
    assert len(ours) == len(kept)
    for a, b in zip(ours, kept, strict=True):
        for k in numbers:
            assert (a[k] == b[k] == "") or float(a.pop(k)) == pytest.approx(float(b.pop(k)), abs=1e-12)
        assert a == b


def test_terminal_keeps_to_its_width_and_reads_no_markup(sample):
    tasks = [Task(name=f"a-rather-long-task-name-{k}") for k in range(9)]
    rows = [
        RowInfo(row="lr", label="[bold red]LR[/] with a label far too long for any one column of a table")
    ]
    slots = [
        Slot(row="lr", task=t.name, seed=0, key=t.name, status="ok", metrics={"auc": 0.7}) for t in tasks
    ]
    out = as_text(Board(sample.spec(tasks=tasks, rows=rows, paper_figures=()), slots))
    assert max(map(cell_len, out.splitlines())) <= 100
    assert "[bold red]" in out
    assert all(t.name in out for t in tasks)


@pytest.mark.parametrize("status", [s for s in STATES if s != "ok"])
def test_every_state_shows_its_symbol_everywhere(sample, status):
    slots = [Slot(row="lr", task="flights-1x", seed=s, key=str(s), status=status) for s in range(3)]
    board = Board(sample.spec(paper_figures=()), slots)
    assert SYMBOLS[status] in as_text(board)
    assert SYMBOLS[status] in markdown.render(board)
    line = next(
        r
        for r in csv.DictReader(io.StringIO(csvout.render(board)))
        if (r["row"], r["task"]) == ("lr", "flights-1x")
    )
    assert line[status] == "3"
    assert any(symbol == SYMBOLS[status] for symbol, _ in fmt.used_symbols(board))


def test_every_status_of_the_contract_is_a_state():
    assert set(STATUSES) < set(STATES)
    assert set(SYMBOLS) == set(STATES)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"ok": 3}, ""),
        ({"ok": 2, "failed": 1}, "2/3 ✗"),
        ({"ok": 1, "failed": 1, "oom": 1}, "1/3 ✗ ▣"),
        ({"failed": 3}, "✗ 3"),
        ({"oom": 2, "timeout": 1}, "▣2 ◷"),
        ({"unplanned": 3}, "·"),
        ({}, "·"),
        ({"new": 1}, "…"),
        ({"ok": 1, "new": 2}, "1/3 …"),
    ],
)
def test_troubles(counts, said):
    assert fmt.troubles(CellView("r", "t", None, counts, (), 3, False)) == said.replace(
        "⏱", SYMBOLS["timeout"]
    )


def test_numbers():
    assert fmt.number(-1234.5678, 2) == "−1,234.57"
    assert fmt.number(float("nan"), 2) == "n/a"
    assert fmt.half(0.0031, 4) == ".0031"
    assert fmt.half(12.3, 1) == "12.3"


def test_markdown_shows_a_strangers_label_as_text(sample, board):
    out = markdown.render(board)
    assert sample.plugin not in out
    assert "&lt;script&gt;alert(1)&lt;/script&gt; \\[plugin\\]" in out
    assert markdown.escape("a|b\n*c* `d`") == "a\\|b \\*c\\* \\`d\\`"


def test_csv_defuses_formulas(sample):
    rows = [RowInfo(row="lr", label="=HYPERLINK(1)")]
    slots = [Slot(row="lr", task="flights-1x", seed=0, key="k", status="ok", metrics={"auc": 0.7})]
    out = csvout.render(Board(sample.spec(rows=rows, paper_figures=()), slots))
    assert next(csv.DictReader(io.StringIO(out)))["label"] == "'=HYPERLINK(1)"


def test_header_names_what_a_reader_must_know(sample, board):
    said = {n.label: n.long for n in (*notes(board), *families(board))}
    assert "laptop numbers are not the paper's" in said["profile"]
    assert "higher is better" in said["ranks by"]
    assert "listed after the complete rows" in said["missing cells"]
    assert "default" in said["selection"]
    assert "rows that share no letter are separated" in said["letters"]
    assert "Dunnett's simultaneous 95 % interval over the 5 ranked rows" in said["Δ lr"]
    assert "these tasks and these test sets" in said["holds for"]
    assert said["seeds"].startswith("3 planned a row and task. 1 deterministic row run once")
    assert "3 stale" in said["cells"]
    assert "separated from every other complete row" in headline(board)


def test_header_says_what_the_track_wants_known(sample, monkeypatch):
    spec = sample.spec()
    monkeypatch.setattr(
        type(spec.track), "notes", lambda self, tasks: {"model": f"not CLIP, on {len(tasks)} tasks"}
    )
    board = Board(spec, [])
    assert ("model", "not CLIP, on 3 tasks") in {(n.label, n.long) for n in notes(board)}
    assert "**model**: not CLIP, on 3 tasks" in markdown.render(board)


def test_header_says_when_nothing_can_be_claimed(sample):
    slots = [Slot(row=r, task="flights-1x", seed=0, key=r, status="ok", metrics={"auc": v})
             for r, v in (("lr", 0.7), ("fm", 0.8))]  # fmt: skip
    spec = sample.spec(tasks=sample.tasks[:1], rows=sample.rows[1:3], paper_figures=())
    board = Board(spec, slots)
    said = {n.label: n for n in families(board)}
    assert said["letters"].short == "no letters"
    assert "too few seeds" in said["letters"].long
    assert "holds for" not in said
    assert "more than chance" in headline(board)
    assert "No cell has a result" in headline(Board(spec, []))


def test_mixed_hardware_is_said_and_split(sample, slots):
    for s in slots:
        s.hardware = "A" if s.seed else "B"
    out = as_text(Board(sample.spec(), slots))
    assert re.search(r"LR +A +60\*? +8\.0", out)
    assert re.search(r"LR +B +60\*? +8\.0", out)
    assert "compare within one hardware label only" in out
    for k, s in enumerate(slots):
        s.hardware = f"node-{k % 4}"
    out = as_text(Board(sample.spec(), slots))
    assert "not compared" in out
    assert "run (s)" not in out


def test_a_metric_that_a_stamped_record_does_not_have_is_not_measured(sample, slots):
    """It came after the record, whose other numbers were proven to stand: no failure, and no number."""
    stamp = {"cells": 9, "on": 2, "commit": "abc1234", "at": "2026-01-01T00:00:00+00:00"}
    late = [
        replace(s, verified=stamp, metrics={k: v for k, v in s.metrics.items() if k != "logloss"})
        if s.row == "lr"
        else s
        for s in slots
    ]
    board = Board(sample.spec(paper_figures=()), late)
    lines = markdown.render(board).splitlines()
    (line,) = (x for x in lines if x.startswith("| LR |") and "not measured" in x)
    assert "9 cells verified on 2 of 9 at abc1234" in " ".join(lines)
    assert not any("not measured" in x for x in lines if x != line and x.startswith("|"))
