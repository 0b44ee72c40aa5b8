"""Pictures of a board: curves along the axis, spectra of paired rows, the status matrix; dashes repeat what
colour says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.board.model import STATES, SYMBOL
from bench.board.plots.by_name import by_name
from bench.board.plots.canvas import INK, PALETTE, Picture, outliers, picture, plain
from bench.board.plots.gallery import gallery
from bench.board.plots.samples import samples
from bench.board.plots.steps import over_steps
from bench.board.plots.validation import against_validation
from bench.board.tables.gains import curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.board.model import Board, CellView, RowInfo

STATE_COLOURS: Mapping[str, str] = {
    "ok": "#8DBFB0", "skipped": "#B9BDC3", "failed": "#D55E00", "oom": "#CC79A7", "timeout": "#E69F00",
    "diverged": "#7B5EA7", "lost": "#56B4E9", "new": "#DDE1E6", "blocked": "#8C9199", "unplanned": "none",
}  # fmt: skip
_MAX_CELLS = 6000
_MAX_LINES = 16
_MAX_PANELS = 6


def pictures(board: Board) -> list[Picture]:
    """Every picture this board has data for: curves, series of pairs (only with ``detail``), states."""
    found = [
        along_axis(board), *paired_series(board), *over_steps(board), *by_name(board),
        against_validation(board), gallery(board), *samples(board), status_matrix(board),
    ]  # fmt: skip
    return [p for p in found if p is not None]


# ------------------------------------------------------------------------------------------ along the axis


def along_axis(board: Board) -> Picture | None:
    """Ranking metric against ``track.axis``: one curve a row, 95 % bands over seeds, a panel a family."""
    lines, doubling = curves(board)
    rows = [r for r in board.rows if r.mean is not None][:_MAX_LINES]
    if not lines or not rows:
        return None
    colour, dashed = _families([r.info for r in rows])
    off = outliers([r.mean.mean for r in rows if r.mean is not None])
    shown = [r for i, r in enumerate(rows) if i not in off]

    def draw(figure: Figure) -> str:
        axes = figure.subplots(1, len(lines), squeeze=False)[0]
        for ax, (name, x, tasks) in zip(axes, lines, strict=True):
            ends = []
            for r in shown:
                ends += _curve(ax, x, [r.cells[t] for t in tasks], r.info, colour, dashed)
            _axis(ax, x, doubling, str(board.spec.track.axis), name)
            _end_labels(ax, float(x[-1]), ends)
        axes[0].set_ylabel(f"{board.metric.name}{f' ({board.metric.unit})' if board.metric.unit else ''}")
        left = [rows[i].info.label for i in sorted(off)]
        tail = f" Off the scale and left out: {', '.join(left)}." if left else ""
        cut = f" The first {_MAX_LINES} rows." if len(board.rows) > _MAX_LINES else ""
        return (
            f"{board.metric.name} against {board.spec.track.axis}; bands are 95 % t intervals over seeds. "
            f"A dashed curve is the counterpart of the solid one in its colour.{tail}{cut}"
        )

    return picture(f"{board.spec.track.name}-axis", draw, 1.6 + 3.6 * len(lines), 3.2)


def _families(infos: Sequence[RowInfo]) -> tuple[dict[str, str], set[str]]:
    """A colour a row, shared with its counterpart; and the counterparts, which are dashed."""
    there = {i.row for i in infos}
    dashed = {i.counterpart for i in infos if i.counterpart in there and i.counterpart != i.row}
    colour: dict[str, str] = {}
    heads = [i for i in infos if i.row not in dashed]
    for k, info in enumerate(heads):
        colour[info.row] = PALETTE[k % len(PALETTE)]
        if info.counterpart in dashed:
            colour.setdefault(info.counterpart, colour[info.row])
    return {i.row: colour.get(i.row, PALETTE[-1]) for i in infos}, {d for d in dashed if d}


def _curve(
    ax: Axes,
    x: np.ndarray,
    cells: Sequence[CellView],
    info: RowInfo,
    colour: Mapping[str, str],
    dashed: set[str],
) -> list[tuple[float, str, str]]:
    y = np.array([c.estimate.mean if c.estimate else np.nan for c in cells])
    h = np.array([c.estimate.half if c.estimate and c.estimate.half is not None else np.nan for c in cells])
    c = colour[info.row]
    style = (0, (4, 2)) if info.row in dashed else "-"
    ax.fill_between(x, y - h, y + h, color=c, alpha=0.13, linewidth=0)
    ax.plot(x, y, color=c, linestyle=style, linewidth=1.6, marker="o", markersize=3.5)
    last = y[np.isfinite(y)]
    return [(float(last[-1]), plain(info.label), c)] if len(last) else []


def _axis(ax: Axes, x: np.ndarray, doubling: bool, label: str, title: str) -> None:
    if doubling:
        ax.set_xscale("log", base=2)
    ax.set_xticks(x, [f"{v:g}" for v in x])
    ax.minorticks_off()
    ax.set_xlabel(label)
    ax.set_title(plain(title))
    ax.grid(axis="y", color=INK, alpha=0.18, linewidth=0.6)


def _end_labels(ax: Axes, x: float, ends: list[tuple[float, str, str]]) -> None:
    """Names at the right end of the curves, pushed apart until they do not overlap."""
    low, high = ax.get_ylim()
    step = (high - low) * 0.062
    places = sorted(ends)
    at = [y for y, _, _ in places]
    for k in range(1, len(at)):
        at[k] = max(at[k], at[k - 1] + step)
    over = (at[-1] - high) if at else 0
    if over > 0:
        at = [y - over for y in at]
        for k in range(len(at) - 2, -1, -1):
            at[k] = min(at[k], at[k + 1] - step)
    for y, (_, name, colour) in zip(at, places, strict=True):
        ax.annotate(name, (x, y), (8, 0), textcoords="offset points", color=colour, va="center", fontsize=8)


# ------------------------------------------------------------------------------------------------- spectra


@dataclass(frozen=True, slots=True)
class _Series:
    """One line: its values along the last dimension ``dim``, what stands there, what was averaged
    ``over``.
    """

    values: np.ndarray
    dim: str
    ticks: Sequence[Any] | None = None
    over: tuple[str, ...] = ()

    @property
    def named(self) -> bool:
        """Whether the positions have names rather than numbers."""
        ticks = self.ticks or ()
        return len(ticks) == len(self.values) and isinstance(ticks[0], str)


@dataclass(frozen=True, slots=True)
class _Pair:
    info: RowInfo
    other: RowInfo
    task: str
    mine: _Series
    theirs: _Series


def paired_series(board: Board) -> list[Picture]:
    """Each series that a row and its counterpart both recorded, drawn over each other along its last axis.

    The last task on which both have it (on a sweep axis, the largest); mean over seeds and other dimensions.
    """
    if board.detail is None:
        return []
    found: dict[str, list[_Pair]] = {}
    infos = {i.row: i for i in board.infos}
    cells = {(c.row, c.task): c for r in (*board.rows, *board.ablations) for c in r.cells}
    for info in board.infos:
        other = infos.get(info.counterpart or "")
        if other is None:
            continue
        for name, task, mine, theirs in _shared(board, info, other, cells):
            found.setdefault(name, []).append(_Pair(info, other, task, mine, theirs))
    return [_spectra(board, name, pairs[:_MAX_PANELS], len(pairs)) for name, pairs in sorted(found.items())]


def _shared(
    board: Board, info: RowInfo, other: RowInfo, cells: Mapping[tuple[str, str], CellView]
) -> list[tuple[str, str, _Series, _Series]]:
    for task in reversed(board.tasks):
        mine, theirs = cells[info.row, task.name], cells[other.row, task.name]
        if mine.alias_of or theirs.alias_of or not (mine.estimate and theirs.estimate):
            continue
        # This task decides: a track records the same series on every task, and reading on would open every
        # record of a track that records none.
        a, b = _series(board, mine), _series(board, theirs)
        return [(name, task.name, a[name], b[name]) for name in sorted(a.keys() & b.keys())]
    return []


def _series(board: Board, cell: CellView) -> dict[str, _Series]:
    """Mean over seeds of a cell's series; those whose shape changes with the seed are left out."""
    assert board.detail is not None
    seen: dict[str, list[_Series]] = {}
    for s in cell.slots:
        record = board.detail(s.key) if s.status == "ok" else None
        for name, raw in (record.series if record else {}).items():
            values = np.asarray(raw["data"], float)
            if values.ndim and values.shape[-1] > 1:
                *others, last = raw["dims"]
                line = np.nanmean(values, axis=tuple(range(len(others)))) if others else values
                seen.setdefault(name, []).append(_Series(line, last, raw["coords"].get(last), tuple(others)))
    same = {k: v for k, v in seen.items() if len({len(x.values) for x in v}) == 1}
    return {k: replace(v[0], values=np.mean([x.values for x in v], axis=0)) for k, v in same.items()}


def _spectra(board: Board, name: str, pairs: Sequence[_Pair], total: int) -> Picture:
    def draw(figure: Figure) -> str:
        axes = figure.subplots(1, len(pairs), squeeze=False, sharey=True)[0]
        both = np.concatenate([v.values for p in pairs for v in (p.mine, p.theirs)])
        log = bool((both > 0).all() and both.max() / both.min() > 100)
        for ax, pair in zip(axes, pairs, strict=True):
            _pair(ax, pair)
            if log:
                ax.set_yscale("log")
                ax.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
        axes[0].set_ylabel(plain(name))
        over = f" and {', '.join(pairs[0].mine.over)}" if pairs[0].mine.over else ""
        tail = f" The first {len(pairs)} of {total} pairs." if total > len(pairs) else ""
        scale = " (logarithmic)" if log else ""
        what = (
            f"a row (solid) and its counterpart (dashed), mean over seeds{over}, on the last task both have"
        )
        return f"{name}{scale}: {what}.{tail}"

    return picture(f"{board.spec.track.name}-{name}", draw, max(2.7 * len(pairs), 4.4), 2.8)


def _pair(ax: Axes, pair: _Pair) -> None:
    """One panel: both lines, named in their colours, over positions or over the names of what stands
    there.
    """
    for k, (row, line) in enumerate(((pair.info, pair.mine), (pair.other, pair.theirs))):
        style = (0, (4, 2)) if k else "-"
        x = np.arange(1, len(line.values) + 1)
        ax.plot(
            x, line.values, color=PALETTE[k], linestyle=style, linewidth=1.6, marker="." if line.named else ""
        )
        place: Any = {"xycoords": "axes fraction", "ha": "left", "va": "bottom"}
        ax.annotate(plain(row.label), (0.0, 1.09 - 0.08 * k), color=PALETTE[k], fontsize=8, **place)
    if pair.mine.named:
        ax.set_xticks(x, [plain(str(t)) for t in pair.mine.ticks or ()], rotation=60, ha="right", fontsize=7)
    else:
        ax.set_xlabel(plain(pair.mine.dim))
    ax.set_title(plain(pair.task), loc="left", pad=26)
    ax.grid(axis="y", color=INK, alpha=0.18, linewidth=0.6)


# ------------------------------------------------------------------------------------------- status matrix


def status_matrix(board: Board) -> Picture | None:
    """Every slot as a box coloured by its state, rows × tasks, one box a seed; None for too big a board."""
    rows, tasks = [*board.rows, *board.ablations], board.tasks
    if not board.slots or len(rows) * len(tasks) * max(board.spec.seeds, 1) > _MAX_CELLS:
        return None

    def draw(figure: Figure) -> str:
        from matplotlib.collections import PatchCollection
        from matplotlib.patches import Rectangle

        ax = figure.subplots()
        boxes, colours = [], []
        for y, r in enumerate(rows):
            for x, cell in enumerate(r.cells):
                states = [s.status for s in sorted(cell.slots, key=lambda s: s.seed)] or ["unplanned"]
                width = 0.92 / len(states)
                for k, state in enumerate(states):
                    left = x + 0.04 + k * width
                    boxes.append(Rectangle((left, y + 0.1), width * 0.94, 0.8))
                    colours.append(STATE_COLOURS[state])
                    if state != "ok":
                        _symbol(ax, left + width * 0.47, y + 0.5, state)
        ax.add_collection(PatchCollection(boxes, facecolors=colours, linewidths=0))
        ax.set(xlim=(0, len(tasks)), ylim=(len(rows), 0))
        names = [plain(t.name) for t in tasks]
        ax.set_xticks(np.arange(len(tasks)) + 0.5, names, rotation=0 if len(tasks) < 9 else 60)
        ax.set_yticks(np.arange(len(rows)) + 0.5, [plain(r.info.label) for r in rows])
        ax.xaxis.tick_top()
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        said = [f"{SYMBOL[s]} {s}" for s in STATES if s != "ok" and board.status_counts.get(s)]
        return f"Every cell by its state, one box a seed; plain boxes are ok. {', '.join(said)}".strip()

    size = (min(2.6 + 0.85 * len(tasks), 11), 0.5 + 0.25 * len(rows))
    return picture(f"{board.spec.track.name}-states", draw, *size)


def _symbol(ax: Axes, x: float, y: float, state: str) -> None:
    light = state in ("new", "skipped", "timeout", "lost", "oom")
    ink = INK if state == "unplanned" else "#1F2328" if light else "#FFFFFF"
    ax.text(x, y, SYMBOL[state], ha="center", va="center", fontsize=8, color=ink)
