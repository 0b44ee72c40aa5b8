"""Test examples on which the leading method and the reference differ most, in both directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.board.canvas import INK, draw, plain
from bench.board.inference.examples import Scores, averaged
from bench.board.registry import Picture, picture
from bench.contract import SHEET_COLUMNS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.board.model import Board
    from bench.board.view import RowView

_EACH = 12
_MAX_TASKS = 3


@dataclass(frozen=True, slots=True)
class _Line:
    title: str
    tiles: list[np.ndarray]


@picture("examples", order=60)
def gallery(board: Board) -> Picture | None:
    """For each task whose records name an image of its examples: those on which two rows differ most.

    The rows are the best one that is a paper's method (else the best) and the track's reference. None if
    the records have no scores by example, or no images of them.
    """
    pair = _pair(board)
    if pair is None:
        return None
    a, b = pair
    lines: list[_Line] = []
    seen: set[str] = set()
    for task in board.tasks:
        first, second = (averaged(board.scores(r.info.row, task.name)) for r in (a, b))
        if first is None or second is None or not np.array_equal(first.ids, second.ids):
            continue
        found = _sheet(board, task.name)
        if found is None or found[0] in seen or len(seen) == _MAX_TASKS:
            continue
        seen.add(found[0])
        lines += _lines(board, task.name, (a, b), (first, second), found[1])
    return _draw(board, lines) if lines else None


def _pair(board: Board) -> tuple[RowView, RowView] | None:
    ranked = [r for r in board.rows if r.mean is not None]
    reference = next((r for r in ranked if r.info.row == board.spec.track.reference), None)
    others = [r for r in ranked if r is not reference]
    if reference is None or not others:
        return None
    return next((r for r in others if r.info.role == "method"), others[0]), reference


def _sheet(board: Board, task: str) -> tuple[str, np.ndarray] | None:
    """The name and the pixels of the image of examples that the first record of the task with one names."""
    for s in board.slots:
        record = board.record(s.key) if s.task == task and s.status == "ok" else None
        if record is not None and (name := record.views.get(board.metric.name)):
            sheet = board.image(name)
            return None if sheet is None else (name, sheet)
    return None


def _lines(
    board: Board,
    task: str,
    rows: tuple[RowView, RowView],
    scores: tuple[Scores, Scores],
    sheet: np.ndarray,
) -> list[_Line]:
    side = sheet.shape[1] // SHEET_COLUMNS
    sign = -1.0 if board.metric.better == "lower" else 1.0
    lines = []
    for (x, y), (first, second) in ((rows, scores), (rows[::-1], scores[::-1])):
        d = sign * (first.values - second.values)
        most = float(d.max())
        if most <= 0:
            continue
        order = np.argsort(-d, kind="stable")[:_EACH]
        least = float(d[order].min(where=d[order] >= most / 2, initial=most))
        chosen = order[d[order] >= least]
        as_far = int((d >= least - 1e-6).sum())
        at = [divmod(int(first.order[i]), SHEET_COLUMNS) for i in chosen]
        tiles = [sheet[r * side : (r + 1) * side, c * side : (c + 1) * side] for r, c in at]
        title = (
            f"{task}: {plain(x.info.label)} better than {plain(y.info.label)} by {least:.2f} and more on"
            f" {as_far} of {len(d)}"
        )
        lines.append(_Line(title, tiles))
    return lines


def _draw(board: Board, lines: list[_Line]) -> Picture:
    def on(figure: Figure) -> str:
        axes = figure.subplots(len(lines), 1, squeeze=False)[:, 0]
        for ax, line in zip(axes, lines, strict=True):
            _strip(ax, line)
        return (
            f"Examples on which two rows' {board.metric.name}, mean over seeds, differs most, the largest "
            f"differences first, at most {_EACH}."
        )

    return draw(board, "examples", on, 6.6, 0.95 * len(lines))


def _strip(ax: Axes, line: _Line) -> None:
    for k, tile in enumerate(line.tiles):
        ax.imshow(tile, extent=(k + 0.04, k + 0.96, 0.04, 0.96), interpolation="nearest", aspect="equal")
    ax.set(xlim=(0, _EACH), ylim=(0, 1), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.set_title(line.title, color=INK, fontsize=8)
