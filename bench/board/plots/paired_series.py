"""What a row and its counterpart recorded, such as the singular values of both, drawn over each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.board.canvas import INK, PALETTE, draw, logarithmic, plain
from bench.board.registry import Picture, own_series, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.board.model import Board
    from bench.board.spec import RowInfo
    from bench.board.view import CellView

_MAX_PANELS = 6
#: Dimensions along which a series holds things of different kinds, such as forecast and observation: a mean
#: over them says nothing.
_APART = frozenset({"of", "map", "subset"})


@dataclass(frozen=True, slots=True)
class _Series:
    """One line: its values along the dimension ``dim``, at the coordinates ``ticks``, after the mean over the
    dimensions ``over``.
    """

    values: np.ndarray
    dim: str
    ticks: Sequence[Any] | None = None
    over: tuple[str, ...] = ()

    @property
    def named(self) -> bool:
        """Whether the positions have names rather than numbers."""
        ticks = self.ticks or ()
        return len(ticks) == len(self.values) and isinstance(ticks[0], str)


@dataclass(frozen=True, slots=True)
class _Pair:
    info: RowInfo
    other: RowInfo
    task: str
    own: _Series
    counterpart: _Series


@picture("paired-series", order=20)
def paired_series(board: Board) -> list[Picture]:
    """Each series that a row and its counterpart both recorded: the two over each other, along its last
    dimension.

    Shown on the last task on which both have it (along an axis, the largest), as means over seeds and over
    the other dimensions; a series that has no such mean (`_APART`) is for a picture of its track, as is one
    that such a picture draws in its own way. A counterpart of more rows than a picture has panels is a
    baseline that all are held against, and makes no pairs.
    """
    found: dict[str, list[_Pair]] = {}
    infos, left = {i.row: i for i in board.infos}, own_series(board)
    many = {row for row, n in Counter(i.counterpart for i in board.infos).items() if n > _MAX_PANELS}
    cells = {(c.row, c.task): c for r in board.every_row for c in r.cells}
    for info in board.infos:
        other = infos.get(info.counterpart or "")
        if other is None or other.row in many:
            continue
        for name, task, own, counterpart in _shared(board, info, other, cells):
            if name not in left:
                found.setdefault(name, []).append(_Pair(info, other, task, own, counterpart))
    return [_draw(board, name, pairs[:_MAX_PANELS], len(pairs)) for name, pairs in sorted(found.items())]


def _shared(
    board: Board, info: RowInfo, other: RowInfo, cells: Mapping[tuple[str, str], CellView]
) -> list[tuple[str, str, _Series, _Series]]:
    rows = [board.arrays.row_index[r.row] for r in (info, other)]
    for t, task in reversed(list(enumerate(board.tasks))):
        own, counterpart = cells[info.row, task.name], cells[other.row, task.name]
        if board.arrays.same_cells(rows, t) or not (own.estimate and counterpart.estimate):
            continue
        # This task decides: a track records the same series on every task, and reading on would open every
        # record of a track that records none.
        a, b = _series(board, own), _series(board, counterpart)
        return [(name, task.name, a[name], b[name]) for name in sorted(a.keys() & b.keys())]
    return []


def _series(board: Board, cell: CellView) -> dict[str, _Series]:
    """Mean over seeds of a cell's series; those whose shape changes with the seed are left out."""
    seen: dict[str, list[_Series]] = {}
    for record in board.records(cell):
        for name, raw in record.series.items():
            values = np.asarray(raw["data"], float)
            if values.ndim and values.shape[-1] > 1:
                *others, last = raw["dims"]
                if _APART & set(others):
                    continue
                line = np.nanmean(values, axis=tuple(range(len(others)))) if others else values
                seen.setdefault(name, []).append(_Series(line, last, raw["coords"].get(last), tuple(others)))
    same = {k: v for k, v in seen.items() if len({len(x.values) for x in v}) == 1}
    return {k: replace(v[0], values=np.mean([x.values for x in v], axis=0)) for k, v in same.items()}


def _draw(board: Board, name: str, pairs: Sequence[_Pair], total: int) -> Picture:
    def on(figure: Figure) -> str:
        axes = figure.subplots(1, len(pairs), squeeze=False, sharey=True)[0]
        both = np.concatenate([v.values for p in pairs for v in (p.own, p.counterpart)])
        log = bool((both > 0).all() and both.max() / both.min() > 100)
        for ax, pair in zip(axes, pairs, strict=True):
            _pair(ax, pair)
            if log:
                logarithmic(ax, "y")
        axes[0].set_ylabel(plain(name))
        over = f" and {', '.join(pairs[0].own.over)}" if pairs[0].own.over else ""
        tail = f" The first {len(pairs)} of {total} pairs." if total > len(pairs) else ""
        scale = " (logarithmic)" if log else ""
        what = (
            f"a row (solid) and its counterpart (dashed), mean over seeds{over}, on the last task both have"
        )
        return f"{name}{scale}: {what}.{tail}"

    return draw(board, name, on, max(2.7 * len(pairs), 4.4), 2.8)


def _pair(ax: Axes, pair: _Pair) -> None:
    """One panel: both lines, named in their colours, over positions or over the names of the coordinates."""
    for k, (row, line) in enumerate(((pair.info, pair.own), (pair.other, pair.counterpart))):
        style = (0, (4, 2)) if k else "-"
        x = np.arange(1, len(line.values) + 1)
        ax.plot(
            x, line.values, color=PALETTE[k], linestyle=style, linewidth=1.6, marker="." if line.named else ""
        )
        place: Any = {"xycoords": "axes fraction", "ha": "left", "va": "bottom"}
        ax.annotate(plain(row.label), (0.0, 1.09 - 0.08 * k), color=PALETTE[k], fontsize=8, **place)
    if pair.own.named:
        ax.set_xticks(x, [plain(str(t)) for t in pair.own.ticks or ()], rotation=60, ha="right", fontsize=7)
    else:
        ax.set_xlabel(plain(pair.own.dim))
    ax.set_title(plain(pair.task), loc="left", pad=26)
    ax.grid(axis="y", color=INK, alpha=0.18, linewidth=0.6)
