"""The published numbers of the track ``dit_transfer``: sourced cells alone, which agree with one another."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from bench.board.paper_figures import read_paper_figures
from bench.data.images import image_sets
from bench.registry import Registry

NUMBERS = read_paper_figures(
    Path(__file__).resolve().parents[2] / "results" / "published" / "dit_transfer.csv"
)
#: Rows of DiffFit's table of which every cell has a source, and those of which only the average has one.
WHOLE, AVERAGE = ("full", "bitfit", "lora/r8", "difffit"), ("adapter/parallel", "vpt-deep", "lora/r16")


def test_every_number_is_a_fid_of_a_data_set_of_ours_with_its_source():
    assert {p.task for p in NUMBERS} == {*image_sets.PUBLISHER_LAYOUTS, "average"}
    for p in NUMBERS:
        assert (p.metric, p.digits, p.std) == ("fid", 2, None)
        assert p.source.startswith("[W] " if p.row == "diff-tuning" else "[D] ")
        assert ("mean over the eight" in p.difference) == (p.task == "average")


def test_no_cell_is_there_that_was_only_recalled():
    assert Counter(p.row for p in NUMBERS) == {
        **dict.fromkeys(WHOLE, 9), **dict.fromkeys(AVERAGE, 1), "diff-tuning": 7
    }  # fmt: skip
    # The eighth cell of Diff-Tuning was cut off in the source.
    cells = {p.task for p in NUMBERS if p.row == "diff-tuning"}
    assert cells == set(image_sets.PUBLISHER_LAYOUTS) - {"stanford-cars"}


def test_rows_and_metric_are_the_tracks_own():
    assert {p.row for p in NUMBERS} <= set(Registry().rows("dit_transfer"))
    assert "fid" in {m.name for m in Registry().track("dit_transfer").metrics}


@pytest.mark.parametrize("row", WHOLE)
def test_the_printed_averages_come_out(row):
    values = defaultdict(list)
    for p in NUMBERS:
        if p.row == row:
            values[p.task == "average"].append(p.value)
    assert sum(values[False]) / 8 == pytest.approx(values[True][0], abs=0.0051)
