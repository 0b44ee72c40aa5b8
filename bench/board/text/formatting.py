"""How numbers, cells and groups are written, shared by all renderers so that they agree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.board.spec import STATES
from bench.contract import SYMBOLS, Metric
from bench.stats import Comparison, Estimate

if TYPE_CHECKING:
    from bench.board.model import Board
    from bench.board.view import CellView, RowView

#: What the signs beside a number mean; the symbols of states are the contract's.
SIGNS: Mapping[str, str] = {
    "=": "alias: another row's cell, by construction",
    "†": "stale: made with other code, data or stages than today's",
    "‡": "ran with its fallback, or accepted by hand",
    "≥": "censored at the budget: a restricted mean",
    "*": "partial: a cell failed or is missing",
}


#: Instead of what a row does not have: a rank, letters, an estimate.
NONE = "–"


def number(value: float, digits: int) -> str:
    """A number with fixed decimals, a real minus sign, thousands separated; ``n/a`` if it is not finite."""
    if not math.isfinite(value):
        return "n/a"
    return f"{value:,.{digits}f}".replace("-", "−")


def half(value: float, digits: int) -> str:
    """The half-width of an interval: a number without the zero before the point."""
    text = number(value, digits)
    return text[1:] if text.startswith("0.") else text


def estimate(e: Estimate | None, digits: int) -> str:
    """A mean with its interval, such as ``≥0.7123 ±.0031``; ``–`` without a value."""
    if e is None or not e.n:
        return "–"
    tail = f" ±{half(e.half, digits)}" if e.half is not None else ""
    return f"{e.bound}{number(e.mean, digits)}{tail}"


def signed(c: Comparison | None, digits: int) -> str:
    """A difference with its sign and interval, such as ``+0.0123 ±.0031``; empty without one."""
    if c is None or not c.n or not math.isfinite(c.diff):
        return ""
    value = number(abs(c.diff), digits)
    sign = "" if float(value.replace(",", "")) == 0 else "+" if c.diff > 0 else "−"
    return f"{sign}{value}" + (f" ±{half(c.half, digits)}" if c.half is not None else "")


def p_value(p: float | None) -> str:
    """A p-value with three decimals; ``–`` where nothing was tested."""
    return "–" if p is None else "<.001" if p < 0.001 else half(p, 3)


def troubles(cell: CellView) -> str:
    """The symbols of all states but ok in a cell, with counts, such as ``2/3 ✗``; empty if all are ok."""
    bad = [(s, cell.counts[s]) for s in STATES if s != "ok" and cell.counts.get(s)]
    if not cell.counts or [s for s, _ in bad] == ["unplanned"]:
        return SYMBOLS["unplanned"]
    bad = [(s, n) for s, n in bad if s != "unplanned"]
    total = sum(n for s, n in cell.counts.items() if s != "unplanned")
    ok = cell.counts.get("ok", 0)
    symbols = " ".join(f"{SYMBOLS[s]}{n if n > 1 and len(bad) > 1 else ''}" for s, n in bad)
    if not bad:
        return ""
    return (
        f"{ok}/{total} {symbols}" if ok else f"{symbols} {total}" if total > 1 and len(bad) == 1 else symbols
    )


#: Instead of a metric that was added after the record, which was proven to stand without another run.
UNMEASURED = "not measured"


def signs(cell: CellView) -> str:
    """The signs (of ``=``, ``†`` and ``‡``) that hold for a cell."""
    return ("=" if cell.alias_of else "") + ("†" if cell.stale else "") + ("‡" if cell.noted else "")


def cell(view: CellView, digits: int, seeds: int) -> str:
    """A cell, such as ``0.7123 ±.0031``; then n where it is not the planned one, other states, and signs."""
    trouble = troubles(view)
    if view.estimate is None:
        return trouble or (UNMEASURED if view.counts.get("ok") else "–")
    e = view.estimate
    count = f" ({trouble})" if trouble else f" ({e.n})" if e.n != seeds else ""
    return estimate(e, digits) + count + signs(view)


def mean(row: RowView, digits: int) -> str:
    """The mean of a row over the counted tasks, with ``*`` when it is partial."""
    return estimate(row.mean, digits) + ("*" if row.partial and row.mean else "")


def role(row: RowView) -> str:
    """The mark of a row that comes from a plugin."""
    return " [plugin]" if row.info.role == "plugin" else ""


def arrow(metric: Metric) -> str:
    """The direction of a metric as an arrow; empty if it has none."""
    return {"higher": "↑", "lower": "↓", "neither": ""}[metric.better]


def used_symbols(board: Board) -> list[tuple[str, str]]:
    """The legend: the symbols and signs that this board shows, with their meaning."""
    views = [c for r in board.every_row for c in r.cells]
    states = [s for s in STATES if s not in ("ok", "unplanned") and board.status_counts.get(s)]
    if any(troubles(c) == SYMBOLS["unplanned"] for c in views):
        states.append("unplanned")
    meaning = {
        "new": "not run yet",
        "blocked": "data missing",
        "unplanned": "not planned",
        "oom": "out of memory",
    }
    out = [(SYMBOLS[s], meaning.get(s, s)) for s in states]
    shown = {ch for c in views for ch in signs(c)}
    bounds = {c.estimate.bound for c in views if c.estimate and c.estimate.bound}
    out += [(s, t) for s, t in SIGNS.items() if s in shown]
    out += [(b, SIGNS["≥"]) for b in sorted(bounds)]
    return out + ([("*", SIGNS["*"])] if any(r.partial for r in board.every_row) else [])
