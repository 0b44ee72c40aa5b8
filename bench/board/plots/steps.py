"""Curves over the steps of training: the series that rows recorded, and the metric at their snapshots.

A metric that is recorded along another number, such as the time step of a sampler, is drawn in the same way.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.board.canvas import INK, PALETTE, draw, logarithmic, plain
from bench.board.inference.claims import in_front
from bench.board.registry import Picture, own_series, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.board.model import Board
    from bench.contract import Record

#: Lines with a colour and a name; more than the palette has could not be told apart, and its last is grey.
_MAX_NAMED = len(PALETTE) - 1
_MAX_PANELS = 6

#: Label of a row -> steps and values.
_Lines = dict[str, tuple[np.ndarray, np.ndarray]]


@picture("steps", order=30)
def over_steps(board: Board) -> list[Picture]:
    """A picture for each series along ``step``, each metric along another number, and the snapshots.

    A series that a picture of the track draws in its own way is left to it.
    """
    left = own_series(board)
    metrics = {m.name for m in board.spec.track.metrics}
    panels: dict[str, dict[str, _Lines]] = {}
    for row in board.every_row:
        for cell in row.cells:
            if cell.alias_of:
                continue
            records = list(board.records(cell))
            for name, line in _recorded(records, board.metric.name, metrics).items():
                panels.setdefault(name, {}).setdefault(cell.task, {})[row.info.label] = line
            if not records or not (records[0].history or _along(records[0], metrics)):
                break  # a row that records nothing by step on its first task records nothing on the others
    order = [t.name for t in board.tasks]
    return [
        _draw(board, name, sorted(tasks.items(), key=lambda item: order.index(item[0])))
        for name, tasks in sorted(panels.items())
        if name.partition(" by ")[0] not in left
    ]


def _along(record: Record, metrics: Collection[str]) -> Mapping[str, tuple[Sequence[float], Any]]:
    """Name of the curve -> coordinates and values: series by step, and metrics by another number."""
    found: dict[str, tuple[Sequence[float], Any]] = {}
    for name, raw in record.series.items():
        if len(raw["dims"]) != 1:
            continue
        dim = raw["dims"][0]
        places = raw["coords"].get(dim, ())
        if dim == "step":
            found[name] = (places or range(len(raw["data"])), raw["data"])
        elif name in metrics and places and not any(isinstance(x, str) for x in places):
            found[f"{name} by {dim}"] = (places, raw["data"])
    return found


def _recorded(records: Sequence[Record], metric: str, metrics: Collection[str]) -> _Lines:
    """Name of the curve -> coordinates, and the mean over those seeds with the coordinates of the first."""
    every: dict[str, list[tuple[tuple[float, ...], list[float]]]] = {}
    for r in records:
        for name, (places, data) in _along(r, metrics).items():
            every.setdefault(name, []).append((tuple(places), data))
        snapshots = [(h["step"], v) for h in r.history if isinstance(v := h["metrics"].get(metric), float)]
        if len(snapshots) > 1:
            every.setdefault(f"{metric} by step", []).append(
                (tuple(s for s, _ in snapshots), [float(v) for _, v in snapshots])
            )
    return {
        name: (
            np.array(seen[0][0], float),
            np.mean([_numbers(v) for s, v in seen if s == seen[0][0]], axis=0),
        )
        for name, seen in every.items()
    }


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], float)


def _draw(board: Board, name: str, tasks: Sequence[tuple[str, _Lines]]) -> Picture:
    # A curve that is the same on every task, such as the weights of an average, needs one panel.
    shown = [tasks[0]] if all(_same(tasks[0][1], lines) for _, lines in tasks) else tasks[:_MAX_PANELS]
    every = dict.fromkeys(label for _, lines in shown for label in lines)
    compared = [r for group in in_front(board) for r in group]
    front = [i.label for r in compared for i in board.infos if i.row == r and i.label in every]
    few = len(every) <= _MAX_NAMED
    named = list(dict.fromkeys([*front, *(every if few or not front else ())]))[:_MAX_NAMED]
    others = [label for label in every if label not in named]

    by = name.partition(" by ")[2] or "step"
    what = f"{name} over the steps of training" if by == "step" else name

    def on(figure: Figure) -> str:
        axes = figure.subplots(1, len(shown), squeeze=False)[0]
        for ax, (task, lines) in zip(axes, shown, strict=True):
            _panel(ax, task, lines, named)
            ax.set_xlabel(by)
        axes[0].set_ylabel(plain(name))
        handles = {label: h for ax in axes for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles, loc="outside right upper", frameon=False, fontsize=8)
        cut = f" The first {len(shown)} of {len(tasks)} tasks." if len(shown) < len(tasks) else ""
        grey = " In grey all other rows." if others else ""
        return f"{what}, mean over seeds.{grey}{cut}"

    # The fewer, the wider: all in one line.
    return draw(board, name.replace(" ", "-"), on, 2.4 + min(2.6 * len(shown), 11.0), 2.9)


def _same(a: _Lines, b: _Lines) -> bool:
    return a.keys() == b.keys() and all(
        np.array_equal(a[k][0], b[k][0]) and np.allclose(a[k][1], b[k][1], equal_nan=True) for k in a
    )


def _panel(ax: Axes, task: str, lines: _Lines, named: Sequence[str]) -> None:
    """The lines of one task: those with a name in colour, the others thin and grey behind them."""
    values = np.concatenate([v[np.isfinite(v) & (v > 0)] for _, v in lines.values()])
    log = len(values) > 0 and values.max() / values.min() > 50
    for label, (x, y) in lines.items():
        k = named.index(label) if label in named else None
        shown = y > 0 if log else np.isfinite(y)
        lone = shown & ~(np.roll(shown, 1) | np.roll(shown, -1))
        style: dict[str, Any] = {"color": INK, "linewidth": 0.7, "alpha": 0.4}
        if k is not None:
            few = len(x) <= 12 or lone.any() or shown.sum() <= 2
            style = {"color": PALETTE[k], "linewidth": 1.6, "label": plain(label), "zorder": 3}
            style |= {"marker": "o" if few else "", "markersize": 3.5}
        ax.plot(x, np.where(shown, y, np.nan), **style)
    if log:
        logarithmic(ax, "y")
    ax.set_title(plain(task))
    ax.grid(axis="y", color=INK, alpha=0.18, linewidth=0.6)
