"""How generated pictures follow a condition: the share against the steps, with bands over seeds, and what was
asked for beside what was drawn and what is read from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.board.canvas import INK, PALETTE, draw, logarithmic, plain
from bench.board.inference.claims import in_front
from bench.board.registry import Picture, picture
from bench.contract import SHEET_COLUMNS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.board.model import Board
    from bench.board.view import CellView

#: The series that the records of the track hold, and the share from which a condition counts as followed.
_SERIES, _FOLLOWED = "share", 0.5
#: The image that a record names, and what its lines show (`bench.tracks.controlnet.scoring.sheet`).
_VIEW, _SHEET = "samples", ("picture", "asked", "read", "real")
#: What a line of `side_by_side` is called, and the line of pixels itself.
_Squares = tuple[str, np.ndarray]
#: Label of a row -> steps (k,) and shares (seeds, k).
_Lines = Mapping[str, tuple[np.ndarray, np.ndarray]]


@picture("agreement", track="controlnet", order=10, series=(_SERIES,))
def agreement(board: Board) -> list[Picture]:
    """The share over the steps, then for each condition what was asked for, drawn and read side by side."""
    return [*over_steps(board), *side_by_side(board)]


def over_steps(board: Board) -> list[Picture]:
    """One picture: a panel a condition, a line a row of the claims and the reference."""
    compared = _compared(board)
    infos = {i.row: i for i in board.infos}
    panels: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for row in board.every_row:
        if row.info.row not in compared:
            continue
        for cell in row.cells:
            if (line := _line(board, cell)) is not None:
                panels.setdefault(cell.task, {})[infos[row.info.row].label] = line
    tasks = [t.name for t in board.tasks if t.name in panels]
    return [_draw(board, [(t, panels[t]) for t in tasks])] if tasks else []


def _compared(board: Board) -> set[str]:
    """The rows of the claims and the reference."""
    return {row for group in in_front(board) for row in group} | {board.spec.track.reference}


def _line(board: Board, cell: CellView) -> tuple[np.ndarray, np.ndarray] | None:
    """Steps and shares of the seeds that looked at the same steps as the first; None without a curve."""
    found = [r.series[_SERIES] for r in board.records(cell) if _SERIES in r.series]
    found = [f for f in found if f["coords"]["step"] == found[0]["coords"]["step"]]
    if not found or len(found[0]["data"]) < 2:
        return None
    shares = [[np.nan if v is None else v for v in f["data"]] for f in found]
    return np.array(found[0]["coords"]["step"], float), np.array(shares, float)


def _draw(board: Board, panels: list[tuple[str, _Lines]]) -> Picture:
    def on(figure: Figure) -> str:
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for ax, (task, lines) in zip(axes, panels, strict=True):
            _panel(ax, task, lines)
        axes[0].set_ylabel("share of the way from floor to ceiling")
        handles: dict[str, Any] = {}
        for ax in axes:
            handles |= {label: h for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles, loc="outside right upper", frameon=False, fontsize=8)
        return (
            "How pictures come to follow their condition over the steps of training (logarithmic): mean over"
            " seeds, with a band from the lowest to the highest. Dotted: the share that counts as followed."
        )

    return draw(board, "agreement", on, 2.4 + 2.3 * len(panels), 2.9)


def _panel(ax: Axes, task: str, lines: _Lines) -> None:
    for k, (label, (steps, shares)) in enumerate(sorted(lines.items())):
        colour = PALETTE[k % len(PALETTE)]
        ax.plot(steps, shares.mean(0), color=colour, linewidth=1.6, label=plain(label))
        if len(shares) > 1:
            ax.fill_between(steps, shares.min(0), shares.max(0), color=colour, alpha=0.2, linewidth=0)
    ax.axhline(_FOLLOWED, color=INK, linewidth=0.8, linestyle=":")
    logarithmic(ax, "x")
    ax.set_xlabel("step")
    ax.set_title(plain(task))
    ax.grid(axis="y", color=INK, alpha=0.18, linewidth=0.6)


# --------------------------------------------------------------------------------------------- side by side


def side_by_side(board: Board) -> list[Picture]:
    """A picture a condition: what was asked for, the real picture that it belongs to, and of each row of the
    claims and the reference what it drew for it and what is read from that.
    """
    found: list[Picture] = []
    compared = _compared(board)
    for t, task in enumerate(board.tasks):
        lines: list[_Squares] = []
        for row in board.every_row:
            sheet = _sheet(board, row.cells[t]) if row.info.row in compared else None
            if sheet is None:
                continue
            if not lines:
                lines += [("asked for", sheet["asked"]), ("the real picture", sheet["real"])]
            label = plain(row.info.label)
            lines += [(f"{label} drew", sheet["picture"]), ("read from it", sheet["read"])]
        if lines:
            found.append(_draw_squares(board, task.name, lines))
    return found


def _sheet(board: Board, cell: CellView) -> Mapping[str, np.ndarray] | None:
    """The lines of the image of the cell's first record whose image is here and has all of them."""
    for record in board.records(cell):
        name = record.views.get(_VIEW)
        image = board.image(name) if name else None
        if image is not None and len(image) * SHEET_COLUMNS == len(_SHEET) * image.shape[1]:
            return dict(zip(_SHEET, np.split(image, len(_SHEET)), strict=True))
    return None


def _draw_squares(board: Board, task: str, lines: list[_Squares]) -> Picture:
    def on(figure: Figure) -> str:
        axes = figure.subplots(len(lines), 1, squeeze=False)[:, 0]
        for ax, (label, squares) in zip(axes, lines, strict=True):
            ax.imshow(squares, interpolation="nearest", aspect="equal")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8, color=INK)
        return (
            f"{task}: the condition that was asked for, the real picture that it belongs to, and of each row"
            f" what it drew and the condition that is read from that. The first {SHEET_COLUMNS} held-out"
            " pictures, of the first seed, all rows from the same noise; not chosen."
        )

    return draw(board, f"side-by-side-{task}", on, 8.4, 0.38 * len(lines) + 0.1)
