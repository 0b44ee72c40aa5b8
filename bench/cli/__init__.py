"""The command line, the only place that prints: one command a file, in a folder by what it is for.

What several commands share stands beside them: the options (`bench.cli.options`), what a command opens
(`bench.cli.session`), and how it prints (`bench.cli.console`).
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import NoReturn

import typer

from bench.data import catalog
from bench.errors import BenchError

app = typer.Typer(
    name="bench",
    help="Run the experiment grids of five papers on Ray and read leaderboards that can be trusted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

#: Name of a command -> the module below this package that declares it, in the order of the help.
COMMANDS = {
    "tour": "sweep.tour",
    "plan": "sweep.plan",
    "run": "sweep.run",
    "launch": "sweep.launch",
    "search": "sweep.search",
    "status": "sweep.status",
    "logs": "sweep.logs",
    "stop": "sweep.stop",
    "cluster": "cluster",
    "rerun": "sweep.rerun",
    "board": "board.board",
    "report": "board.report",
    "compare": "board.compare",
    "show": "records.show",
    "why": "records.why",
    "accept": "records.accept",
    "export": "records.export",
    "publish": "records.publish",
    "merge": "records.merge",
    "check": "method.check",
    "data": "data",
    "artifacts": "artifacts",
}

for _name, _module in COMMANDS.items():
    app.command(_name)(import_module(f"bench.cli.{_module}").command)


def _end(message: str) -> NoReturn:
    """Say what was wrong, and leave with the exit code of a user's mistake."""
    from bench.cli.console import errors, escape

    errors.print(f"[bold red]error[/] {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(2)


def main() -> None:
    """Run the command line: a user's mistake is one message and exit code 2, never a traceback."""
    # A cell runs in a working folder of its own, so what depends on the current one is settled here.
    os.environ[catalog.VARIABLE] = str(catalog.root())
    if not sys.stdout.isatty():
        os.environ.setdefault("COLUMNS", "120")  # a log or a pipe is no 80 columns wide
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal of another code page lacks signs of ours, and a file's name need not be UTF-8. They
            # are written out, since the signs of statuses would all be one and the same question mark.
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except BenchError as e:
        _end(str(e))
    except OSError as e:
        if e.filename is None:
            raise
        _end(f"{os.fsdecode(e.filename)}: {e.strerror}")
    except KeyboardInterrupt:
        sys.exit(130)
