"""`bench board`: leaderboards in the terminal, as markdown or as CSV."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from bench.cli.console import console, echo
from bench.cli.options import Options, takes
from bench.cli.session import Session


class Format(StrEnum):
    """How a board is printed."""

    terminal = "terminal"
    markdown = "markdown"
    csv = "csv"


@takes("profile", "track", "method", "filter", "select", "published", "fresh", "store", "suite", "plugin")
def command(
    options: Options,
    format: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.terminal,
) -> None:
    """Print leaderboards: verdicts on claims, ranks with letters, intervals, failures, and their records."""
    from bench.board.text import csvout, markdown, terminal

    for board in Session.open(options).boards():
        if format is Format.terminal:
            console.print(terminal.render(board, width=console.width))
        else:
            text = markdown.render(board) if format is Format.markdown else csvout.render(board)
            echo(text)
