"""One picture a task: what the rows of a generative track drew, the same noise side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.board.plots.canvas import INK, Picture, picture, plain
from bench.contract import SHEET_COLUMNS, BenchError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.board.model import Board, CellView

#: Name of the view that holds what a cell drew.
SAMPLES = "samples"
_MAX_ROWS, _MAX_TASKS = 16, 12


def samples(board: Board) -> list[Picture]:
    """Of each task a line a row, best rows first: the first `SHEET_COLUMNS` pictures of its first seed."""
    if board.detail is None or board.artifacts is None:
        return []
    found: list[Picture] = []
    for t, task in enumerate(board.tasks):
        if len(found) == _MAX_TASKS:
            break  # reading the sheets of tasks that are not shown costs a file a row
        lines = [
            (plain(row.info.label), sheet)
            for row in (*board.rows, *board.ablations)
            if (sheet := _sheet(board, row.cells[t])) is not None
        ]
        if lines:
            found.append(_drawn(board, task.name, lines[:_MAX_ROWS], len(lines)))
    return found


def _sheet(board: Board, cell: CellView) -> np.ndarray | None:
    """The first line of the sheet of the cell's first record that has one, (side, columns * side, 3)."""
    assert board.detail is not None
    assert board.artifacts is not None
    if cell.alias_of:
        return None
    for slot in cell.slots:
        record = board.detail(slot.key) if slot.status == "ok" else None
        if record is not None and (name := record.views.get(SAMPLES)):
            try:
                sheet = board.artifacts.view(name)
            except BenchError:
                continue  # published without its sidecar, which the report of `bench publish` says
            return sheet[: sheet.shape[1] // SHEET_COLUMNS]
    return None


def _drawn(board: Board, task: str, lines: list[tuple[str, np.ndarray]], every: int) -> Picture:
    def draw(figure: Figure) -> str:
        axes = figure.subplots(len(lines), 1, squeeze=False)[:, 0]
        for ax, (label, sheet) in zip(axes, lines, strict=True):
            _line(ax, label, sheet)
        cut = f" The first {len(lines)} of {every} rows." if every > len(lines) else ""
        return f"{task}: what the rows drew, the same noise and class in each column; not chosen.{cut}"

    return picture(f"{board.spec.track.name}-drawn-{task}", draw, 8.4, 0.34 * len(lines) + 0.1)


def _line(ax: Axes, label: str, sheet: np.ndarray) -> None:
    ax.imshow(sheet, interpolation="nearest", aspect="equal")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8, color=INK)
