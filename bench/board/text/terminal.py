"""A board as rich renderables: readable at 100 columns, with more tables where there are more tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bench.board.registry import tables
from bench.board.text import claims
from bench.board.text import formatting as fmt
from bench.board.text.notes import headline, notes
from bench.board.text.statistics import Note, families

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
    if (said := claims.table(board)) is not None:
        parts += [*_pieces(said.heads, said.rows, said.words, width), Text()]
    parts += [_notes((*families(board), *notes(board))), Text()]
    for caption, rows in (("", board.rows), ("Ablations (not ranked)", board.ablations)):
        if rows:
            if caption:
                parts += [Text(), Text(caption, style="bold")]
            parts += _scores(board, rows, width)
    for t in tables(board):
        parts += [Text(), Text(t.title, style="bold").append(f"  {t.note}", style="not bold dim")]
        parts += _pieces(t.heads, t.rows, t.words, width) if t.rows else []
    legend = "   ".join(f"{s} {meaning}" for s, meaning in fmt.used_symbols(board))
    if legend:
        parts += [Text(), Text(legend, style="dim")]
    return Group(*parts)


def _notes(of: Iterable[Note]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, _GAP))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for n in of:
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


def _pieces(
    heads: Sequence[str], rows: Sequence[Sequence[str]], words: Iterable[int], width: int
) -> list[Table]:
    """A table; where it is wider than ``width``, several, of which each begins with its first column."""
    from rich.cells import cell_len

    left = set(words)

    def need(k: int) -> int:
        texts = (heads[k], *(row[k] for row in rows))
        longest = max(map(cell_len, texts))
        if k not in left:
            return longest + _GAP
        word = max(cell_len(word) for text in texts for word in text.split() or ("",))
        return max(word, min(longest, _LABEL) if k == 0 else 0) + _GAP

    name, *others = map(need, range(len(heads)))
    chunks = [[0, *(k + 1 for k in c)] for c in _chunks(others, width, name, name)]
    return [
        _table(
            [heads[k] for k in c], [[row[k] for k in c] for row in rows], [c.index(k) for k in c if k in left]
        )
        for c in chunks
    ]


def _chunks(needs: Sequence[int], width: int, first: int, others: int) -> list[list[int]]:
    """Positions of columns that need so much room, in chunks that are at most ``width`` wide.

    ``first``, ``others``: room that what stands before them takes in the first chunk and in the others. A
    chunk has one column at least, but the first has none if that makes room for it further down.
    """
    chunks: list[list[int]] = [[]]
    used = first
    for k, need in enumerate(needs):
        if used + need > width and (chunks[-1] or first > others):
            chunks.append([])
            used = others
        chunks[-1].append(k)
        used += need
    return chunks


def _scores(board: Board, rows: Sequence[RowView], width: int) -> list[RenderableType]:
    from rich.cells import cell_len

    digits, groups = board.metric.digits, len(board.groups)
    front = [_front(r, digits) for r in rows]
    heads = ["#, letters", "row", "mean", *board.groups, f"Δ {board.spec.track.reference}"]
    columns = [
        (task.name, [fmt.cell(r.cells[t], digits) for r in rows], [r.cells[t].best for r in rows])
        for t, task in enumerate(board.tasks)
    ]
    if rows is board.rows and (best := fmt.ceilings(board)) is not None:
        front.append(("", "best possible", best[0], *[""] * groups, ""))
        columns = [(n, [*c, b], [*s, False]) for (n, c, s), b in zip(columns, best[1], strict=True)]

    def wide(head: str, cells: Iterable[str]) -> int:
        return max(map(cell_len, (head, *cells))) + _GAP

    label = min(wide("row", (f[1] for f in front)), _LABEL + _GAP)
    fronts = [label if k == 1 else wide(head, (f[k] for f in front)) for k, head in enumerate(heads)]
    needs = [wide(name, cells) for name, cells, _ in columns]
    chunks = _chunks(needs, width, sum(fronts), sum(fronts[:2]))
    out: list[RenderableType] = []
    for c, chunk in enumerate(chunks):
        keep = range(len(heads)) if c == 0 else (0, 1)
        styles = [*(_style(r) for r in rows), "dim"]
        body = [
            [(f[k], style if k < 2 else "") for k in keep]
            + [(columns[t][1][i], "bold" if columns[t][2][i] else "") for t in chunk]
            for i, (f, style) in enumerate(zip(front, styles, strict=False))
        ]
        out.append(_table([heads[k] for k in keep] + [columns[t][0] for t in chunk], body, (0, 1)))
    return out


def _front(row: RowView, digits: int) -> tuple[str, ...]:
    name = row.info.label + fmt.role(row)
    means = fmt.mean(row, digits), *fmt.group_means(row, digits)
    return fmt.place(row), name, *means, fmt.delta(row, digits)


def _style(row: RowView) -> str:
    return "bold" if row.leading else "dim" if row.partial else ""
