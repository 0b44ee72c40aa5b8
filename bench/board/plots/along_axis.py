"""Curves of the ranking metric along the axis of a track, such as the embedding scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.board.curves import Curve, curves, in_doublings
from bench.board.plots.canvas import INK, PALETTE, draw, outliers, plain
from bench.board.registry import Picture, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.board.model import Board
    from bench.board.spec import RowInfo
    from bench.board.view import CellView

_MAX_LINES = 16


@picture("along-axis", order=10)
def along_axis(board: Board) -> Picture | None:
    """The ranking metric against the track's axis: a panel a curve of tasks, a line a row, with 95 % bands
    over seeds.
    """
    lines = curves(board)
    rows = [r for r in board.rows if r.mean is not None][:_MAX_LINES]
    if not lines or not rows:
        return None
    colour, dashed = _colours([r.info for r in rows])
    off = outliers([r.mean.mean for r in rows if r.mean is not None])
    shown = [r for i, r in enumerate(rows) if i not in off]

    def on(figure: Figure) -> str:
        axes = figure.subplots(1, len(lines), squeeze=False)[0]
        for ax, line in zip(axes, lines, strict=True):
            ends = []
            for r in shown:
                ends += _curve(ax, line.x, [r.cells[t] for t in line.tasks], r.info, colour, dashed)
            _axis(ax, line, in_doublings(lines), str(board.spec.track.axis))
            _end_labels(ax, float(line.x[-1]), ends)
        axes[0].set_ylabel(f"{board.metric.name}{f' ({board.metric.unit})' if board.metric.unit else ''}")
        left = [rows[i].info.label for i in sorted(off)]
        tail = f" Off the scale and left out: {', '.join(left)}." if left else ""
        cut = f" The first {_MAX_LINES} rows." if len(board.rows) > _MAX_LINES else ""
        return (
            f"{board.metric.name} against {board.spec.track.axis}; bands are 95 % t intervals over seeds. "
            f"A dashed curve is the counterpart of the solid one in its colour.{tail}{cut}"
        )

    return draw(board, "axis", on, 1.6 + 3.6 * len(lines), 3.2)


def _colours(infos: Sequence[RowInfo]) -> tuple[dict[str, str], set[str]]:
    """A colour a row, shared with its counterpart; and the counterparts, which are dashed."""
    there = {i.row for i in infos}
    dashed = {i.counterpart for i in infos if i.counterpart in there and i.counterpart != i.row}
    colour: dict[str, str] = {}
    heads = [i for i in infos if i.row not in dashed]
    for k, info in enumerate(heads):
        colour[info.row] = PALETTE[k % len(PALETTE)]
        if info.counterpart in dashed:
            colour.setdefault(info.counterpart, colour[info.row])
    return {i.row: colour.get(i.row, PALETTE[-1]) for i in infos}, {d for d in dashed if d}


def _curve(
    ax: Axes,
    x: np.ndarray,
    cells: Sequence[CellView],
    info: RowInfo,
    colour: Mapping[str, str],
    dashed: set[str],
) -> list[tuple[float, str, str]]:
    y = np.array([c.estimate.mean if c.estimate else np.nan for c in cells])
    h = np.array([c.estimate.half if c.estimate and c.estimate.half is not None else np.nan for c in cells])
    c = colour[info.row]
    style = (0, (4, 2)) if info.row in dashed else "-"
    ax.fill_between(x, y - h, y + h, color=c, alpha=0.13, linewidth=0)
    ax.plot(x, y, color=c, linestyle=style, linewidth=1.6, marker="o", markersize=3.5)
    last = y[np.isfinite(y)]
    return [(float(last[-1]), plain(info.label), c)] if len(last) else []


def _axis(ax: Axes, line: Curve, doubling: bool, label: str) -> None:
    if doubling:
        ax.set_xscale("log", base=2)
    ax.set_xticks(line.x, [f"{v:g}" for v in line.x])
    ax.minorticks_off()
    ax.set_xlabel(label)
    ax.set_title(plain(line.name))
    ax.grid(axis="y", color=INK, alpha=0.18, linewidth=0.6)


def _end_labels(ax: Axes, x: float, ends: list[tuple[float, str, str]]) -> None:
    """Names at the right end of the curves, pushed apart until they do not overlap."""
    low, high = ax.get_ylim()
    step = (high - low) * 0.062
    places = sorted(ends)
    at = [y for y, _, _ in places]
    for k in range(1, len(at)):
        at[k] = max(at[k], at[k - 1] + step)
    over = (at[-1] - high) if at else 0
    if over > 0:
        at = [y - over for y in at]
        for k in range(len(at) - 2, -1, -1):
            at[k] = min(at[k], at[k + 1] - step)
    for y, (_, name, colour) in zip(at, places, strict=True):
        ax.annotate(name, (x, y), (8, 0), textcoords="offset points", color=colour, va="center", fontsize=8)
