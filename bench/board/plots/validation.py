"""The score of each row on the test split against its score on the validation split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.board.canvas import PALETTE, draw, outliers, plain
from bench.board.inference.claims import in_front
from bench.board.registry import Picture, picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.board.model import Board
    from bench.board.view import CellView

#: Rows that get a colour and a name of their own, those that are compared first; the others share one.
_NAMED = 7


@picture("validation", order=50)
def against_validation(board: Board) -> Picture | None:
    """The ranking metric on test against the same metric on validation: a point a row and task, means over
    seeds.

    Where the test split is of another distribution than the validation split, as under domain shift, this
    shows in-distribution against out-of-distribution scores. None if no record has a validation score.
    """
    rows = [r for r in board.every_row if r.mean is not None]
    off = outliers([r.mean.mean for r in rows if r.mean is not None])
    rows = [r for i, r in enumerate(rows) if i not in off]
    compared = [row for group in in_front(board) for row in group]
    rows.sort(key=lambda r: r.info.row not in compared)
    points = {r.info.row: [p for c in r.cells if (p := point(c, board.metric.name))] for r in rows}
    if not any(points.values()):
        return None

    def on(figure: Figure) -> str:
        ax = figure.subplots()
        everything = np.array([p for of in points.values() for p in of])
        low, high = everything.min(), everything.max()
        ax.plot([low, high], [low, high], color=PALETTE[-1], linewidth=0.8, linestyle=(0, (4, 2)))
        for i, r in enumerate(rows):
            if points[r.info.row]:
                x, y = zip(*points[r.info.row], strict=True)
                named = i < _NAMED
                label = plain(r.info.label) if named else "the others" if i == _NAMED else None
                ax.scatter(
                    x, y, s=16, color=PALETTE[min(i, _NAMED)], alpha=0.9 if named else 0.5, label=label,
                    linewidth=0,
                )  # fmt: skip
        ax.locator_params(nbins=5)
        unit = f" ({board.metric.unit})" if board.metric.unit else ""
        ax.set_xlabel(f"{board.metric.name} on validation{unit}")
        ax.set_ylabel(f"{board.metric.name} on test{unit}")
        figure.legend(loc="outside right upper", frameon=False, fontsize=8)
        return (
            f"{board.metric.name} on test against validation: a point a row and task, means over seeds. "
            "On the dashed line both are the same; rows of one validation score at different heights "
            "hold differently well on what they were not chosen on. Rows off the scale are left out."
        )

    return draw(board, "validation", on, 6.2, 3.6)


def point(cell: CellView, metric: str) -> tuple[float, float] | None:
    """The means on validation and on test, over the seeds that have both."""
    both = [
        (v, t)
        for s in cell.slots
        if isinstance(v := s.metrics.get(f"val_{metric}"), float)
        and isinstance(t := s.metrics.get(metric), float)
        and np.isfinite([v, t]).all()
    ]
    return (float(np.mean([v for v, _ in both])), float(np.mean([t for _, t in both]))) if both else None
