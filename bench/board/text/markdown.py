"""A board as GitHub-flavoured Markdown, for ``results/LEADERBOARD.md`` and pull requests."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bench.board.registry import tables
from bench.board.text import formatting as fmt
from bench.board.text.notes import headline, notes

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
    parts.append("\n".join(f"- **{escape(n.label)}**: {escape(n.long)}" for n in notes(board)))
    parts.append(_scores(board, board.rows))
    if board.ablations:
        parts += ["### Ablations (not ranked)", _scores(board, board.ablations)]
    for t in tables(board):
        parts.append(f"### {escape(t.title)}" + (f"\n\n{escape(t.note)}" if t.note else ""))
        parts += [_table(t.heads, t.rows, t.words)] if t.rows else []
    legend = " · ".join(f"{escape(s)} {escape(meaning)}" for s, meaning in fmt.used_symbols(board))
    return "\n\n".join([*parts, *([legend] if legend else [])]) + "\n"


def _scores(board: Board, rows: Sequence[RowView]) -> str:
    digits, seeds = board.metric.digits, board.spec.seeds
    heads = ["#", "tie", "row", "mean", f"Δ {board.spec.track.reference}", *(t.name for t in board.tasks)]
    body: list[list[str]] = []
    bold: set[tuple[int, int]] = set()
    for i, r in enumerate(rows):
        rank = "–" if r.rank is None else str(r.rank)
        name = r.info.label + fmt.role(r)
        cells = [fmt.cell(c, digits, seeds) for c in r.cells]
        body.append(
            [rank, r.letters or fmt.NONE, name, fmt.mean(r, digits), fmt.signed(r.delta, digits), *cells]
        )
        bold |= {(i, 5 + t) for t, c in enumerate(r.cells) if c.best}
        bold |= {(i, 2)} if r.leading else set()
    return _table(heads, body, range(3), bold)


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
