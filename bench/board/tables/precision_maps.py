"""Whether maps say where a forecast is wrong, with intervals over windows: the track `forecasting`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench import stats
from bench.board.model import Board
from bench.board.registry import DerivedTable, table
from bench.board.text import formatting as fmt
from bench.contract import Record

#: Series of a record, (map, subset, window): rank correlations with the error of the ensemble's mean.
SERIES = "precision_by_window"
#: The row whose maps are shown: the paper's.
ROW = "cogdpm"


@table("precision-maps", track="forecasting", order=60)
def precision_maps(board: Board) -> DerivedTable | None:
    """Each map's correlation on every task; None without a result of the paper's row."""
    if ROW not in board.arrays.row_index:
        return None
    rows, subsets = [], list[str]()
    for task in board.tasks:
        found = list(_of_task(board, task.name))
        if found:
            subsets = found[0][1]
            rows += [(task.name, name, *cells) for name, _, cells in found]
    if not rows:
        return None
    note = (
        "rank correlation of a map with the error of the mean forecast, over the cells of a window and lead: "
        "all cells, those that turned out not to be empty (which no map can know: the largest errors there "
        "are what was not forecast), and all given the mean forecast; mean over windows, leads and seeds, ± "
        "the 95 % interval over blocks of windows"
    )
    label = board.infos[board.arrays.row_index[ROW]].label
    heads = ("task", "map", *subsets)
    return DerivedTable(f"Where {label} is wrong", note, heads, rows, frozenset({0, 1}))


def _of_task(board: Board, task: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Of each map its name, the subsets of cells, and its correlation on each as text."""
    at = board.arrays.row_index[ROW], board.arrays.task_index[task]
    scores = board.scores(ROW, task)
    slots = [s for s in board.arrays.cells(*at) if s.status == "ok"]
    records = [r for s in slots if (r := board.record(s.key)) is not None and SERIES in r.series]
    if not records or not scores:
        return
    first, series = next(iter(scores.values())), records[0].series[SERIES]
    block = dict(zip(first.ids.tolist(), first.groups.tolist(), strict=True))
    coords = series["coords"]
    blocks = [block[w] for w in coords["window"]]
    found = np.array([_values(r) for r in records])
    seen = ~np.isnan(found)
    mean = np.where(seen, found, 0).sum(0) / np.where(seen.any(0), seen.sum(0), np.nan)
    for k, name in enumerate(coords["map"]):
        yield name, list(coords["subset"]), [_interval(mean[k, j], blocks) for j in range(mean.shape[1])]


def _values(record: Record) -> np.ndarray:
    return np.array(record.series[SERIES]["data"], float)


def _interval(by_window: np.ndarray, blocks: list[str]) -> str:
    """The mean over windows ± its interval, each block's windows counting together."""
    there = ~np.isnan(by_window)
    if not there.any():
        return fmt.NONE
    names = np.array(blocks)[there]
    values = by_window[there]
    mean, distinct = values.mean(), np.unique(names)
    if len(distinct) < 2:
        return fmt.number(mean, 2)
    # The mean is a ratio of sums over blocks, whose error is that of their residuals.
    residuals = np.array([(values[names == b] - mean).sum() for b in distinct]) / len(values)
    g = len(distinct)
    half = float(stats.t_quantile(g - 1)) * np.sqrt(g / (g - 1) * (residuals**2).sum())
    return f"{fmt.number(mean, 2)} ±{fmt.half(half, 2)}"
