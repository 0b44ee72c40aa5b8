"""Text of the derived tables, row by row: one source for the terminal, the Markdown and the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import stats
from bench.board.examples import MOST_CELLS, against_reference, kept
from bench.board.tables.gains import beside, costs, curves, gains, relative, slopes
from bench.board.text import formatting as text
from bench.contract import Metric

if TYPE_CHECKING:
    from bench.board.model import Board


@dataclass(frozen=True, slots=True)
class TableView:
    """A derived table as text. ``words``: columns that hold words, the others hold numbers."""

    title: str
    note: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: frozenset[int]


def derived(board: Board) -> list[TableView]:
    """Every derived table that this board has something for, in the order in which it is printed."""
    found = [
        _gains(board),
        _relative(board),
        _by_example(board),
        _slopes(board),
        _others(board),
        _costs(board),
        _published(board),
    ]
    return [t for t in found if t is not None]


def _gains(board: Board) -> TableView | None:
    labels = {r.row: r.label for r in board.infos}
    rows = []
    for g in gains(board):
        n = len(g.by_task)
        gain = text.signed(g.comparison, board.metric.digits) or "–"
        wins = f"{_wins(board, g.by_task.values())}/{n}"
        rows.append((g.info.label, labels[g.counterpart], gain, wins, _p(g.adjusted)))
    how = "Welch over seeds" if board.unit == "seeds" else f"paired by {board.unit.removesuffix('s')}"
    note = f"{how}, aliases of the counterpart left out; p Holm-corrected over this table"
    heads = ("row", "over", f"gain in {board.metric.name}", "better on", "p")
    return TableView("Gain over counterpart", note, heads, rows, frozenset({0, 1})) if rows else None


def _relative(board: Board) -> TableView | None:
    """Only where the paper claims a relative change."""
    if not board.spec.track.claim:
        return None
    rows = []
    for r in relative(board):
        c, values = r.comparison, r.by_task.values()
        half = "" if c.half is None else f" ±{text.half(100 * c.half, 1)}"
        span = f"{100 * min(values):+.0f} to {100 * max(values):+.0f}".replace("-", "−")
        change = f"{100 * c.diff:+.1f}".replace("-", "−")
        rows.append((r.info.label, f"{change}{half}", span, f"{c.wins}/{c.n}"))
    note = (
        f"the paper: {board.spec.track.claim}. Here: mean over tasks of {board.metric.name} over the "
        "reference's, minus 1; ± is a 95 % t interval over tasks, one row at a time; tasks where the "
        "reference is not above 0 are left out"
    )
    heads = ("row", "change, %", "of tasks, %", "better on")
    title = f"Relative change against {board.spec.track.reference}"
    return TableView(title, note, heads, rows, frozenset({0})) if rows else None


def _p(p: float | None) -> str:
    return "–" if p is None else "<.001" if p < 0.001 else text.half(p, 3)


def _wins(board: Board, gains: Iterable[float]) -> int:
    sign = -1 if board.metric.better == "lower" else 1
    return sum(sign * g > 0 for g in gains)


def _by_example(board: Board) -> TableView | None:
    title = f"Paired by example: {board.metric.name} against {board.spec.track.reference}"
    if len(board.slots) > MOST_CELLS and kept(board):
        return TableView(title, f"left out: more than {MOST_CELLS:,} cells", (), (), frozenset())
    digits, rows = board.metric.digits, []
    for b in against_reference(board):
        c, least = b.comparison, stats.detectable_like(b.comparison)
        rows.append((
            b.info.label, text.signed(c, digits), f"{c.wins}/{b.worse}", f"{b.n} in {c.n}", str(b.tasks),
            _p(b.adjusted), "–" if least is None else text.half(least, digits),
        ))  # fmt: skip
    heads = ("row", "difference", "better/worse", "examples in groups", "tasks", "p", "detectable")
    note = (
        "mean over the tasks both have, seeds averaged: test examples are the sample, so this holds for the "
        "networks trained here, on examples like these; those of one group (see the track) count as one; p "
        "Holm-corrected over this table; detectable: found in 80 % of such test sets by one test at 5 %"
    )
    return TableView(title, note, heads, rows, frozenset({0})) if rows else None


def _slopes(board: Board) -> TableView | None:
    axis = board.spec.track.axis
    found = slopes(board)
    if not found:
        return None
    lines, doubling = curves(board)
    unit = f"per doubling of {axis}" if doubling else f"per unit of {axis}"
    rows = [(s.info.label, text.slope(s, board.metric.digits), str(s.estimate.n)) for s in found]
    over = f", averaged over {len(lines)} curves" if len(lines) > 1 else ""
    note = f"least squares{over}; interval over seeds with every point"
    return TableView(f"Slope of {board.metric.name}", note, ("row", unit, "n"), rows, frozenset({0}))


def _others(board: Board) -> TableView | None:
    metrics = [m for m in board.spec.track.metrics if m.kind != "cost" and m.name != board.spec.ranks_by]
    every = (*board.rows, *board.ablations)
    # FID applies in no row of the laptop's: a column of nothing tells nothing.
    late = _late(board, metrics)
    metrics = [
        m
        for m in metrics
        if any(board.over_tasks(r.info.row, m.name) or (r.info.row, m.name) in late for r in every)
    ]
    rows = []
    for r in every:
        cells = []
        for m in metrics:
            value = board.over_tasks(r.info.row, m.name)
            none = text.UNMEASURED if (r.info.row, m.name) in late else "–"
            cells.append(text.number(value[0], m.digits) + ("" if value[1] else "*") if value else none)
        rows.append((r.info.label, *cells))
    heads = ("row", *(f"{m.name} {text.arrow(m)}".strip() for m in metrics))
    note = "mean over tasks; – does not apply, * not on every task; nothing is ranked by these"
    return TableView("Other metrics", note, heads, rows, frozenset({0})) if metrics and rows else None


def _late(board: Board, metrics: Sequence[Metric]) -> set[tuple[str, str]]:
    """(row, metric) of metrics that came after a row's records, which were stamped anew without being run."""
    stamped = [
        s
        for s in board.slots
        if s.status == "ok" and (s.verified or any(mark.startswith("accepted") for mark in s.marks))
    ]
    return {(s.row, m.name) for s in stamped for m in metrics if m.name not in s.metrics}


def _costs(board: Board) -> TableView | None:
    table = costs(board)
    if not table.labels:
        return None
    lines = [(r.info.label, *line) for r in board.rows for line in text.costs(table, r.info.row)]
    rows = lines if table.compared else []
    return TableView(
        "Cost", text.cost_caption(table), ("row", *text.cost_heads(table)), rows, frozenset({0, 1})
    )


def _published(board: Board) -> TableView | None:
    labels = {r.row: r.label for r in board.infos}
    rows = []
    for b in beside(board):
        p = b.published
        std = f" ±{text.half(p.std, p.digits)}" if p.std is not None else ""
        ours = text.estimate(b.ours, board.spec.track.metric(p.metric).digits)
        where = "; ".join(filter(None, (p.source, p.setting)))
        value = f"{text.number(p.value, p.digits)}{std}"
        cell = f"{p.task} {p.metric}"
        rows.append((labels[p.row], cell, value, ours, b.verdict, where, p.difference or "none stated"))
    heads = ("row", "cell", "published", "ours", "verdict", "source", "protocol differs by")
    note = "reproduced: within the published sd or to its last digit; within interval: inside our 95 %"
    return (
        TableView("Beside published numbers", note, heads, rows, frozenset({0, 1, 4, 5, 6})) if rows else None
    )
