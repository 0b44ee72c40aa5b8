"""The table of the maps of `forecasting`: means over windows, intervals over blocks of them."""

from types import SimpleNamespace

import numpy as np
import pytest

from bench.board.inference.examples import Scores
from bench.board.tables.precision_maps import ROW, SERIES, precision_maps


def board_with(values, blocks, *, series=True):
    """A board of one row and one task with correlations (seed, map, subset, window)."""
    windows = [f"w{i}" for i in range(values.shape[-1])]
    coords = {"map": ["U", "mean forecast"], "subset": ["all", "given"], "window": windows}
    records = {
        str(seed): SimpleNamespace(series={SERIES: {"data": of.tolist(), "coords": coords}} if series else {})
        for seed, of in enumerate(values)
    }
    slots = [SimpleNamespace(status="ok", key=key) for key in records]
    ids = np.array(windows)
    scores = Scores(ids, np.zeros(len(ids)), np.array(blocks), np.arange(len(ids)))
    return SimpleNamespace(
        tasks=[SimpleNamespace(name="rain")],
        infos=[SimpleNamespace(label="CogDPM")],
        arrays=SimpleNamespace(row_index={ROW: 0}, task_index={"rain": 0}, cells=lambda row, task: slots),
        scores=lambda row, task: dict.fromkeys(range(len(records)), scores),
        record=records.get,
    )


def test_means_over_windows_and_seeds_with_the_interval_over_blocks():
    values = np.zeros((2, 2, 2, 4))
    values[0, 0, 0] = [0.1, 0.3, 0.5, 0.7]
    values[1, 0, 0] = [0.3, 0.5, 0.7, 0.9]
    values[:, 1, 1] = np.nan
    found = precision_maps(board_with(values, "abcd"))
    assert found.heads == ("task", "map", "all", "given")
    half = 3.182446 * np.std([0.2, 0.4, 0.6, 0.8], ddof=1) / 2
    assert found.rows[0] == ("rain", "U", f"0.50 ±{half:.2f}".replace("±0", "±"), "0.00 ±.00")
    assert found.rows[1][3] == "–", "the mean forecast given itself"


def test_windows_of_one_block_count_together():
    values = np.zeros((1, 2, 2, 4))
    values[0, 0, 0] = [0.1, 0.1, 0.5, 0.5]
    two = precision_maps(board_with(values, "aabb")).rows[0][2]
    assert two == f"0.30 ±{12.706205 * 0.4 / 2:.2f}"
    assert precision_maps(board_with(values, "aaaa")).rows[0][2] == "0.30", "one block has no interval"


@pytest.mark.parametrize("board", [board_with(np.zeros((1, 2, 2, 2)), "ab", series=False)])
def test_a_task_without_a_study_of_precision_has_no_line(board):
    assert precision_maps(board) is None
