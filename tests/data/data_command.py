"""The command `bench data`, run inside the test's process."""

from __future__ import annotations

from typer.testing import CliRunner

from bench.cli import app
from bench.errors import BenchError


def bench(*args, code=0):
    """What it prints, with single spaces; raises the `BenchError` that it ends with."""
    done = CliRunner(env={"COLUMNS": "300"}).invoke(app, ["data", *args])
    if isinstance(done.exception, BenchError):
        raise done.exception
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())
