"""`bench report`: all leaderboards as one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.console import console, escape
from bench.cli.options import Options, takes
from bench.cli.session import Session
from bench.store.layers import home

if TYPE_CHECKING:
    from bench.board.model import Board


@takes("profile", "track", "method", "filter", "published", "fresh", "store", "suite", "plugin")
def command(
    options: Options,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where to write it (default: results/index.html).")
    ] = None,
) -> None:
    """Write results/index.html and results/LEADERBOARD.md: one self-contained page, and the tables as
    markdown.
    """
    from bench.board import markdown

    made = Session.open(options).boards()
    page = write_site(made, out or home() / "results" / "index.html")
    table = page.with_name("LEADERBOARD.md")
    table.write_text("\n\n".join(markdown.render(b) for b in made) + "\n", encoding="utf-8")
    console.print(f"{escape(str(page))} and {escape(table.name)}")


def write_site(made: list[Board], path: Path) -> Path:
    """Write the page of these boards."""
    from bench.board import page

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page.render(made), encoding="utf-8")
    return path
