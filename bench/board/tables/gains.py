"""What each row gains over its counterpart, such as multi-embedding over a single one on the same network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench import stats
from bench.board.model import Board
from bench.board.registry import DerivedTable, table
from bench.board.spec import RowInfo
from bench.board.text import formatting as fmt
from bench.stats import Contrast


@dataclass(frozen=True, slots=True)
class Gain:
    """A row minus its counterpart, over the tasks on which neither is an alias of the other.

    ``by_task`` is the gain on each task.
    """

    info: RowInfo
    counterpart: str
    contrast: Contrast
    by_task: Mapping[str, float]


def gains(board: Board) -> tuple[Gain, ...]:
    """The gain of each row that has a counterpart, over the tasks that both have."""
    place = board.arrays.row_index
    views = {v.info.row: v for v in board.every_row}
    found: list[Gain] = []
    for i, info in enumerate(board.infos):
        other = place.get(info.counterpart or "")
        if other is None:
            continue
        own, counterpart = views[info.row].cells, views[board.infos[other].row].cells
        tasks = [t for t in board.ranking.shared((i, other)) if not board.arrays.same_cells((i, other), t)]
        if not tasks:
            continue
        pairs = {t: (own[t].estimate, counterpart[t].estimate) for t in tasks}
        by_task = {board.tasks[t].name: a.mean - b.mean for t, (a, b) in pairs.items() if a and b}
        a, b = board.row_means.together((i, other), tasks)
        found.append(Gain(info, board.infos[other].row, stats.contrast([(1, a), (-1, b)]), by_task))
    return tuple(found)


@table("gains", order=10)
def gain_over_counterpart(board: Board) -> DerivedTable | None:
    """The gain in the ranking metric, and on how many tasks it is one."""
    labels = {r.row: r.label for r in board.infos}
    sign = -1 if board.metric.better == "lower" else 1
    rows = []
    for g in gains(board):
        gain = fmt.signed(g.contrast.diff, g.contrast.half, board.metric.digits) or fmt.NONE
        wins = f"{sum(sign * x > 0 for x in g.by_task.values())}/{len(g.by_task)}"
        rows.append((g.info.label, labels[g.counterpart], gain, wins))
    note = (
        "on the tasks where neither is an alias of the other; ± is a 95 % interval of each line on its own, "
        "without correction: what is tested are the claims"
    )
    heads = ("row", "over", f"gain in {board.metric.name}", "better on")
    return DerivedTable("Gain over counterpart", note, heads, rows, frozenset({0, 1})) if rows else None
