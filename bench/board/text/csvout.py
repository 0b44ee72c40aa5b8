"""A board as CSV in long form: one line a row, task and metric, for whoever computes further."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from bench.board.spec import STATES

if TYPE_CHECKING:
    from bench.board.model import Board
    from bench.stats import Estimate

COLUMNS = (
    "track", "profile", "row", "label", "role", "core", "rank", "letters", "partial", "task", "metric",
    "mean", "half", "n", "bound", "sd", "best", "stale", "noted", "alias_of", *STATES, "p", "verdict",
)  # fmt: skip
# A spreadsheet would run a cell that begins like this, and labels come from plugins.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def render(board: Board) -> str:
    """Every row, task and declared metric with its mean, half-width of the 95 % interval, n and states; then
    every claim (role ``claim``) with its difference or logarithm of a ratio, corrected p and verdict.

    Numbers are printed in full (17 digits), and a value that does not exist is empty. A text that a
    spreadsheet would read as a formula gets a leading apostrophe.
    """
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n").writerow
    write(COLUMNS)
    metrics = [m.name for m in board.spec.track.metrics]
    track, profile = board.spec.track.name, board.spec.profile
    for r in board.every_row:
        front = (track, profile, _safe(r.info.row), _safe(r.info.label), r.info.role, int(r.info.core))
        place = ("" if r.rank is None else r.rank, r.letters, int(r.partial))
        for c in r.cells:
            flags = (int(c.best), c.stale, int(c.noted), _safe(c.alias_of or ""))
            counts = [c.counts.get(s, 0) for s in STATES]
            for metric in metrics:
                e = board.estimate(r.info.row, c.task, metric)
                if e is None and metric != board.spec.ranks_by:
                    continue
                ranked = flags if metric == board.spec.ranks_by else (0, *flags[1:])
                write((*front, *place, _safe(c.task), metric, *_numbers(e), *ranked, *counts, "", ""))
    for view in board.claims.found:
        first, p = view.contrasts[0], view.judged.p
        said = {
            "track": track, "profile": profile, "row": _safe(view.claim.name), "label": view.claim.scale,
            "role": "claim", "metric": board.spec.ranks_by, "mean": repr(first.diff),
            "half": "" if first.half is None else repr(first.half), "n": view.data,
            "p": "" if p is None else repr(p), "verdict": view.judged.verdict,
        }  # fmt: skip
        write([said.get(name, "") for name in COLUMNS])
    return out.getvalue()


def _numbers(e: Estimate | None) -> tuple[object, ...]:
    if e is None:
        return ("", "", 0, "", "")
    return (
        repr(e.mean),
        "" if e.half is None else repr(e.half),
        e.n,
        e.bound,
        "" if e.sd is None else repr(e.sd),
    )


def _safe(value: str) -> str:
    return "'" + value if value.startswith(_FORMULA) else value
