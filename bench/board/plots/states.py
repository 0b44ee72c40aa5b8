"""Every planned cell of a board by its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bench.board.canvas import INK, draw, plain
from bench.board.registry import Picture, picture
from bench.board.spec import STATES
from bench.contract import SYMBOLS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.board.model import Board

STATE_COLOURS: Mapping[str, str] = {
    "ok": "#8DBFB0", "skipped": "#B9BDC3", "failed": "#D55E00", "oom": "#CC79A7", "timeout": "#E69F00",
    "diverged": "#7B5EA7", "lost": "#56B4E9", "new": "#DDE1E6", "blocked": "#8C9199", "unplanned": "none",
}  # fmt: skip
_MAX_CELLS = 6000


@picture("states", order=80)
def status_matrix(board: Board) -> Picture | None:
    """Every planned cell as a box in the colour of its state, rows × tasks, one box a seed; None for a board
    that is too big.
    """
    rows, tasks = board.every_row, board.tasks
    if not board.slots or len(rows) * len(tasks) * len(board.arrays.seeds) > _MAX_CELLS:
        return None

    def on(figure: Figure) -> str:
        from matplotlib.collections import PatchCollection
        from matplotlib.patches import Rectangle

        ax = figure.subplots()
        boxes, colours = [], []
        for y, r in enumerate(rows):
            for x, cell in enumerate(r.cells):
                states = [s.status for s in sorted(cell.slots, key=lambda s: s.seed)] or ["unplanned"]
                width = 0.92 / len(states)
                for k, state in enumerate(states):
                    left = x + 0.04 + k * width
                    boxes.append(Rectangle((left, y + 0.1), width * 0.94, 0.8))
                    colours.append(STATE_COLOURS[state])
                    if state != "ok":
                        _symbol(ax, left + width * 0.47, y + 0.5, state)
        ax.add_collection(PatchCollection(boxes, facecolors=colours, linewidths=0))
        ax.set(xlim=(0, len(tasks)), ylim=(len(rows), 0))
        names = [plain(t.name) for t in tasks]
        ax.set_xticks(np.arange(len(tasks)) + 0.5, names, rotation=0 if len(tasks) < 9 else 60)
        ax.set_yticks(np.arange(len(rows)) + 0.5, [plain(r.info.label) for r in rows])
        ax.xaxis.tick_top()
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        legend = [f"{SYMBOLS[s]} {s}" for s in STATES if s != "ok" and board.status_counts.get(s)]
        return f"Every cell by its state, one box a seed; plain boxes are ok. {', '.join(legend)}".strip()

    size = (min(2.6 + 0.85 * len(tasks), 11), 0.5 + 0.25 * len(rows))
    return draw(board, "states", on, *size)


def _symbol(ax: Axes, x: float, y: float, state: str) -> None:
    light = state in ("new", "skipped", "timeout", "lost", "oom")
    ink = INK if state == "unplanned" else "#1F2328" if light else "#FFFFFF"
    ax.text(x, y, SYMBOLS[state], ha="center", va="center", fontsize=8, color=ink)
