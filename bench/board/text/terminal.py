"""A board as rich renderables: readable at 100 columns, with more tables where there are more tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bench.board.registry import tables
from bench.board.text import formatting as fmt
from bench.board.text.notes import headline, notes

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

    from bench.board.model import Board
    from bench.board.view import RowView

_LABEL = 30
_GAP = 2


def render(board: Board, *, width: int = 100) -> Group:
    """The board as one renderable, whose tables are at most ``width`` columns wide.

    Names and errors are shown as they are, never read as markup.
    """
    from rich.console import Group
    from rich.text import Text

    title = board.spec.track.title or board.spec.track.name
    parts: list[RenderableType] = [Text(title, style="bold"), Text(headline(board)), Text()]
    parts += [_notes(board), Text()]
    for caption, rows in (("", board.rows), ("Ablations (not ranked)", board.ablations)):
        if rows:
            if caption:
                parts += [Text(), Text(caption, style="bold")]
            parts += _scores(board, rows, width)
    for t in tables(board):
        parts += [Text(), Text(t.title, style="bold").append(f"  {t.note}", style="not bold dim")]
        parts += [_table(t.heads, t.rows, t.words)] if t.rows else []
    legend = "   ".join(f"{s} {meaning}" for s, meaning in fmt.used_symbols(board))
    if legend:
        parts += [Text(), Text(legend, style="dim")]
    return Group(*parts)


def _notes(board: Board) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, _GAP))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for n in notes(board):
        table.add_row(Text(n.label), Text(n.long))
    return table


def _table(
    heads: Sequence[str], rows: Iterable[Sequence[str | tuple[str, str]]], words: Iterable[int]
) -> Table:
    """A table whose columns ``words`` are left-aligned and may wrap.

    A cell is a text, or a text and its style.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP, 0, 0), show_edge=False)
    left = set(words)
    for k, head in enumerate(heads):
        table.add_column(
            Text(head), justify="left" if k in left else "right", no_wrap=k not in left, overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(c) if isinstance(c, str) else Text(c[0], style=c[1]) for c in row))
    return table


def _scores(board: Board, rows: Sequence[RowView], width: int) -> list[RenderableType]:
    from rich.cells import cell_len

    digits, seeds = board.metric.digits, board.spec.seeds
    front = [_front(r, digits) for r in rows]
    heads = ["#", "tie", "row", "mean", f"Δ {board.spec.track.reference}"]
    columns = [
        (task.name, [fmt.cell(r.cells[t], digits, seeds) for r in rows], [r.cells[t].best for r in rows])
        for t, task in enumerate(board.tasks)
    ]

    def wide(head: str, cells: Iterable[str]) -> int:
        return max(map(cell_len, (head, *cells))) + _GAP

    label = min(wide("row", (f[2] for f in front)), _LABEL + _GAP)
    used = label + sum(wide(heads[k], (f[k] for f in front)) for k in (0, 1, 3, 4))
    chunks: list[list[int]] = [[]]
    for k, (name, cells, _) in enumerate(columns):
        need = wide(name, cells)
        if used + need > width and (chunks[-1] or len(chunks) == 1):
            chunks.append([])
            used = label + wide("#", (f[0] for f in front))
        chunks[-1].append(k)
        used += need
    out: list[RenderableType] = []
    for c, chunk in enumerate(chunks):
        keep = (0, 1, 2, 3, 4) if c == 0 else (0, 2)
        body = [
            [_style(f[k], k, r) for k in keep]
            + [(columns[t][1][i], "bold" if columns[t][2][i] else "") for t in chunk]
            for i, (f, r) in enumerate(zip(front, rows, strict=True))
        ]
        out.append(
            _table([heads[k] for k in keep] + [columns[t][0] for t in chunk], body, range(3 if c == 0 else 2))
        )
    return out


def _front(row: RowView, digits: int) -> tuple[str, str, str, str, str]:
    rank = "–" if row.rank is None else str(row.rank)
    name = row.info.label + fmt.role(row)
    return rank, row.letters or fmt.NONE, name, fmt.mean(row, digits), fmt.signed(row.delta, digits)


def _style(value: str, column: int, row: RowView) -> str | tuple[str, str]:
    strong = row.leading and column in (1, 2)
    return (value, "bold") if strong else (value, "dim") if row.partial and column < 2 else value
