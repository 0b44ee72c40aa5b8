"""Heat maps of the parts that a score is made of (domains, targets), each row against the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.board.canvas import INK, draw, plain
from bench.board.registry import Picture, picture
from bench.board.text import formatting as fmt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.board.model import Board
    from bench.board.view import CellView

_MAX_COLUMNS = 40
#: From orange (worse) to blue (better), which colour-blind readers can tell apart; see-through in between.
_WORSE, _BETTER = "#D55E00", "#0072B2"


@picture("by-name", order=40)
def by_name(board: Board) -> list[Picture]:
    """A heat map of each quality metric that records also hold by name: a column for each name and task.

    The row of the reference shows the values, the others their difference to it, as means over seeds.
    """
    quality = {m.name for m in board.spec.track.metrics if m.kind == "quality"}
    rows = [r for r in board.every_row if r.mean is not None]
    values: dict[str, dict[tuple[str, str], dict[str, float]]] = {}
    for r in rows:
        for cell in r.cells:
            found = _named(board, cell)
            for name in found.keys() & quality:
                for k, v in found[name].items():
                    values.setdefault(name, {}).setdefault((cell.task, k), {})[r.info.row] = v
            if not found and cell.estimate is not None:
                break  # a track that records nothing by name on one task records nothing on the others
    return [p for name, of in sorted(values.items()) if (p := _heat(board, name, of)) is not None]


def _named(board: Board, cell: CellView) -> dict[str, dict[str, float]]:
    """The series of one dimension whose coordinates are names: series -> name -> mean over seeds."""
    every: dict[str, dict[str, list[float]]] = {}
    for record in board.records(cell):
        for name, raw in record.series.items():
            names = raw["coords"].get(raw["dims"][0], ()) if len(raw["dims"]) == 1 else ()
            if names and all(isinstance(n, str) for n in names):
                for n, v in zip(names, raw["data"], strict=True):
                    if v is not None:
                        every.setdefault(name, {}).setdefault(n, []).append(float(v))
    return {name: {n: float(np.mean(v)) for n, v in of.items()} for name, of in every.items()}


def _heat(board: Board, name: str, of: dict[tuple[str, str], dict[str, float]]) -> Picture | None:
    reference = board.spec.track.reference
    columns = [c for c in of if reference in of[c]][:_MAX_COLUMNS]
    labels = {r.info.row: plain(r.info.label) for r in board.every_row}
    rows = [reference] + [r for r in labels if r != reference and any(r in of[c] for c in columns)]
    if len(rows) < 2 or len(columns) < 2:
        return None
    metric = board.spec.track.metric(name)
    ours = np.array([[of[c].get(r, np.nan) for c in columns] for r in rows])
    gain = ours[1:] - ours[0]
    dropped = sum(reference in of[c] for c in of) - len(columns)

    def on(figure: Figure) -> str:
        ax = figure.subplots()
        sign = -1.0 if metric.better == "lower" else 1.0
        _boxes(ax, ours[0], gain, sign, metric.digits)
        ax.set_yticks(np.arange(len(rows)) + 0.5, [labels[r] for r in rows], fontsize=8)
        ax.set_xticks(
            np.arange(len(columns)) + 0.5, [_column(t, n) for t, n in columns], rotation=60, ha="left",
            fontsize=8,
        )  # fmt: skip
        ax.xaxis.tick_top()
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        more = f" The first {len(columns)} columns, {dropped} more are left out." if dropped else ""
        return (
            f"{name} by name: values of {labels[reference]} in the first row, differences to it below, "
            f"blue where better and orange where worse; means over seeds, no test.{more}"
        )

    return draw(board, f"{name}-by-name", on, 2.4 + 0.46 * len(columns), 1.3 + 0.24 * len(rows))


def _column(task: str, name: str) -> str:
    return plain(task if task.endswith(name) else f"{task}: {name}")


def _boxes(ax: Axes, reference: np.ndarray, gain: np.ndarray, sign: float, digits: int) -> None:
    from matplotlib.patches import Rectangle

    there = np.abs(gain[np.isfinite(gain)])
    # One row far off (a floor) must not make all others pale.
    most = float(np.quantile(there, 0.95)) if len(there) else 1.0
    for x, v in enumerate(reference):
        ax.text(x + 0.5, 0.5, _short(v, digits), ha="center", va="center", fontsize=7, color=INK)
    for y, line in enumerate(gain, 1):
        for x, v in enumerate(line):
            if np.isfinite(v):
                strength = min(1.0, abs(v) / most) if most > 0 else 0.0
                colour = _BETTER if sign * v > 0 else _WORSE
                ax.add_patch(
                    Rectangle(
                        (x + 0.03, y + 0.05), 0.94, 0.9, color=colour, alpha=0.75 * strength, linewidth=0
                    )
                )
                ink = "#FFFFFF" if strength > 0.75 else INK
                ax.text(x + 0.5, y + 0.5, _short(v, digits), ha="center", va="center", fontsize=7, color=ink)
    ax.set(xlim=(0, len(reference)), ylim=(len(gain) + 1, 0))


def _short(value: float, digits: int) -> str:
    """A number without the zero before the point, since columns are narrow."""
    value_text = fmt.number(value, min(digits, 3))
    return value_text.replace("0.", ".", 1) if value_text.lstrip("−").startswith("0.") else value_text
