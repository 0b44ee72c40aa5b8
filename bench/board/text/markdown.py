"""A board as GitHub-flavoured Markdown, for ``results/LEADERBOARD.md`` and pull requests."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bench.board.registry import tables
from bench.board.text import claims
from bench.board.text import formatting as fmt
from bench.board.text.notes import headline, notes
from bench.board.text.statistics import families

if TYPE_CHECKING:
    from bench.board.model import Board
    from bench.board.view import RowView

_SPECIAL = re.compile(r"([\\`*_\[\]|~#])")


def escape(value: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, one line."""
    return _SPECIAL.sub(r"\\\1", html.escape(" ".join(value.split()), quote=False))


def render(board: Board) -> str:
    """The board as one Markdown section, header and legend included."""
    title = board.spec.track.title or board.spec.track.name
    parts = [f"## {escape(title)}", escape(headline(board))]
    if (said := claims.table(board)) is not None:
        parts.append(_table(said.heads, said.rows, said.words))
    header = (*families(board), *notes(board))
    parts.append("\n".join(f"- **{escape(n.label)}**: {escape(n.long)}" for n in header))
    parts.append(_scores(board, board.rows))
    if board.ablations:
        parts += ["### Ablations (not ranked)", _scores(board, board.ablations)]
    for t in tables(board):
        parts.append(f"### {escape(t.title)}" + (f"\n\n{escape(t.note)}" if t.note else ""))
        parts += [_table(t.heads, t.rows, t.words)] if t.rows else []
    legend = " · ".join(f"{escape(s)} {escape(meaning)}" for s, meaning in fmt.used_symbols(board))
    return "\n\n".join([*parts, *([legend] if legend else [])]) + "\n"


def _scores(board: Board, rows: Sequence[RowView]) -> str:
    digits = board.metric.digits
    front = ["#, letters", "row", "mean", *board.groups, f"Δ {board.spec.track.reference}"]
    body: list[list[str]] = []
    bold: set[tuple[int, int]] = set()
    for i, r in enumerate(rows):
        name = r.info.label + fmt.role(r)
        means = [fmt.mean(r, digits), *fmt.group_means(r, digits)]
        cells = [fmt.cell(c, digits) for c in r.cells]
        body.append([fmt.place(r), name, *means, fmt.delta(r, digits), *cells])
        bold |= {(i, len(front) + t) for t, c in enumerate(r.cells) if c.best}
        bold |= {(i, 1)} if r.leading else set()
    if rows is board.rows and (best := fmt.ceilings(board)) is not None:
        body.append(["", "best possible", best[0], *[""] * (len(front) - 3), *best[1]])
    return _table([*front, *(t.name for t in board.tasks)], body, range(2), bold)


def _table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    words: Iterable[int],
    bold: Iterable[tuple[int, int]] = (),
) -> str:
    strong, left = set(bold), set(words)
    rule = [":--" if k in left else "--:" for k in range(len(heads))]
    lines = [[escape(h) for h in heads], rule]
    for i, row in enumerate(rows):
        lines.append([f"**{escape(c)}**" if (i, k) in strong else escape(c) for k, c in enumerate(row)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
