"""How the ranking metric changes along the axis of the track, such as with each doubling of the scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench import stats
from bench.board.curves import curves, in_doublings
from bench.board.model import Board
from bench.board.registry import DerivedTable, table
from bench.board.spec import RowInfo
from bench.board.text import formatting as fmt
from bench.stats import Estimate


@dataclass(frozen=True, slots=True)
class Slope:
    """The change of the ranking metric for each doubling (or unit) of the axis, as a mean over curves."""

    info: RowInfo
    estimate: Estimate
    curves: int


def slopes(board: Board) -> tuple[Slope, ...]:
    """For each row the slope of each seed, averaged over the curves; then the mean over seeds.

    A seed counts only if it has every point of every curve: otherwise seeds would average different curves.
    """
    lines = curves(board)
    if not lines:
        return ()
    doubling = in_doublings(lines)
    v, _ = board.values(board.spec.ranks_by)
    out = []
    for i, info in enumerate(board.infos):
        of = [v[i, c.tasks].T for c in lines]
        if info.deterministic:
            of = [_nanmean(v[i, c.tasks])[None] for c in lines]
        each = [stats.slope(c.x, y, doubling=doubling) for c, y in zip(lines, of, strict=True)]
        seeds = [float(s) for s in np.mean(each, axis=0) if np.isfinite(s)]
        e = stats.estimate(seeds, deterministic=info.deterministic)
        if e.n:
            out.append(Slope(info, e, len(lines)))
    return tuple(out)


def _nanmean(x: np.ndarray) -> np.ndarray:
    there = ~np.isnan(x)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there, x, 0).sum(-1) / there.sum(-1))


@table("slopes", order=40)
def slope_along_axis(board: Board) -> DerivedTable | None:
    """The slopes with their intervals over seeds; None without curves along an axis."""
    found = slopes(board)
    if not found:
        return None
    lines, axis = curves(board), board.spec.track.axis
    unit = f"per doubling of {axis}" if in_doublings(lines) else f"per unit of {axis}"
    rows = [(s.info.label, _text(s, board.metric.digits), str(s.estimate.n)) for s in found]
    over = f", averaged over {len(lines)} curves" if len(lines) > 1 else ""
    note = f"least squares{over}; interval over seeds with every point"
    return DerivedTable(f"Slope of {board.metric.name}", note, ("row", unit, "n"), rows)


def _text(s: Slope, digits: int) -> str:
    """A slope with its sign and interval, one decimal more than the metric since it is a small part of it."""
    e = s.estimate
    tail = f" ±{fmt.half(e.half, digits + 1)}" if e.half is not None else ""
    return f"{'+' if e.mean > 0 else ''}{fmt.number(e.mean, digits + 1)}{tail}"
