"""Tasks that are points of one curve along the axis of their track, such as the embedding scale."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench import stats
from bench.contract import canonical

if TYPE_CHECKING:
    from bench.board.model import Board


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve: its name, the places of its points on the axis (ascending), and the task index of each."""

    name: str
    x: np.ndarray
    tasks: Sequence[int]


def curves(board: Board) -> list[Curve]:
    """The curves along the axis of the track. Tasks that agree in all other parameters make one curve, which
    is named after those parameters.
    """
    axis = board.spec.track.axis
    groups: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for t, task in enumerate(board.tasks):
        x = task.params.get(axis) if axis else None
        if isinstance(x, int | float) and not isinstance(x, bool):
            rest = {k: v for k, v in task.params.items() if k != axis}
            name = ", ".join(str(v) for v in rest.values()) if rest else ""
            groups[canonical(rest) + "\0" + name].append((float(x), t))
    out = []
    for key, points in groups.items():
        points.sort()
        if len({x for x, _ in points}) >= 2:
            x = np.array([x for x, _ in points])
            out.append(Curve(key.partition("\0")[2], x, [t for _, t in points]))
    return out


def in_doublings(found: Sequence[Curve]) -> bool:
    """Whether the axis of these curves is read in doublings (`stats.geometric`) rather than in units."""
    return stats.geometric([x for c in found for x in c.x])
