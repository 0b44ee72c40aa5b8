"""`bench check`: whether methods keep the contract of their track, and what a track expects of a method."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.console import console, duration, errors, escape
from bench.cli.options import Options, takes
from bench.errors import BenchError, nearest
from bench.plan import Filter
from bench.registry import ELEMENTS, Registry, declared_in
from bench.suite import Suite

if TYPE_CHECKING:
    from bench.check import Checked


@takes("track", "method", "suite", "plugin")
def command(
    options: Options,
    subject: Annotated[
        str,
        typer.Argument(
            metavar="[FILE|TRACK]",
            help="A file whose methods are checked, or the name of a track that is described (default: all"
            " rows are checked).",
        ),
    ] = "",
    once: Annotated[
        bool, typer.Option("--once", help="Run each row once, and compare no second run.")
    ] = False,
) -> None:
    """Check that methods keep the contract, or, given a track, say what a method of it is given and answers.

    Each row runs twice on a small task: it has to answer in the expected shape, with finite numbers, and with
    the same ones for the same seed.
    """
    if subject.endswith(".py") and not _is_file(subject):
        raise BenchError(f"bench check {subject}: there is no such file")
    registry = Registry(plugins=[*options.plugin, *([subject] if _is_file(subject) else [])])
    if subject in registry.track_names():
        from bench.cli.method.describe import describe

        for part in describe(registry, subject, Suite.read(options.suite)):
            console.print(part, soft_wrap=True)
        _print_problems(registry)
        return
    tracks, rows = options.track, options.method
    if subject:
        tracks, rows = _of_file(registry, subject, tracks, rows)
    from bench.check import check

    suite = Suite.read(options.suite)
    done = check(suite, registry, tracks=tuple(tracks), rows=tuple(rows), twice=not once)
    _report(done, registry)


def _is_file(subject: str) -> bool:
    return bool(subject) and Path(subject).is_file()


def _of_file(
    registry: Registry, file: str, tracks: list[str], patterns: list[str]
) -> tuple[list[str], list[str]]:
    """The tracks and the rows of the methods in a file, of these only what ``-t`` and ``-m`` select."""
    if not _is_file(file):
        raise BenchError(
            f"bench check {file}: there is no such file, and no track of that name"
            f"{nearest(file, registry.track_names())}"
        )
    path = Path(file).resolve()
    found = {
        t: [r for r, f in registry.rows(t).items() if Path(f.origin.path).resolve() == path]
        for t in registry.track_names()
        if t in tracks or not tracks
    }
    declared = [r for rows in found.values() for r in rows]
    if not declared:
        raise BenchError(f"{file}: {_no_method(registry, path, tracks)}")
    wanted = Filter(patterns)
    wanted.check_rows(declared)
    return [t for t, rows in found.items() if any(map(wanted.row, rows))], list(filter(wanted.row, declared))


def _no_method(registry: Registry, path: Path, tracks: list[str]) -> str:
    """Why there is nothing to check in a file that could be read, and how what it declares is seen."""
    if tracks:
        return f"it declares no method of {', '.join(tracks)}"
    module = next((m for m in registry.plugin_modules() if m.__file__ == str(path)), None)
    if module is not None and declared_in(module, ELEMENTS):
        return "it declares no method; its pictures and tables are shown by bench report --plugin FILE"
    if module is not None and hasattr(module, "TRACK"):
        name = module.TRACK.name
        return (
            f"it declares no method of the track {name}; what one is given: bench check {name} --plugin FILE"
        )
    return "it declares no method of a track that there is; baselines/<track>/ holds methods of that track"


def _report(done: Iterable[Checked], registry: Registry) -> None:
    """Print each verdict as it comes. The exit code is 1 if a row has a problem, or if no row was checked."""
    bad = count = 0
    for c in done:
        count, bad = count + 1, bad + bool(c.problems)
        mark = "[red]✗[/]" if c.problems else "[green]✓[/]"
        console.print(f"{mark} {escape(c.track)} · {escape(c.row)}  [dim]{duration(c.seconds)}[/]")
        for text in c.problems:
            console.print(f"    [red]{escape(text)}[/]", soft_wrap=True)
        for text in c.notes:
            console.print(f"    [dim]{escape(text)}[/]", soft_wrap=True)
    _print_problems(registry)
    bad += len(registry.problems)
    console.print(f"{count} {'row' if count == 1 else 'rows'} checked, {bad} with problems")
    raise typer.Exit(1 if bad or not count else 0)


def _print_problems(registry: Registry) -> None:
    for text in registry.problems:
        errors.print(f"[red]✗[/] {escape(text)}", soft_wrap=True)
