"""The numbers that the papers printed, beside ours."""

from __future__ import annotations

from dataclasses import dataclass

from bench.board.model import Board
from bench.board.paper_figures import PaperFigure
from bench.board.registry import DerivedTable, table
from bench.board.text import formatting as fmt
from bench.stats import Estimate


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A paper's number beside our estimate; the ``verdict`` is ``reproduced``, ``within interval``,
    ``off by …`` or ``not run``.
    """

    paper: PaperFigure
    ours: Estimate | None
    verdict: str


def reproductions(board: Board) -> tuple[Reproduction, ...]:
    """Every number of a paper whose row and task are on the board, with the verdict.

    ``reproduced``: our mean differs by no more than the standard deviation that the paper states, or, without
    one, by no more than half a unit of the last printed digit. ``within interval``: otherwise, but our 95 %
    interval holds the paper's number. ``off by d``: ours minus the paper's.
    """
    rows, tasks = {r.row for r in board.infos}, {t.name for t in board.tasks}
    out = []
    for p in board.spec.paper_figures:
        if p.row in rows and p.task in tasks:
            ours = board.estimate(p.row, p.task, p.metric)
            out.append(Reproduction(p, ours, _verdict(p, ours)))
    return tuple(out)


def _verdict(p: PaperFigure, ours: Estimate | None) -> str:
    if ours is None:
        return "not run"
    off = ours.mean - p.value
    # Half a unit of the last digit, with room for the rounding of the subtraction itself.
    if not ours.bound and abs(off) <= max(p.std or 0.0, 0.5 * 10**-p.digits) * (1 + 1e-9):
        return "reproduced"
    if not ours.bound and ours.holds(p.value):
        return "within interval"
    return f"off by {ours.bound}{off:+.{p.digits}f}".replace("-", "−")


@table("paper-figures", order=70)
def beside_the_papers(board: Board) -> DerivedTable | None:
    """Each number with its source, ours, the verdict, and how the paper's protocol differs from ours."""
    labels = {r.row: r.label for r in board.infos}
    rows = []
    for b in reproductions(board):
        p = b.paper
        std = f" ±{fmt.half(p.std, p.digits)}" if p.std is not None else ""
        ours = fmt.estimate(b.ours, board.spec.track.metric(p.metric).digits)
        where = "; ".join(filter(None, (p.source, p.setting)))
        value = f"{fmt.number(p.value, p.digits)}{std}"
        cell = f"{p.task} {p.metric}"
        rows.append((labels[p.row], cell, value, ours, b.verdict, where, p.difference or "none stated"))
    heads = ("row", "cell", "published", "ours", "verdict", "source", "protocol differs by")
    note = "reproduced: within the published sd or to its last digit; within interval: inside our 95 %"
    words = frozenset({0, 1, 4, 5, 6})
    return DerivedTable("Beside published numbers", note, heads, rows, words) if rows else None
