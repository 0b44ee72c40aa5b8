"""Samples of the rows of a generative track, drawn from the same noise: one picture a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.board.canvas import INK, draw, plain
from bench.board.registry import Picture, picture
from bench.contract import SHEET_COLUMNS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.board.model import Board
    from bench.board.view import CellView

#: The name under which the record of a cell names its image of samples.
SAMPLES = "samples"
_MAX_ROWS, _MAX_TASKS = 16, 12


@picture("samples", order=70)
def samples(board: Board) -> list[Picture]:
    """For each task a line a row, best rows first: the first `SHEET_COLUMNS` samples of its first seed."""
    found: list[Picture] = []
    for t, task in enumerate(board.tasks):
        if len(found) == _MAX_TASKS:
            break  # reading the images of tasks that are not shown costs a file a row
        lines = [
            (plain(row.info.label), sheet)
            for row in board.every_row
            if (sheet := _sheet(board, row.cells[t])) is not None
        ]
        if lines:
            found.append(_draw(board, task.name, lines[:_MAX_ROWS], len(lines)))
    return found


def _sheet(board: Board, cell: CellView) -> np.ndarray | None:
    """The first line of the image of samples that the cell's first record with one names, (side, columns *
    side, 3).
    """
    if cell.alias_of:
        return None
    for record in board.records(cell):
        name = record.views.get(SAMPLES)
        if name and (sheet := board.image(name)) is not None:
            return sheet[: sheet.shape[1] // SHEET_COLUMNS]
    return None


def _draw(board: Board, task: str, lines: list[tuple[str, np.ndarray]], every: int) -> Picture:
    def on(figure: Figure) -> str:
        axes = figure.subplots(len(lines), 1, squeeze=False)[:, 0]
        for ax, (label, sheet) in zip(axes, lines, strict=True):
            _line(ax, label, sheet)
        cut = f" The first {len(lines)} of {every} rows." if every > len(lines) else ""
        what = "what the rows drew, in each column from one noise for one class or condition; not chosen"
        return f"{task}: {what}.{cut}"

    return draw(board, f"drawn-{task}", on, 8.4, 0.34 * len(lines) + 0.1)


def _line(ax: Axes, label: str, sheet: np.ndarray) -> None:
    ax.imshow(sheet, interpolation="nearest", aspect="equal")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8, color=INK)
