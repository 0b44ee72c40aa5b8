"""Curves of the ranking metric along the axis of a track, such as the embedding scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.board.canvas import INK, PALETTE, draw, plain
from bench.board.curves import Curve, curves, in_doublings
from bench.board.inference.claims import in_front
from bench.board.registry import Picture, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.board.model import Board
    from bench.board.view import RowView

#: Comparisons that get panels of their own, and rows that are drawn behind them.
_MAX_GROUPS, _MAX_BEHIND = 6, 30
#: How far beside the point of an axis the interval of a row is drawn, as a part of the axis.
_BESIDE = 0.012


@picture("along-axis", order=10)
def along_axis(board: Board) -> Picture | None:
    """The ranking metric against the track's axis: a panel a curve of tasks and a comparison, the rows of the
    comparison in colour with their intervals over seeds, all others thin and grey.
    """
    lines, views = curves(board), {r.info.row: r for r in board.rows}
    groups = [[views[row] for row in group if row in views] for group in in_front(board)]
    shown = [g for g in groups if any(r.mean is not None for r in g)][:_MAX_GROUPS]
    if not lines or not shown:
        return None
    across, down = (lines, shown) if len(shown) == 1 else (shown, lines)
    behind = [r for r in board.rows if r.mean is not None][:_MAX_BEHIND]

    def on(figure: Figure) -> str:
        axes = figure.subplots(len(down), len(across), squeeze=False)
        for y in range(len(down)):
            for x in range(len(across)):
                line, group = (lines[x], shown[y]) if len(shown) == 1 else (lines[y], shown[x])
                ax = axes[y, x]
                _panel(ax, board, line, group, behind)
                ax.tick_params(labelbottom=y == len(down) - 1)
                if y == 0:
                    _names(ax, group, line.name if len(shown) == 1 else "")
                if y == len(down) - 1:
                    ax.set_xlabel(str(board.spec.track.axis))
            what = "" if len(shown) == 1 else f"{lines[y].name}\n"
            unit = f" ({board.metric.unit})" if board.metric.unit else ""
            axes[y, 0].set_ylabel(f"{plain(what.strip())}{what and chr(10)}{board.metric.name}{unit}")
        left = f" The first {_MAX_GROUPS} of {len(groups)} comparisons." if len(groups) > _MAX_GROUPS else ""
        best = " Dotted: the best that is possible." if board.ceilings else ""
        return (
            f"{board.metric.name} against {board.spec.track.axis}: in colour the rows that are compared, "
            f"with 95 % t intervals over seeds, in grey all other rows. Each panel has its own scale; grey "
            f"rows beyond it are left out.{best}{left}"
        )

    return draw(board, "axis", on, 0.7 + 2.45 * len(across), 0.75 + 1.75 * len(down))


def _names(ax: Axes, group: Sequence[RowView], title: str) -> None:
    """Above a column of panels: its title, then the rows in colour, each in its own."""
    place: dict[str, Any] = {"textcoords": "offset points", "ha": "left", "va": "bottom"}
    lines = [(title, INK)] if title else []
    lines += [(r.info.label, PALETTE[k % len(PALETTE)]) for k, r in enumerate(group)]
    for k, (text, colour) in enumerate(reversed(lines)):
        ax.annotate(
            plain(text), (0, 1), (0, 4 + 11 * k), xycoords="axes fraction", color=colour, fontsize=8, **place
        )


def _panel(ax: Axes, board: Board, line: Curve, group: Sequence[RowView], behind: Sequence[RowView]) -> None:
    doubling = in_doublings(curves(board))
    low, high = np.inf, -np.inf
    for k, r in enumerate(group):
        cells = [r.cells[t].estimate for t in line.tasks]
        y = np.array([e.mean if e else np.nan for e in cells])
        h = np.array([e.half if e and e.half is not None else 0.0 for e in cells])
        x, colour = _beside(line.x, k - (len(group) - 1) / 2, doubling), PALETTE[k % len(PALETTE)]
        ax.plot(x, y, color=colour, linewidth=1.8, marker="o", markersize=4, zorder=3)
        ax.vlines(x, y - h, y + h, color=colour, linewidth=1.1, alpha=0.7, zorder=2)
        if np.isfinite(y).any():
            low, high = min(low, float(np.nanmin(y - h))), max(high, float(np.nanmax(y + h)))
    room = 0.06 * ((high - low) or abs(high) or 1.0)
    for r in behind:
        if r not in group:
            cells = [r.cells[t].estimate for t in line.tasks]
            ax.plot(line.x, [e.mean if e else np.nan for e in cells], color=INK, linewidth=0.7, alpha=0.4)
    if np.isfinite([low, high]).all():
        ax.set_ylim(low - room, _ceiling(ax, board, line, high + room, 2 * (high - low)))
    _axis(ax, line, doubling)


def _ceiling(ax: Axes, board: Board, line: Curve, top: float, reach: float) -> float:
    """Draw the best possible value where it is near; returns the upper end of the panel."""
    best = np.array([board.ceilings.get(board.tasks[t].name, np.nan) for t in line.tasks])
    if not np.isfinite(best).any():
        return top
    if np.nanmax(best) <= top + reach:
        ax.plot(line.x, best, color=INK, linewidth=1.2, linestyle=(0, (1, 1.5)))
        return max(top, float(np.nanmax(best)) + 0.03 * reach)
    text = f"best possible: {np.nanmax(best):.{board.metric.digits}f}, above"
    ax.annotate(text, (0.98, 0.97), xycoords="axes fraction", ha="right", va="top", fontsize=7, color=INK)
    return top


def _beside(x: np.ndarray, steps: float, doubling: bool) -> np.ndarray:
    """Places beside the points of an axis, so that the intervals of several rows do not cover each other."""
    if doubling:
        return np.asarray(x * (x[-1] / x[0]) ** (steps * _BESIDE))
    return np.asarray(x + (x[-1] - x[0]) * steps * _BESIDE)


def _axis(ax: Axes, line: Curve, doubling: bool) -> None:
    if doubling:
        ax.set_xscale("log", base=2)
    ax.set_xticks(line.x, [f"{v:g}" for v in line.x])
    ax.minorticks_off()
    ax.locator_params(axis="y", nbins=4)
    ax.grid(axis="y", color=INK, alpha=0.18, linewidth=0.6)
