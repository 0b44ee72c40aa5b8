"""Write the golden boards again: ``python tests/board/golden.py``, then read the diff."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from sample_board import sample_board

from bench.board.text import csvout, markdown, terminal


def as_text(board, width=100):
    """The terminal's text, without colours and trailing spaces."""
    out = io.StringIO()
    Console(file=out, width=width, color_system=None, legacy_windows=False).print(
        terminal.render(board, width=width)
    )
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def write():
    """Replace the three golden files."""
    folder, board = Path(__file__).parent / "golden", sample_board()
    for name, text in (
        ("txt", as_text(board)),
        ("md", markdown.render(board)),
        ("csv", csvout.render(board)),
    ):
        (folder / f"board.{name}").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
