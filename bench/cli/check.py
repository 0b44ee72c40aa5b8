"""`bench check [FILE]`: does a method keep the contract?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.common import (
    PluginOption,
    RowOption,
    SuiteOption,
    TrackOption,
    console,
    duration,
    errors,
    escape,
)
from bench.contract import BenchError
from bench.registry import Registry
from bench.suite import Suite


def command(
    file: Annotated[
        Path | None, typer.Argument(help="A file with methods of yours (default: all rows).")
    ] = None,
    track: TrackOption = [],  # noqa: B006
    row: RowOption = [],  # noqa: B006
    once: Annotated[bool, typer.Option("--once", help="Do not run twice to compare.")] = False,
    suite: SuiteOption = None,
    plugin: PluginOption = [],  # noqa: B006
) -> None:
    """Run rows on small data: the right shapes, finite numbers, the same answer for the same seed."""
    from bench.check import check

    registry = Registry(plugins=[*plugin, *([str(file)] if file else [])])
    tracks, rows = list(track), list(row)
    if file is not None:
        mine = {
            name: [r for r, f in registry.rows(name).items() if f.origin.file == str(file.resolve())]
            for name in registry.track_names()
        }
        rows += [r for found in mine.values() for r in found]
        tracks += [name for name, found in mine.items() if found]
        if not rows:
            raise BenchError(f"{file}: declares no method of a track that there is")
    bad = count = 0
    for c in check(Suite.read(suite), registry, tracks=tuple(tracks), rows=tuple(rows), twice=not once):
        count, bad = count + 1, bad + bool(c.problems)
        mark = "[red]✗[/]" if c.problems else "[green]✓[/]"
        console.print(f"{mark} {escape(c.track)} · {escape(c.row)}  [dim]{duration(c.seconds)}[/]")
        for text in c.problems:
            console.print(f"    [red]{escape(text)}[/]", soft_wrap=True)
        for text in c.notes:
            console.print(f"    [dim]{escape(text)}[/]", soft_wrap=True)
    for text in registry.problems:
        errors.print(f"[red]✗[/] {escape(text)}", soft_wrap=True)
    bad += len(registry.problems)
    console.print(f"{count} rows checked, {bad} with problems")
    raise typer.Exit(1 if bad or not count else 0)
