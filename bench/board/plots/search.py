"""The score on test against the number of draws that validation chooses among."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.board.canvas import PALETTE, draw, plain
from bench.board.registry import Picture, picture
from bench.board.search import SAMPLERS, Rule, curve
from bench.board.tables.search import under

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.board.model import Board


@picture("search", order=55)
def best_of_n(board: Board) -> Picture | None:
    """A curve a searched row, with the range of 95 % of the orders of its draws, and at both ends the
    interval over seeds; None without a search.
    """
    found = board.spec.search
    if found is None:
        return None

    from matplotlib.ticker import MaxNLocator

    def on(figure: Figure) -> str:
        ax = figure.subplots()
        n = np.arange(1, found.draws + 1)
        for k, row in enumerate(found.slots):
            line, colour = curve(found, row, board.metric), PALETTE[k % len(PALETTE)]
            label = plain(board.infos[board.arrays.row_index[row]].label)
            ax.plot(n, line.mean, color=colour, linewidth=1.8, label=label)
            ax.fill_between(n, line.low, line.high, color=colour, alpha=0.15, linewidth=0)
            ends: dict[int, Rule] = {1: "default", found.draws: "validation"}
            for at, rule in ends.items():
                c = under(board, row, rule)
                if c is not None and c.half is not None:
                    ax.errorbar(at, c.diff, c.half, color=colour, capsize=3, linewidth=1.1)
        ax.set_xlabel("draws that validation chooses among")
        unit = f" ({board.metric.unit})" if board.metric.unit else ""
        ax.set_ylabel(f"{board.metric.name} on test{unit}")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside right upper", frameon=False, fontsize=8)
        band = (
            "the line is the mean over the orders in which the draws may come, the default first; the band "
            "holds 95 % of them"
            if found.sampler != "tpe"
            else "in the order in which they were drawn"
        )
        return (
            f"Best of n by validation: {board.metric.name} on test of the draw that is best on validation "
            f"({SAMPLERS[found.sampler]}); {band}. Bars: 95 % t intervals over seeds, of the default and of "
            "all draws."
        )

    return draw(board, "search", on, 6.2, 3.4)
