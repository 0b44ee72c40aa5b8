"""Boards as one HTML file that needs nothing else: no server, no network, no second file.

Tables are part of the markup, so the page can be read without JavaScript; the script adds sorting, filtering
and the panel that opens a cell. Whatever a record says is data: Jinja escapes it in the markup, and the
script sets it as text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.board.canvas import outliers
from bench.board.page.embedded import Embedded
from bench.board.registry import pictures, tables
from bench.board.text import claims
from bench.board.text import formatting as fmt
from bench.board.text.notes import headline, notes
from bench.board.text.statistics import families

if TYPE_CHECKING:
    from jinja2 import Environment

    from bench.board.model import Board
    from bench.board.view import CellView, RowView

MAX_DETAILS = 4000
_TEMPLATES = Path(__file__).parent / "templates"


def render(
    boards: Sequence[Board], *, title: str = "gridbench", made: str = "", max_details: int = MAX_DETAILS
) -> str:
    """One self-contained page for a list of boards.

    Args:
        boards: in the order of the page.
        title: of the page.
        made: when and from what it was made, printed at the bottom.
        max_details: how many whole records (hyper-parameters, provenance, error, last 12 lines of the log)
            are embedded at most. Cells that are not ok come first; all others say how to show their record.
    """
    data = Embedded(max_details)
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


def _board(board: Board, index: int, data: Embedded) -> dict[str, Any]:
    places = {t.name: i for i, t in enumerate(board.tasks)}
    number = {r.info.row: i for i, r in enumerate(board.every_row)}
    data.add(board)
    scale = _scale(board.rows)

    def table(views: Sequence[RowView]) -> list[dict[str, Any]]:
        return [_row(board, r, number[r.info.row], places, scale) for r in views]

    counts, track, metric = board.status_counts, board.spec.track, board.metric
    best = fmt.ceilings(board) or ("", [])
    return {
        "index": index, "name": track.name, "title": track.title or track.name, "headline": headline(board),
        "notes": notes(board), "families": families(board), "groups": board.groups,
        "claims": [_claim(c) for c in claims.lines(board)], "ceiling": best[0], "ceilings": best[1],
        "metric": f"{metric.name} {fmt.arrow(metric)}", "better": metric.better,
        "reference": track.reference, "tasks": [t.name for t in board.tasks], "rows": table(board.rows),
        "ablations": table(board.ablations), "pm": _room(board),
        "derived": tables(board), "pictures": pictures(board), "legend": fmt.used_symbols(board),
        "ok": counts["ok"], "total": sum(n for s, n in counts.items() if s != "unplanned"),
    }  # fmt: skip


def _row(board: Board, r: RowView, number: int, places: Mapping[str, int], scale: float) -> dict[str, Any]:
    digits = board.metric.digits
    means = zip(fmt.group_means(r, digits), [e.mean if e else None for e in r.groups], strict=True)
    return {
        "rank": fmt.NONE if r.rank is None else r.rank, "letters": r.letters or fmt.NONE, "best": r.leading,
        "groups": list(means),
        "label": r.info.label, "row": r.info.row, "role": r.info.role, "ref": r.info.ref,
        "partial": r.partial, "mean": fmt.mean(r, digits), "mean_v": r.mean.mean if r.mean else None,
        "delta": fmt.delta(r, digits), "delta_v": r.delta.contrast.diff if r.delta else None,
        "whisker": _whisker(r, scale),
        "reference": r.info.row == board.spec.track.reference,
        "cells": [_cell(c, digits, f"{number},{places[c.task]}") for c in r.cells],
    }  # fmt: skip


def _room(board: Board) -> int:
    """Characters of the longest half-width, so that numbers are aligned in every column."""
    cells = [c.estimate for r in board.every_row for c in r.cells if c.estimate]
    halves = [fmt.half(e.half, board.metric.digits) for e in cells if e.half is not None]
    return max((len(h) + 1 for h in halves), default=3)


def _cell(c: CellView, digits: int, at: str) -> dict[str, Any]:
    e = c.estimate
    trouble = fmt.troubles(c)
    hover = [f"{c.row} on {c.task}"]
    if e is not None:
        n = "deterministic, one observation" if e.deterministic else f"n = {e.n}"
        ends = [fmt.number(e.mean + x, digits) for x in (-e.half, e.half)] if e.half is not None else []
        hover.append(f"{n}, {f'95 % t interval {ends[0]} to {ends[1]}' if ends else 'no interval'}")
    hover += [", ".join(f"{n} {s}" for s, n in c.counts.items())] if c.counts else ["not planned"]
    if c.alias_of:
        hover.append(f"the cell of {c.alias_of}")
    hover += sorted({s.reason for s in c.slots if s.reason})[:2]
    few = f"n = {e.n}" if e is not None and not trouble and not e.deterministic and e.n != c.planned else ""
    return {
        "at": at, "value": f"{e.bound}{fmt.number(e.mean, digits)}" if e else "", "v": e.mean if e else None,
        "half": f"±{fmt.half(e.half, digits)}" if e and e.half is not None else "", "trouble": trouble,
        "few": few, "signs": fmt.signs(c), "best": c.best, "hover": "\n".join(hover), "open": bool(c.slots),
        "once": bool(e and e.deterministic),
    }  # fmt: skip


def _claim(line: claims.Line) -> dict[str, Any]:
    """A claim as text, and places in per cent of an axis: of 0, the interval, the paper's figure."""
    c, half = line.contrast, line.contrast.half or 0.0
    drawn: dict[str, float | None] = {}
    if math.isfinite(c.diff):
        shown = [0.0, c.diff - half, c.diff + half]
        if line.paper_value is not None:
            shown.append(line.paper_value)
        low, span = min(shown), (max(shown) - min(shown)) or 1.0

        def at(x: float) -> float:
            return round(4 + 92 * (x - low) / span, 2)

        paper = None if line.paper_value is None else at(line.paper_value)
        drawn = {"zero": at(0), "x": at(c.diff), "low": at(shown[1]), "high": at(shown[2]), "paper": paper}
    return {
        "name": line.name, "verdict": line.verdict, "kind": line.kind, "difference": line.difference,
        "p": line.p, "paper": line.paper, "source": line.source, "on": line.on, "sub": line.sub,
        "ours": not line.of_paper, "drawn": drawn,
    }  # fmt: skip


def _scale(rows: Sequence[RowView]) -> float:
    """Half of the Δ axis: what the rows span with their intervals, without those far off (a floor)."""
    deltas = [r.delta for r in rows if r.delta and math.isfinite(r.delta.contrast.diff)]
    off = outliers([d.contrast.diff for d in deltas])
    reach = [abs(d.contrast.diff) + (d.half or 0.0) for i, d in enumerate(deltas) if i not in off]
    near = [abs(d.contrast.diff) for i, d in enumerate(deltas) if i not in off]
    # Wide intervals (two seeds) must not squeeze every point onto the zero line.
    return min(max(reach, default=0.0), 3 * max(near, default=0.0)) or 1.0


def _whisker(r: RowView, scale: float) -> dict[str, float | bool] | None:
    """Positions in per cent of a Δ axis from −scale to +scale; ``cut`` if the point lies off the axis."""
    if r.delta is None or not math.isfinite(diff := r.delta.contrast.diff):
        return None

    def at(x: float) -> float:
        return round(50 + 46 * max(-1.0, min(1.0, x / scale)), 2)

    half = r.delta.half or 0.0
    return {
        "x": at(diff), "low": at(diff - half), "high": at(diff + half), "cut": abs(diff) > scale,
        "clear": bool(r.delta.half is not None and abs(diff) > half),
    }  # fmt: skip
