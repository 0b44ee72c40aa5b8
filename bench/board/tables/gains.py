"""What each row gains over its counterpart, such as multi-embedding over a single one on the same network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bench.board.model import Board
from bench.board.registry import DerivedTable, table
from bench.board.spec import RowInfo
from bench.board.text import formatting as fmt
from bench.stats import Comparison, adjusted


@dataclass(frozen=True, slots=True)
class Gain:
    """A row minus its counterpart, over the tasks on which neither is an alias of the other.

    ``adjusted`` is p after Holm's correction over all rows of the table, ``by_task`` the gain on each task.
    """

    info: RowInfo
    counterpart: str
    comparison: Comparison
    adjusted: float | None
    by_task: Mapping[str, float]


def gains(board: Board) -> tuple[Gain, ...]:
    """The gain of each row that has a counterpart, over the tasks that both have."""
    place = {r.row: i for i, r in enumerate(board.infos)}
    views = {v.info.row: v for v in board.every_row}
    found: list[Gain] = []
    for i, info in enumerate(board.infos):
        other = place.get(info.counterpart or "")
        if other is None:
            continue
        own, counterpart = views[info.row].cells, views[board.infos[other].row].cells
        tasks = [t for t in board.counted if not (own[t].alias_of or counterpart[t].alias_of)]
        pairs = {t: (own[t].estimate, counterpart[t].estimate) for t in tasks}
        by_task = {board.tasks[t].name: a.mean - b.mean for t, (a, b) in pairs.items() if a and b}
        difference = board.ranking.difference(i, other, tasks)
        found.append(Gain(info, board.infos[other].row, difference, None, by_task))
    p = adjusted(g.comparison for g in found)
    return tuple(replace(g, adjusted=q) for g, q in zip(found, p, strict=True))


@table("gains", order=10)
def gain_over_counterpart(board: Board) -> DerivedTable | None:
    """The gain in the ranking metric, on how many tasks it is one, and whether it could be chance."""
    labels = {r.row: r.label for r in board.infos}
    sign = -1 if board.metric.better == "lower" else 1
    rows = []
    for g in gains(board):
        gain = fmt.signed(g.comparison, board.metric.digits) or "–"
        wins = f"{sum(sign * x > 0 for x in g.by_task.values())}/{len(g.by_task)}"
        rows.append((g.info.label, labels[g.counterpart], gain, wins, fmt.p_value(g.adjusted)))
    unit = board.ranking.unit
    how = "Welch over seeds" if unit == "seeds" else f"paired by {unit.removesuffix('s')}"
    note = f"{how}, aliases of the counterpart left out; p Holm-corrected over this table"
    heads = ("row", "over", f"gain in {board.metric.name}", "better on", "p")
    return DerivedTable("Gain over counterpart", note, heads, rows, frozenset({0, 1})) if rows else None
