"""What the rows cost, by hardware: seconds, memory, parameters and what else a track measures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.board.model import Board
from bench.board.registry import DerivedTable, table
from bench.board.text import formatting as fmt
from bench.contract import Metric

#: With more hardware labels than these, costs cannot be read side by side.
MAX_LABELS = 3
_EVERY_CELL = (
    Metric(
        name="run_s", better="lower", unit="s", digits=1, kind="cost", doc="seconds of the method's own run"
    ),
    Metric(
        name="shared_s",
        better="lower",
        unit="s",
        digits=1,
        kind="cost",
        doc="seconds of stages that it reads",
    ),
    Metric(
        name="peak_mem_mb", better="lower", unit="MB", digits=0, kind="cost", doc="peak memory of the cell"
    ),
)


@dataclass(frozen=True, slots=True)
class CostTable:
    """Costs by hardware label.

    ``values[row][label][metric]`` is the mean over tasks, and whether the row has it on all counted tasks.
    ``compared`` is False with more labels than can be read side by side. ``shared``: how many cells are left
    out because they shared a GPU.
    """

    labels: tuple[str, ...]
    metrics: tuple[Metric, ...]
    values: Mapping[str, Mapping[str, Mapping[str, tuple[float, bool]]]]
    compared: bool
    shared: int = 0


def costs(board: Board) -> CostTable:
    """The mean over tasks of the mean over seeds, for each row and hardware label; of ok cells only that had
    their GPU for themselves.
    """
    metrics = (*(m for m in board.spec.track.metrics if m.kind == "cost"), *_EVERY_CELL)
    cells: dict[tuple[str, str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    counted = {board.tasks[t].name for t in board.counted}
    names = [m.name for m in metrics]
    ok = [s for s in board.slots if s.status == "ok" and s.task in counted]
    for s in (s for s in ok if not s.shared):
        for name in names:
            raw = s.cost.get(name) if name in s.cost else s.metrics.get(name)
            if isinstance(raw, Mapping):  # by stage
                raw = sum(raw.values())
            if isinstance(raw, int | float):
                cells[s.row, s.hardware, name][s.task].append(float(raw))
    values: dict[str, dict[str, dict[str, tuple[float, bool]]]] = defaultdict(lambda: defaultdict(dict))
    for (row, label, name), by_task in cells.items():
        mean = float(np.mean([np.mean(v) for v in by_task.values()]))
        values[row][label][name] = (mean, len(by_task) == len(counted))
    there = {name for _, _, name in cells}
    labels = tuple(sorted({label for _, label, _ in cells}))
    used = tuple(m for m in metrics if m.name in there)
    return CostTable(labels, used, values, len(labels) <= MAX_LABELS, sum(s.shared for s in ok))


@table("costs", order=60)
def cost(board: Board) -> DerivedTable | None:
    """The costs of the core rows, a line for each hardware label on which a row ran."""
    found = costs(board)
    if not found.labels:
        return None
    lines = [(r.info.label, *line) for r in board.rows for line in _lines(found, r.info.row)]
    rows = lines if found.compared else []
    return DerivedTable("Cost", _note(found), ("row", *_heads(found)), rows, frozenset({0, 1}))


def _lines(found: CostTable, row: str) -> Sequence[Sequence[str]]:
    """The values of a row, a line for each hardware label; ``*`` where tasks are missing."""
    lines = []
    for label in found.labels:
        if by_metric := found.values.get(row, {}).get(label):
            cells = [(m, by_metric.get(m.name)) for m in found.metrics]
            values = [fmt.number(x[0], m.digits) + ("" if x[1] else "*") if x else "–" for m, x in cells]
            lines.append([label or "unnamed", *values])
    return lines or [["–"] * (len(found.metrics) + 1)]


def _heads(found: CostTable) -> Sequence[str]:
    names = [m.name.removesuffix("_s").removesuffix("_mb").replace("_", " ") for m in found.metrics]
    units = [f"{n} ({m.unit})" if m.unit else n for n, m in zip(names, found.metrics, strict=True)]
    return ["hardware", *units]


def _note(found: CostTable) -> str:
    """A sentence that says within which hardware the columns may be compared."""
    if not found.compared:
        return f"mixed hardware ({len(found.labels)} labels): not compared"
    note = "mean over tasks"
    if len(found.labels) > 1:
        note += ", * not on every task; compare within one hardware label only"
    if "shared_s" in {m.name for m in found.metrics}:
        note += "; shared: the stages that a cell reads, which other cells read too"
    if found.shared:
        note += f"; {found.shared} cells that shared a GPU with others are left out"
    return note
