"""`bench data`: which data are here, on which terms, what the missing ones block; and making them ready."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from bench.cli import own_data
from bench.cli.console import console, escape
from bench.cli.options import Options, takes
from bench.cli.session import Session
from bench.contract import BenchError
from bench.data.brought import entries
from bench.data.catalog import CATALOG, VARIABLE, DataSet, root
from bench.errors import nearest

if TYPE_CHECKING:
    from bench.data.preparing import Progress
    from bench.data.source import Manifest

ACTIONS = ("list", "add", "check", "prepare", "fetch")


@takes("profile", "track", "suite", "plugin")
def command(
    options: Options,
    action: Annotated[str, typer.Argument(help="list (the default), add, check, prepare or fetch.")] = "list",
    names: Annotated[
        list[str], typer.Argument(help="Data sets to check or prepare, a copy to fetch, a name for your own.")
    ] = [],  # noqa: B006
    partial: Annotated[
        bool, typer.Option("--partial", help="prepare: also a file that is not the whole data set.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="add, prepare, fetch: although it has been done.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="fetch: agree to the terms that are printed, without being asked.")
    ] = False,
    images: own_data.ImagesOption = None,
    table: own_data.TableOption = None,
    fields: own_data.FieldsOption = None,
    domains: own_data.DomainsOption = "",
    label: own_data.LabelOption = "",
    positive: own_data.PositiveOption = "",
    time: own_data.TimeOption = "",
    group: own_data.GroupOption = "",
    without: own_data.WithoutOption = "",
    variables: own_data.VariablesOption = "",
    seed: own_data.SeedOption = 0,
    prompt: own_data.PromptOption = "",
    network: own_data.NetworkOption = "laptop",
    licence: own_data.LicenceOption = "",
) -> None:
    """List a profile's data and what the missing ones block; add data of your own; check or prepare data sets
    on disk, or fetch a public copy.

    Data sets that do not ship inside packages are looked for below $BENCH_DATA (default: data/). What you add
    stays where it is: an entry there says what it is, and its tasks are written into a suite file of yours.
    """
    given = own_data.Given(
        images=images, table=table, fields=fields, domains=domains, label=label, positive=positive, time=time,
        group=group, without=without, variables=variables, seed=seed, prompt=prompt, network=network,
        licence=licence,
    )  # fmt: skip
    if action not in ACTIONS:
        raise BenchError(f"bench data {action}: expected {', '.join(ACTIONS)}{nearest(action, ACTIONS)}")
    if action != "add" and given != own_data.Given():
        raise BenchError(f"bench data {action}: what data of your own are is said to bench data add")
    if action == "list":
        if names:
            raise BenchError(f"bench data list {names[0]}: takes no names; -t TRACK and -p PROFILE choose")
        _list(Session.open(replace(options, store="memory://data", fresh=True)))
    elif action == "add":
        if len(names) != 1:
            raise BenchError(
                "bench data add NAME: expected one name, then what it is: --images, --table, --fields"
            )
        with _progress() as report:
            own_data.add(options, names[0], given, again, report)
    elif action == "check":
        _check(names)
    elif action == "prepare":
        _prepare(names, partial, again)
    else:
        _fetch(names, again, yes)


# ------------------------------------------------------------------------------------------------------- list


def _list(session: Session) -> None:
    plan = session.plan()
    lines = [("track", "task", "data", "cells")]
    seen: set[str] = set()
    for p in plan.tracks:
        for task in plan.tasks[p.track.name]:
            cells = sum(c.task is task for c in plan.cells)
            track = session.registry.track_of(p.track.name, task)[0]
            why = track.missing(task, p.run)
            if why is None:
                said = f"here, {track.fingerprint(task, p.run)}"
            else:
                said = f"missing {'as above' if why in seen else why}"
                seen.add(why)
            lines.append((p.track.name, task.name, said, f"{cells} blocked" if why else str(cells)))
    _columns(lines)
    console.print()
    _terms()
    console.print(
        f"data sets outside packages are read below ${VARIABLE}, now {escape(str(root()))}", soft_wrap=True
    )


def _columns(lines: Sequence[tuple[str, str, str, str]]) -> None:
    """Print lines in columns. A reason with its path may be long: it stands whole in its line, and the other
    lines are aligned without it.
    """
    short = [x for x in lines if not x[2].startswith("missing ") or x[2].endswith(" as above")]
    wide = [max(len(x[k]) for x in (short if k == 2 else lines)) for k in range(3)]
    for n, line in enumerate(lines):
        text = "  ".join(x.ljust(w) for x, w in zip(line, (*wide, 0), strict=True))
        style = "bold" if n == 0 else "magenta" if line[2].startswith("missing ") else ""
        console.print(Text(text, style=style), soft_wrap=True)


def _terms() -> None:
    """Print each data set with its terms as a paragraph; in columns the texts would break every few words."""
    for d in _every().values():
        console.print(f"[bold]{escape(d.name)}[/]: {escape(d.title)}", soft_wrap=True)
        console.print(f"    from: {escape(d.get)}", soft_wrap=True)
        console.print(f"    terms: {escape(d.terms)}", soft_wrap=True)


# --------------------------------------------------------------------------------------------- check, prepare


def _named(names: Sequence[str]) -> list[DataSet]:
    """The data sets of these names.

    Raises:
        BenchError: there is no such data set; names the nearest.
    """
    every = _every()
    for name in names:
        if name not in every:
            raise BenchError(f"no data set {name!r}{nearest(name, every)}")
    return [every[name] for name in names]


def _every() -> dict[str, DataSet]:
    """The catalogue with the user's own data sets."""
    return {**CATALOG, **entries.catalogue()}


def _check(names: Sequence[str]) -> None:
    """Say what there is of each data set; exit code 1 if one is missing or damaged."""
    wrong = False
    for d in _named(names or list(_every())):
        try:
            with _progress() as report:
                manifest = d.open().verify(report)
        except BenchError as e:
            wrong = True
            console.print(f"[magenta]{escape(str(e))}[/]", soft_wrap=True)
        else:
            _print_summary(manifest)
    if wrong:
        raise typer.Exit(1)


def _prepare(names: Sequence[str], partial: bool, again: bool) -> None:
    """Make data sets ready and say what was made."""
    if not names:
        raise BenchError(
            f"bench data prepare: which? {', '.join(d.name for d in CATALOG.values() if d.prepared)}"
        )
    for d in _named(names):
        if not d.prepared:
            raise BenchError(f"{d.name} needs no preparation")
    # Before eccodes, by which MRMS is decoded: the wheels of both bring a libproj. A pyproj that is loaded
    # later, as pysteps' importers do for KNMI, runs on the one of eccodes, corrupts memory and kills this
    # process at its end.
    with suppress(ImportError):
        import pyproj  # noqa: F401
    for d in _named(names):
        with _progress() as report:
            manifest = d.open().prepare(report, partial=partial, again=again)
        if manifest is not None:
            _print_summary(manifest)


def _fetch(names: Sequence[str], again: bool, yes: bool) -> None:
    """Say what copies of public data take and on which terms they come; once agreed to, bring them."""
    from bench.data.fetching import COPIES, about, check, fetch

    if not names:
        raise BenchError(f"bench data fetch: which? {', '.join(COPIES)}")
    for name in names:
        console.print(escape(about(name)), soft_wrap=True)
        check(name, again=again)
    if not yes:
        if not sys.stdin.isatty():
            raise BenchError("bench data fetch: nobody is here to agree to these terms: --yes does")
        typer.confirm("Do you agree to the terms, and fetch?", abort=True)
    for name in names:
        with _progress() as report:
            said = fetch(name, report, again=again)
        console.print(escape(said), soft_wrap=True)


def _print_summary(manifest: Manifest) -> None:
    style = "" if manifest.complete else "yellow"
    console.print(Text(manifest.summary(), style=style), soft_wrap=True)


@contextmanager
def _progress() -> Iterator[Progress]:
    """Bars that show how far a preparation is, one for each pass."""
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)

        yield report
