"""Write the golden boards again: ``python tests/board/golden.py``, then read the diff."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console

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
    here = Path(__file__).parent
    sys.path.insert(0, str(here))
    from conftest import sample_detail, sample_slots, sample_spec

    from bench.board.model import Board

    slots = sample_slots()
    board = Board.from_slots(sample_spec(), slots, sample_detail(slots))
    (here / "golden").mkdir(exist_ok=True)
    for name, text in (
        ("txt", as_text(board)),
        ("md", markdown.render(board)),
        ("csv", csvout.render(board)),
    ):
        (here / "golden" / f"board.{name}").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
