"""The command line: one command a file; the only place that prints."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import typer

from bench.contract import BenchError
from bench.data import catalog

app = typer.Typer(
    name="bench",
    help="Run the experiment grids of five papers on Ray and read leaderboards that can be trusted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


#: One module a command, in the order of the help.
COMMANDS = (
    "tour", "plan", "run", "status", "board", "report", "compare", "show", "why", "rerun", "accept", "check",
    "data", "artifacts", "export", "publish",
)  # fmt: skip

for _name in COMMANDS:
    app.command(_name)(import_module(f"bench.cli.{_name}").command)


def main() -> None:
    """Entry point of ``bench``: a user's mistake is one message and exit code 2, never a traceback."""
    # A cell has a working folder of its own, so what depends on this one is settled here.
    os.environ[catalog.VARIABLE] = str(catalog.root())
    if not sys.stdout.isatty():
        os.environ.setdefault("COLUMNS", "120")  # a log or a pipe is no 80 columns wide
    try:
        app()
    except BenchError as e:
        from bench.cli.common import errors

        errors.print(f"[bold red]error[/] {_escaped(str(e))}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
