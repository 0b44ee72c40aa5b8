"""How numbers, cells and groups are written, shared by all renderers so that they agree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench import stats
from bench.board.spec import STATES
from bench.contract import SYMBOLS, Better, Metric
from bench.stats import Contrast, Estimate

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


def signed(diff: float, half_width: float | None, digits: int) -> str:
    """A difference with its sign and interval, such as ``+0.0123 ±.0031``; empty if it is not finite."""
    if not math.isfinite(diff):
        return ""
    value = number(abs(diff), digits)
    sign = "" if float(value.replace(",", "")) == 0 else "+" if diff > 0 else "−"
    return f"{sign}{value}" + (f" ±{half(half_width, digits)}" if half_width is not None else "")


def delta(row: RowView, digits: int) -> str:
    """The difference of a row to the reference with its simultaneous interval; empty without one."""
    d = row.delta
    return "" if d is None else signed(d.contrast.diff, d.half, digits)


def difference(c: Contrast, digits: int, *, log: bool = False) -> str:
    """A contrast with its 95 % interval, such as ``+.021 ±.015``; of ratios as a change in per cent with the
    ends of its interval, such as ``−7.0 % (−11.8 to −1.9)``.
    """
    if not math.isfinite(c.diff):
        return NONE
    if not log:
        value = signed(c.diff, c.half, digits)
        return value[0] + value[2:] if value[1:3] == "0." else value
    ends = [] if c.half is None else [_per_cent(c.diff - c.half), _per_cent(c.diff + c.half)]
    return f"{_per_cent(c.diff)} %" + (f" ({' to '.join(ends)})" if ends else "")


def beyond(better: Better, first: bool, second: bool) -> str:
    """The sign before a difference "first minus second" of which one side has censored values; empty if none
    has, or if both have, so that the true difference may lie on either side.

    Args:
        better: of the metric; a censored value of one that is better low lies above its bound.
        first: whether values of the first are censored.
        second: whether values of the second are.
    """
    if first == second:
        return ""
    return "≥" if first == (stats.beyond(better) == "≥") else "≤"


def _per_cent(log_ratio: float) -> str:
    return f"{100 * math.expm1(log_ratio):+.1f}".replace("-", "−")


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


def cell(view: CellView, digits: int) -> str:
    """A cell, such as ``0.7123 ±.0031``; then n where it is not the planned one, other states, and signs.
    The one observation of a deterministic row is marked (1).
    """
    trouble = troubles(view)
    if view.estimate is None:
        return trouble or (UNMEASURED if view.counts.get("ok") else "–")
    e = view.estimate
    count = f" ({trouble})" if trouble else f" ({e.n})" if e.n != view.planned or e.deterministic else ""
    return estimate(e, digits) + count + signs(view)


def mean(row: RowView, digits: int) -> str:
    """The mean of a row over the counted tasks, with ``*`` when it is partial."""
    return estimate(row.mean, digits) + ("*" if row.partial and row.mean else "")


def place(row: RowView) -> str:
    """The rank and the letters of a row, such as ``2 ab``; ``–`` for a row that is not ranked."""
    return NONE if row.rank is None else f"{row.rank} {row.letters}".strip()


def group_means(row: RowView, digits: int) -> list[str]:
    """The means of a row over the counted tasks of each group, marked as its `mean` is."""
    return [estimate(e, digits) + ("*" if row.partial and e else "") for e in row.groups]


def ceilings(board: Board) -> tuple[str, list[str]] | None:
    """The best that is possible: its mean over the counted tasks, if it is known on each, and on every task.
    None if it is known on no task.
    """
    if not board.ceilings:
        return None
    digits, values = board.metric.digits, [board.ceilings.get(t.name) for t in board.tasks]
    counted = [v for t in board.counted if (v := values[t]) is not None]
    whole = counted and len(counted) == len(board.counted)
    mean_of = number(sum(counted) / len(counted), digits) if whole else ""
    return mean_of, ["" if v is None else number(v, digits) for v in values]


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
