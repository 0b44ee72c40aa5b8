"""How a board says things: numbers, cells, groups, the header. Shared by every renderer, so they agree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bench.board.model import STATES, SYMBOL
from bench.contract import Metric
from bench.stats import Comparison, Estimate

if TYPE_CHECKING:
    from bench.board.model import Board, CellView, RowView
    from bench.board.tables.gains import CostTable, Slope

#: What the signs beside a number mean; states come from the contract's vocabulary.
SIGNS: Mapping[str, str] = {
    "=": "alias: another row's cell, by construction",
    "†": "stale: made with other code, data or stages than today's",
    "‡": "ran with its fallback, or accepted by hand",
    "≥": "censored at the budget: a restricted mean",
    "*": "partial: a cell failed or is missing",
}


def number(value: float, digits: int) -> str:
    """Fixed decimals, a real minus sign, thousands separated; ``n/a`` for what is no number."""
    if not math.isfinite(value):
        return "n/a"
    return f"{value:,.{digits}f}".replace("-", "−")


def half(value: float, digits: int) -> str:
    """A half-width: as a number, without the zero before the point."""
    text = number(value, digits)
    return text[1:] if text.startswith("0.") else text


def estimate(e: Estimate | None, digits: int) -> str:
    """``≥0.7123 ±.0031``; ``–`` without a value."""
    if e is None or not e.n:
        return "–"
    tail = f" ±{half(e.half, digits)}" if e.half is not None else ""
    return f"{e.bound}{number(e.mean, digits)}{tail}"


def signed(c: Comparison | None, digits: int) -> str:
    """A difference with its sign and interval: ``+0.0123 ±.0031``; empty without one."""
    if c is None or not c.n or not math.isfinite(c.diff):
        return ""
    value = number(abs(c.diff), digits)
    sign = "" if float(value.replace(",", "")) == 0 else "+" if c.diff > 0 else "−"
    return f"{sign}{value}" + (f" ±{half(c.half, digits)}" if c.half is not None else "")


def slope(s: Slope, digits: int) -> str:
    """A slope with its sign and interval, one decimal more than the metric: it is a small share of it."""
    e = s.estimate
    tail = f" ±{half(e.half, digits + 1)}" if e.half is not None else ""
    return f"{'+' if e.mean > 0 else ''}{number(e.mean, digits + 1)}{tail}"


def letter(group: int | None) -> str:
    """Tie group as a letter: a, b, …, z, aa; ``–`` where none is claimed."""
    if group is None:
        return "–"
    text = ""
    group += 1
    while group:
        group, rest = divmod(group - 1, 26)
        text = chr(97 + rest) + text
    return text


def troubles(cell: CellView) -> str:
    """Symbols of what is not ok in a cell, with counts: ``2/3 ✗``; a bare symbol when nothing is ok."""
    bad = [(s, cell.counts[s]) for s in STATES if s != "ok" and cell.counts.get(s)]
    if not cell.counts or [s for s, _ in bad] == ["unplanned"]:
        return SYMBOL["unplanned"]
    bad = [(s, n) for s, n in bad if s != "unplanned"]
    total = sum(n for s, n in cell.counts.items() if s != "unplanned")
    ok = cell.counts.get("ok", 0)
    symbols = " ".join(f"{SYMBOL[s]}{n if n > 1 and len(bad) > 1 else ''}" for s, n in bad)
    if not bad:
        return ""
    return (
        f"{ok}/{total} {symbols}" if ok else f"{symbols} {total}" if total > 1 and len(bad) == 1 else symbols
    )


#: Of a record that is older than the metric and was stamped anew, since the change moved no number.
UNMEASURED = "not measured"


def signs(cell: CellView) -> str:
    """``=``, ``†`` and ``‡``, as far as they hold."""
    return ("=" if cell.alias_of else "") + ("†" if cell.stale else "") + ("‡" if cell.noted else "")


def cell(view: CellView, digits: int, seeds: int) -> str:
    """A cell: ``0.7123 ±.0031``, then n where it is not the planned one, troubles and signs."""
    trouble = troubles(view)
    if view.estimate is None:
        return trouble or (UNMEASURED if view.counts.get("ok") else "–")
    e = view.estimate
    count = f" ({trouble})" if trouble else f" ({e.n})" if e.n != seeds else ""
    return estimate(e, digits) + count + signs(view)


def mean(row: RowView, digits: int) -> str:
    """Mean over the counted tasks, with ``*`` when partial."""
    return estimate(row.mean, digits) + ("*" if row.partial and row.mean else "")


def role(row: RowView) -> str:
    """The mark of a row that a stranger brought."""
    return " [plugin]" if row.info.role == "plugin" else ""


def arrow(metric: Metric) -> str:
    """Direction of a metric."""
    return {"higher": "↑", "lower": "↓", "neither": ""}[metric.better]


def costs(table: CostTable, row: str) -> Sequence[Sequence[str]]:
    """Cost values of a row, a line a hardware label it ran on; ``*`` where tasks are missing."""
    lines = []
    for label in table.labels:
        if found := table.values.get(row, {}).get(label):
            cells = [(m, found.get(m.name)) for m in table.metrics]
            values = [number(x[0], m.digits) + ("" if x[1] else "*") if x else "–" for m, x in cells]
            lines.append([label or "unnamed", *values])
    return lines or [["–"] * (len(table.metrics) + 1)]


def cost_heads(table: CostTable) -> Sequence[str]:
    """Heads of those columns."""
    names = [m.name.removesuffix("_s").removesuffix("_mb").replace("_", " ") for m in table.metrics]
    units = [f"{n} ({m.unit})" if m.unit else n for n, m in zip(names, table.metrics, strict=True)]
    return ["hardware", *units]


def cost_caption(table: CostTable) -> str:
    """What the cost columns may be compared within."""
    if not table.labels:
        return "no cell has run"
    if not table.compared:
        return f"mixed hardware ({len(table.labels)} labels): not compared"
    if len(table.labels) == 1:
        return "mean over tasks"
    return "mean over tasks, * not on every task; compare within one hardware label only"


def used_symbols(board: Board) -> list[tuple[str, str]]:
    """Legend: the symbols and signs that this board shows, with their meaning."""
    views = [c for r in (*board.rows, *board.ablations) for c in r.cells]
    states = [s for s in STATES if s not in ("ok", "unplanned") and board.status_counts.get(s)]
    if any(troubles(c) == SYMBOL["unplanned"] for c in views):
        states.append("unplanned")
    meaning = {
        "new": "not run yet",
        "blocked": "data missing",
        "unplanned": "not planned",
        "oom": "out of memory",
    }
    out = [(SYMBOL[s], meaning.get(s, s)) for s in states]
    shown = {ch for c in views for ch in signs(c)}
    bounds = {c.estimate.bound for c in views if c.estimate and c.estimate.bound}
    rows = (*board.rows, *board.ablations)
    out += [(s, t) for s, t in SIGNS.items() if s in shown]
    out += [(b, SIGNS["≥"]) for b in sorted(bounds)]
    return out + ([("*", SIGNS["*"])] if any(r.partial for r in rows) else [])
