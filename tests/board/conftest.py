"""Fixtures of the sample board: a synthetic track with every status on it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from sample_board import PLUGIN, ROWS, TASKS, Sample, sample_board, sample_detail, sample_slots, sample_spec


@pytest.fixture
def sample():
    """The pieces, for tests that change one of them."""
    return SimpleNamespace(
        track=Sample, spec=sample_spec, slots=sample_slots, detail=sample_detail, rows=ROWS, tasks=TASKS,
        plugin=PLUGIN,
    )  # fmt: skip


@pytest.fixture
def slots():
    return sample_slots()


@pytest.fixture
def board(slots):
    return sample_board(slots)


@pytest.fixture(scope="session")
def page_text():
    """The sample's page, rendered once: most tests only read it."""
    from bench.board.page.render import render

    return render([sample_board()], made="Made from a test.")
