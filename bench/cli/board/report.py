"""`bench report`: all leaderboards as one page, and as markdown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.console import console, escape
from bench.cli.options import Options, takes
from bench.cli.places import check_file, writing
from bench.cli.session import Session
from bench.store.committed.layers import home

if TYPE_CHECKING:
    from bench.board.model import Board


@takes("profile", "track", "method", "filter", "select", "published", "fresh", "store", "suite", "plugin")
def command(
    options: Options,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where to write it (default: results/index.html).")
    ] = None,
) -> None:
    """Write the leaderboards as one page, results/index.html, and as markdown, results/LEADERBOARD.md.

    The markdown in results/ is committed: a report of other boards than those (-t, -m, -k, -p, --suite,
    --plugin) leaves it as it is. With --out both are written into that folder.
    """
    from bench.board.text import markdown

    if out is not None:
        check_file(out)
    made = Session.open(options).boards()
    page = write_site(made, out or home() / "results" / "index.html")
    if out is None and not _is_whole(options):
        console.print(f"{escape(str(page))} (LEADERBOARD.md, which holds all boards, stays as it is)")
        return
    table = page.with_name("LEADERBOARD.md")
    with writing(table):
        table.write_text("\n\n".join(markdown.render(b) for b in made) + "\n", encoding="utf-8")
    console.print(f"{escape(str(page))} and {escape(table.name)}")


#: Options that choose what a report shows.
_CHOOSE = ("profile", "track", "method", "filter", "select", "suite", "plugin")


def _is_whole(options: Options) -> bool:
    """Whether the report is of all boards that `bench.yaml` has for the default profile."""
    default = Options()
    return all(getattr(options, name) == getattr(default, name) for name in _CHOOSE)


def write_site(made: list[Board], path: Path) -> Path:
    """Write the page of these boards into a file, and return its path."""
    from bench.board.page.render import render

    page = render(made)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    return path
