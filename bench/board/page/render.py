"""Boards as one HTML file that needs nothing else: no server, no network, no second file.

Tables are written here, so the page reads without JavaScript; the script adds sorting, filtering and the
panel that opens a cell. Whatever a record says is data: escaped by Jinja in the markup, set as text by the
script.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.board.plots.along_axis import pictures
from bench.board.plots.canvas import outliers
from bench.board.tables.all_tables import derived
from bench.board.text import formatting as text
from bench.board.text.notes import lead, notes
from bench.contract import Record

if TYPE_CHECKING:
    from jinja2 import Environment

    from bench.board.model import Board, CellView, RowView, Slot

MAX_DETAILS = 4000
_LOG_LINES = 12
_CHARS = 400
_ITEMS = 40
_TEMPLATES = Path(__file__).parent / "templates"


def render(
    boards: Sequence[Board], *, title: str = "gridbench", made: str = "", max_details: int = MAX_DETAILS
) -> str:
    """One self-contained page for a list of boards.

    Args:
        boards: in the order of the page. title: of the page. made: when and from what it was made, printed
        beneath. max_details: whole records embedded at most (hyper-parameters, provenance, error, last 12 log
        lines); cells that are not ok come first, and a cell without says how to show it.
    """
    data = _Data(max_details)
    views = [_board(b, k, data) for k, b in enumerate(boards)]
    template = _environment().get_template("page.html.j2")
    return template.render(
        title=title, made=made, boards=views, data=data.script(), left_out=data.left_out,
        css=_asset("page.css"), js=_asset("page.js"),
    )  # fmt: skip


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


def _asset(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


# --------------------------------------------------------------------------------------------- for the markup


def _board(board: Board, index: int, data: _Data) -> dict[str, Any]:
    places = {t.name: i for i, t in enumerate(board.tasks)}
    rows = [*board.rows, *board.ablations]
    number = {r.info.row: i for i, r in enumerate(rows)}
    data.add(board, rows)
    scale = _scale(board.rows)

    def table(views: Sequence[RowView]) -> list[dict[str, Any]]:
        return [_row(board, r, number[r.info.row], places, scale) for r in views]

    counts, track, metric = board.status_counts, board.spec.track, board.metric
    return {
        "index": index, "name": track.name, "title": track.title or track.name, "lead": lead(board),
        "notes": notes(board), "metric": f"{metric.name} {text.arrow(metric)}", "better": metric.better,
        "reference": track.reference, "tasks": [t.name for t in board.tasks], "rows": table(board.rows),
        "ablations": table(board.ablations), "pm": _room(board),
        "derived": derived(board), "pictures": pictures(board), "legend": text.used_symbols(board),
        "leaders": [r.info.label for r in board.rows if r.group == 0], "grouped": board.grouped,
        "ok": counts["ok"], "total": sum(n for s, n in counts.items() if s != "unplanned"),
        "top": board.rows[0] if board.rows else None, "digits": metric.digits, "signed": text.signed,
    }  # fmt: skip


def _row(board: Board, r: RowView, number: int, places: Mapping[str, int], scale: float) -> dict[str, Any]:
    digits = board.metric.digits
    return {
        "rank": "–" if r.rank is None else r.rank, "group": text.letter(r.group), "best": r.group == 0,
        "label": r.info.label, "row": r.info.row, "role": r.info.role, "ref": r.info.ref,
        "partial": r.partial, "mean": text.mean(r, digits), "mean_v": r.mean.mean if r.mean else None,
        "delta": text.signed(r.delta, digits),
        "delta_v": r.delta.diff if r.delta and r.delta.n else None, "whisker": _whisker(r, scale),
        "reference": r.info.row == board.spec.track.reference,
        "cells": [_cell(c, digits, board.spec.seeds, f"{number},{places[c.task]}") for c in r.cells],
    }  # fmt: skip


def _room(board: Board) -> int:
    """Characters of the longest half-width, so that numbers stand under each other in every column."""
    cells = [c.estimate for r in (*board.rows, *board.ablations) for c in r.cells if c.estimate]
    halves = [text.half(e.half, board.metric.digits) for e in cells if e.half is not None]
    return max((len(h) + 1 for h in halves), default=3)


def _cell(c: CellView, digits: int, seeds: int, at: str) -> dict[str, Any]:
    e = c.estimate
    trouble = text.troubles(c)
    hover = [f"{c.row} on {c.task}"]
    if e is not None:
        n = "deterministic, one observation" if e.deterministic else f"n = {e.n}"
        ends = [text.number(e.mean + x, digits) for x in (-e.half, e.half)] if e.half is not None else []
        hover.append(f"{n}, {f'95 % t interval {ends[0]} to {ends[1]}' if ends else 'no interval'}")
    hover += [", ".join(f"{n} {s}" for s, n in c.counts.items())] if c.counts else ["not planned"]
    if c.alias_of:
        hover.append(f"the cell of {c.alias_of}")
    hover += sorted({s.reason for s in c.slots if s.reason})[:2]
    few = f"n = {e.n}" if e is not None and not trouble and not e.deterministic and e.n != seeds else ""
    return {
        "at": at, "value": f"{e.bound}{text.number(e.mean, digits)}" if e else "", "v": e.mean if e else None,
        "half": f"±{text.half(e.half, digits)}" if e and e.half is not None else "", "trouble": trouble,
        "few": few, "signs": text.signs(c), "best": c.best, "hover": "\n".join(hover), "open": bool(c.slots),
        "once": bool(e and e.deterministic),
    }  # fmt: skip


def _scale(rows: Sequence[RowView]) -> float:
    """Half of the Δ axis: what the rows that are not far off (a floor) span with their intervals."""
    deltas = [r.delta for r in rows if r.delta and math.isfinite(r.delta.diff)]
    off = outliers([d.diff for d in deltas])
    reach = [abs(d.diff) + (d.half or 0.0) for i, d in enumerate(deltas) if i not in off]
    near = [abs(d.diff) for i, d in enumerate(deltas) if i not in off]
    # Wide intervals (two tasks) must not squeeze every point onto the zero line.
    return min(max(reach, default=0.0), 3 * max(near, default=0.0)) or 1.0


def _whisker(r: RowView, scale: float) -> dict[str, float | bool] | None:
    """Positions in per cent of a Δ axis from −scale to +scale; ``cut``: the point itself is off the axis."""
    d = r.delta
    if d is None or not math.isfinite(d.diff):
        return None

    def at(x: float) -> float:
        return round(50 + 46 * max(-1.0, min(1.0, x / scale)), 2)

    half = d.half or 0.0
    return {
        "x": at(d.diff), "low": at(d.diff - half), "high": at(d.diff + half), "cut": abs(d.diff) > scale,
        "clear": bool(d.half is not None and abs(d.diff) > half),
    }  # fmt: skip


# --------------------------------------------------------------------------------------------- for the script


@dataclass(slots=True)
class _Data:
    """What the script reads: every cell, and blocks that many records share (packages, settings) once."""

    room: int
    boards: list[dict[str, Any]] = field(default_factory=list)
    shared: list[Any] = field(default_factory=list)
    left_out: int = 0
    _seen: dict[str, int] = field(default_factory=dict)

    def add(self, board: Board, rows: Sequence[RowView]) -> None:
        """Take in every slot of a board, what is not ok first; ``rows`` in the order of the page."""
        number = {r.info.row: i for i, r in enumerate(rows)}
        place = {t.name: i for i, t in enumerate(board.tasks)}
        chosen = self._choose(board)
        cells: dict[str, list[dict[str, Any]]] = {}
        for s in sorted(board.slots, key=lambda s: (s.status == "ok", s.seed)):
            entry = self._slot(s)
            if s.key in chosen and board.detail is not None and (record := board.detail(s.key)) is not None:
                entry["detail"] = self._detail(record)
            cells.setdefault(f"{number[s.row]},{place[s.task]}", []).append(entry)
        self.boards.append({
            "rows": [r.info.label for r in rows], "tasks": [t.name for t in board.tasks], "cells": cells,
            "metrics": {m.name: [m.unit, m.digits] for m in board.spec.track.metrics},
        })  # fmt: skip

    def _choose(self, board: Board) -> set[str]:
        kept = [s for s in board.slots if s.status not in ("new", "blocked", "unplanned")]
        if board.detail is None:
            return set()
        kept.sort(key=lambda s: s.status == "ok")
        keys = list(dict.fromkeys(s.key for s in kept))
        chosen = set(keys[: self.room])
        self.room -= len(chosen)
        self.left_out += len(keys) - len(chosen)
        return chosen

    def _slot(self, s: Slot) -> dict[str, Any]:
        full = {
            "seed": s.seed, "key": s.key, "status": s.status, "metrics": s.metrics, "cost": s.cost,
            "hardware": s.hardware, "reason": s.reason, "stale": s.stale, "marks": s.marks,
            "alias": s.alias_of,
        }  # fmt: skip
        return {k: _plain(v) for k, v in full.items() if v or k == "seed"}

    def _detail(self, r: Record) -> dict[str, Any]:
        error = {k: v for k, v in r.error.items() if k != "last_lines"}
        lines = [str(x)[:_CHARS] for x in r.error.get("last_lines", ())][-_LOG_LINES:]
        found: dict[str, Any] = {
            "error": _plain(error), "lines": lines, "log": [str(x)[:_CHARS] for x in r.log][-_LOG_LINES:],
            "started": r.started, "ended": r.ended, "attempts": r.attempts if r.attempts > 1 else 0,
        }  # fmt: skip
        hp = r.cell.get("hp", {})
        blocks = {"hp": hp, "run": r.cell.get("run", {}), "limits": r.limits, "where": r.where}
        for name, block in {**blocks, "provenance": r.provenance}.items():
            if block:
                found[name] = self._share(_plain(block))
        return {
            k: v for k, v in found.items() if v or (isinstance(v, int) and k in blocks | {"provenance": 0})
        }

    def _share(self, block: Any) -> int:
        key = json.dumps(block, sort_keys=True)
        if key not in self._seen:
            self._seen[key] = len(self.shared)
            self.shared.append(block)
        return self._seen[key]

    def script(self) -> str:
        """JSON that can stand inside a ``script`` element: no ``<``, ``>`` or ``&`` is left in it."""
        out = json.dumps(
            {"boards": self.boards, "shared": self.shared}, separators=(",", ":"), allow_nan=False
        )
        return out.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plain(value: Any, depth: int = 0) -> Any:
    """A value as JSON can hold it, cut to a size that a panel can show."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping) and depth < 4:
        items = list(value.items())
        out = {str(k)[:_CHARS]: _plain(v, depth + 1) for k, v in items[:_ITEMS]}
        return {**out, "…": f"{len(items) - _ITEMS} more"} if len(items) > _ITEMS else out
    if isinstance(value, list | tuple) and depth < 4:
        return [_plain(v, depth + 1) for v in value[:_ITEMS]]
    return str(value)[:_CHARS]
