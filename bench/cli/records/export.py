"""`bench export`: the cells of a profile as a flat table, for pandas and similar tools."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.console import echo, errors, escape
from bench.cli.options import Options, takes
from bench.cli.places import check_file
from bench.cli.session import Session
from bench.contract import BenchError


class Format(StrEnum):
    """How a table is written."""

    csv = "csv"
    parquet = "parquet"


@takes("profile", "track", "method", "filter", "published", "fresh", "store", "suite", "plugin")
def command(
    options: Options,
    format: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.csv,
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write (default, for csv: the terminal).")
    ] = None,
    series: Annotated[
        bool,
        typer.Option("--series", help="Also the series that tracks record beside their metrics, as JSON."),
    ] = False,
) -> None:
    """Write a table with one line a cell, also of cells not run yet: how it ended, its metrics and costs."""
    from bench.board import frame

    if out is None and format is Format.parquet:
        raise BenchError("--format parquet: name the file with --out FILE")
    if out is not None:
        check_file(out)
    session = Session.open(options)
    records = session.records()
    table = frame.planned(session.plan(records), records, series=series)
    if out is None:
        echo(table.to_csv(index=False))
        return
    frame.write(table, out, format.value)
    errors.print(f"{escape(str(out))}: {len(table)} cells, {len(table.columns)} columns", soft_wrap=True)
