"""The records that are committed can be read, belong to cells that are planned today, and make a board."""

from pathlib import Path

import pytest

from bench.board import markdown
from bench.board.collect import boards
from bench.cli.common import published_folder
from bench.plan import make_plan
from bench.registry import Registry
from bench.store.publish import load_published
from bench.suite import Suite

RESULTS = Path(__file__).resolve().parents[1] / "results"
FILES = sorted((RESULTS / "laptop").glob("*.jsonl"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_published_records_are_the_planned_cells(file):
    records = load_published(file)
    heads = records.heads()
    assert records.problems == []
    plan = make_plan(Suite(RESULTS.parent / "bench.yaml"), Registry(), records, "laptop", tracks=[file.stem])
    planned = {c.key for c in plan.cells if c.skip is None}
    assert planned <= set(heads), "cells of the laptop profile have no published record"
    assert set(heads) <= {c.key for c in plan.cells}, "published records that no plan asks for"
    (board,) = boards(plan, records, RESULTS / "published")
    assert board.rows[0].rank == 1
    assert "laptop numbers are not the paper's" in markdown.render(board)


def test_a_clone_reads_its_own_results():
    assert published_folder() == RESULTS


def test_no_published_file_names_a_host_or_a_path():
    for file in (*FILES, RESULTS / "LEADERBOARD.md"):
        text = file.read_text(encoding="utf-8")
        for private in ("/home/", "/root/", "/tmp/", "/work/"):
            assert private not in text, f"{file.name} names {private}"
