"""Tables derived from a board: gains over counterparts, slopes along an axis, costs by hardware label, and
the papers' own numbers beside ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench import stats
from bench.board.model import Board, RowInfo
from bench.board.paper_figures import Published
from bench.contract import Metric, canonical
from bench.stats import Comparison, Estimate

MAX_LABELS = 3
_COSTS = (
    Metric(
        name="run_s", better="lower", unit="s", digits=1, kind="cost", doc="seconds of the method's own run"
    ),
    Metric(
        name="peak_mem_mb", better="lower", unit="MB", digits=0, kind="cost", doc="peak memory of the cell"
    ),
)


@dataclass(frozen=True, slots=True)
class Gain:
    """A row over its counterpart; tasks on which one is an alias of the other are left out."""

    info: RowInfo
    counterpart: str
    comparison: Comparison
    adjusted: float | None
    by_task: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Slope:
    """Change of the ranking metric a doubling (or a unit) of the axis, averaged over ``curves`` curves."""

    info: RowInfo
    estimate: Estimate
    curves: int


@dataclass(frozen=True, slots=True)
class CostTable:
    """Costs by hardware label: ``values[row][label][metric]`` is (mean over tasks, all counted tasks there).

    ``compared`` is False with more labels than can be read side by side.
    """

    labels: tuple[str, ...]
    metrics: tuple[Metric, ...]
    values: Mapping[str, Mapping[str, Mapping[str, tuple[float, bool]]]]
    compared: bool


@dataclass(frozen=True, slots=True)
class Beside:
    """A published number beside ours: ``verdict`` is ``reproduced``, ``within interval``, ``off by …`` or
    ``not run``.
    """

    published: Published
    ours: Estimate | None
    verdict: str


def gains(board: Board) -> tuple[Gain, ...]:
    """Each row that has a counterpart, minus it, over the tasks both have and where neither is an alias."""
    place = {r.row: i for i, r in enumerate(board.infos)}
    views = {v.info.row: v for v in (*board.rows, *board.ablations)}
    found: list[Gain] = []
    for i, info in enumerate(board.infos):
        other = place.get(info.counterpart or "")
        if other is None:
            continue
        mine, theirs = views[info.row].cells, views[board.infos[other].row].cells
        own = [t for t in board.counted if not (mine[t].alias_of or theirs[t].alias_of)]
        pairs = {t: (mine[t].estimate, theirs[t].estimate) for t in own}
        by_task = {board.tasks[t].name: a.mean - b.mean for t, (a, b) in pairs.items() if a and b}
        found.append(Gain(info, board.infos[other].row, board.difference(i, other, own), None, by_task))
    p = stats.holm([np.nan if g.comparison.p is None else g.comparison.p for g in found])
    return tuple(
        Gain(g.info, g.counterpart, g.comparison, None if np.isnan(q) else float(q), g.by_task)
        for g, q in zip(found, p, strict=True)
    )


@dataclass(frozen=True, slots=True)
class Relative:
    """A row's relative change of the ranking metric against the reference, task by task and on average."""

    info: RowInfo
    comparison: Comparison
    by_task: Mapping[str, float]


def relative(board: Board) -> tuple[Relative, ...]:
    """Each row over the reference, minus 1, on tasks where both are there and the reference is above 0."""
    views = {v.info.row: v for v in (*board.rows, *board.ablations)}
    ours = views.get(board.spec.track.reference)
    found = []
    for row, view in views.items():
        if ours is None or row == board.spec.track.reference:
            continue
        by_task = {
            board.tasks[t].name: a.mean / b.mean - 1
            for t in board.counted
            if (a := view.cells[t].estimate) and (b := ours.cells[t].estimate) and b.mean > 0
        }
        change = list(by_task.values())
        if change:
            compared = stats.paired(change, np.zeros(len(change)), better=board.metric.better, unit="tasks")
            found.append(Relative(view.info, compared, by_task))
    return tuple(found)


def curves(board: Board) -> tuple[list[tuple[str, np.ndarray, list[int]]], bool]:
    """Curves along ``track.axis``: (name, x, task indices) each, sorted by x; and whether x is read in
    doublings.

    Tasks that agree in all other parameters make one curve; its name says those parameters.
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
            out.append((key.partition("\0")[2], x, [t for _, t in points]))
    return out, stats.geometric([x for _, xs, _ in out for x in xs]) if out else False


def slopes(board: Board) -> tuple[Slope, ...]:
    """Per row: the slope of each seed, averaged over the curves that the seed has whole; then over seeds."""
    lines, doubling = curves(board)
    if not lines:
        return ()
    v, _ = board.values(board.spec.ranks_by)
    out = []
    for i, info in enumerate(board.infos):
        each = [stats.slope(x, v[i, t].T, doubling=doubling) for _, x, t in lines]
        if info.deterministic:
            each = [np.atleast_1d(stats.slope(x, _nanmean(v[i, t]), doubling=doubling)) for _, x, t in lines]
        # A seed counts only with every curve whole: otherwise seeds would average different curves.
        seeds = [float(s) for s in np.mean(each, axis=0) if np.isfinite(s)]
        e = stats.estimate(seeds, deterministic=info.deterministic)
        if e.n:
            out.append(Slope(info, e, len(lines)))
    return tuple(out)


def _nanmean(x: np.ndarray) -> np.ndarray:
    there = ~np.isnan(x)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there, x, 0).sum(-1) / there.sum(-1))


def costs(board: Board) -> CostTable:
    """Mean over tasks of the mean over seeds, per row and hardware label; ok cells only."""
    metrics = (*(m for m in board.spec.track.metrics if m.kind == "cost"), *_COSTS)
    cells: dict[tuple[str, str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    counted = {board.tasks[t].name for t in board.counted}
    names = [m.name for m in metrics]
    for s in board.slots:
        if s.status != "ok" or s.task not in counted:
            continue
        for name in names:
            raw = s.cost.get(name) if name in s.cost else s.metrics.get(name)
            if isinstance(raw, int | float):
                cells[s.row, s.hardware, name][s.task].append(float(raw))
    values: dict[str, dict[str, dict[str, tuple[float, bool]]]] = defaultdict(lambda: defaultdict(dict))
    for (row, label, name), by_task in cells.items():
        mean = float(np.mean([np.mean(v) for v in by_task.values()]))
        values[row][label][name] = (mean, len(by_task) == len(counted))
    there = {name for _, _, name in cells}
    labels = tuple(sorted({label for _, label, _ in cells}))
    used = tuple(m for m in metrics if m.name in there)
    return CostTable(labels, used, values, len(labels) <= MAX_LABELS)


def beside(board: Board) -> tuple[Beside, ...]:
    """Every published number whose row and task are on the board, with the verdict.

    ``reproduced``: our mean differs by no more than the published standard deviation, or, without one, than
    half a unit of the last printed digit. ``within interval``: otherwise, but our 95 % interval holds the
    published value. ``off by d``: ours minus published.
    """
    rows, tasks = {r.row for r in board.infos}, {t.name for t in board.tasks}
    out = []
    for p in board.spec.published:
        if p.row in rows and p.task in tasks:
            ours = board.estimate(p.row, p.task, p.metric)
            out.append(Beside(p, ours, _verdict(p, ours)))
    return tuple(out)


def _verdict(p: Published, ours: Estimate | None) -> str:
    if ours is None:
        return "not run"
    off = ours.mean - p.value
    # Half a unit of the last digit, with room for the rounding of the subtraction itself.
    if not ours.bound and abs(off) <= max(p.std or 0.0, 0.5 * 10**-p.digits) * (1 + 1e-9):
        return "reproduced"
    if not ours.bound and ours.holds(p.value):
        return "within interval"
    return f"off by {ours.bound}{off:+.{p.digits}f}".replace("-", "−")
