"""`bench board`: leaderboards in the terminal, as markdown or as CSV."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from bench.cli.common import (
    FilterOption,
    FreshOption,
    PluginOption,
    ProfileOption,
    PublishedOption,
    RowOption,
    Session,
    StoreOption,
    SuiteOption,
    console,
)


class Format(StrEnum):
    """How a board is printed."""

    terminal = "terminal"
    markdown = "markdown"
    csv = "csv"


def command(
    track: Annotated[list[str] | None, typer.Argument(help="Tracks (default: all of the profile).")] = None,
    profile: ProfileOption = "laptop",
    row: RowOption = [],  # noqa: B006
    filter: FilterOption = "",
    format: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.terminal,
    published: PublishedOption = False,
    fresh: FreshOption = False,
    suite: SuiteOption = None,
    store: StoreOption = None,
    plugin: PluginOption = [],  # noqa: B006
) -> None:
    """Print leaderboards: ranks with tie groups, intervals, failures, and what they rest on."""
    from bench.board.text import csvout, markdown, terminal

    session = Session.open(suite, store, plugin, fresh=fresh)
    for board in session.boards(profile, track or [], row, filter, published=published):
        if format is Format.terminal:
            console.print(terminal.render(board, width=console.width))
        else:
            text = markdown.render(board) if format is Format.markdown else csvout.render(board)
            typer.echo(text)
