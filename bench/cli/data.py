"""`bench data`: which data are here, on which terms, what the missing ones block; and making them ready."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from bench.cli.console import console, escape
from bench.cli.options import Options, takes
from bench.cli.session import Session
from bench.contract import BenchError
from bench.data.catalog import CATALOG, VARIABLE, root
from bench.errors import nearest

if TYPE_CHECKING:
    from bench.data.images import image_files
    from bench.data.images.image_sets import ImageSet
    from bench.data.preparing import Progress
    from bench.data.tables import ratings
    from bench.data.tables.ctr_logs import Manifest

ACTIONS = ("list", "check", "prepare")


@takes("profile", "track", "suite", "plugin")
def command(
    options: Options,
    action: Annotated[str, typer.Argument(help="list (the default), check or prepare.")] = "list",
    names: Annotated[list[str], typer.Argument(help="Data sets to check or prepare.")] = [],  # noqa: B006
    partial: Annotated[
        bool, typer.Option("--partial", help="prepare: also a file that is not the whole data set.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="prepare: although it has been done.")] = False,
) -> None:
    """List a profile's data and what the missing ones block; check or prepare what was brought.

    Data sets that do not ship inside packages are looked for below $BENCH_DATA (default: data/).
    """
    if action not in ACTIONS:
        raise BenchError(f"bench data {action}: expected {', '.join(ACTIONS)}{nearest(action, ACTIONS)}")
    if action == "list":
        if names:
            raise BenchError(f"bench data list {names[0]}: takes no names; -t TRACK and -p PROFILE choose")
        _list(Session.open(replace(options, store="memory://data", fresh=True)))
    elif action == "check":
        _check(_known(names, list(CATALOG)))
    else:
        _prepare(names, partial, again)


# ------------------------------------------------------------------------------------------------------- list


def _list(session: Session) -> None:
    plan = session.plan()
    lines = [("track", "task", "data", "cells")]
    seen: set[str] = set()
    for p in plan.tracks:
        for task in plan.tasks[p.track.name]:
            cells = sum(c.task is task for c in plan.cells)
            why = p.track.missing(task, p.run)
            if why is None:
                said = f"here, {p.track.fingerprint(task, p.run)}"
            else:
                said = f"missing {'as above' if why in seen else why}"
                seen.add(why)
            lines.append((p.track.name, task.name, said, f"{cells} blocked" if why else str(cells)))
    _columns(lines)
    console.print()
    _terms()
    console.print(f"brought data: ${VARIABLE}, now {escape(str(root()))}", soft_wrap=True)


def _columns(lines: Sequence[tuple[str, str, str, str]]) -> None:
    """Lines in columns. A reason with its path is as long as it is: it stands whole in its line, and other
    lines are aligned without it.
    """
    short = [x for x in lines if not x[2].startswith("missing ") or x[2].endswith(" as above")]
    wide = [max(len(x[k]) for x in (short if k == 2 else lines)) for k in range(3)]
    for n, line in enumerate(lines):
        text = "  ".join(x.ljust(w) for x, w in zip(line, (*wide, 0), strict=True))
        style = "bold" if n == 0 else "magenta" if line[2].startswith("missing ") else ""
        console.print(Text(text, style=style), soft_wrap=True)


def _terms() -> None:
    """Each data set with its terms in a paragraph: in columns their texts would be broken every few words."""
    for d in CATALOG.values():
        console.print(f"[bold]{escape(d.name)}[/]: {escape(d.title)}", soft_wrap=True)
        console.print(f"    from: {escape(d.get)}", soft_wrap=True)
        console.print(f"    terms: {escape(d.terms)}", soft_wrap=True)


# --------------------------------------------------------------------------------------------- check, prepare


def _known(names: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    for name in names:
        if name not in known:
            raise BenchError(f"no data set {name!r}{nearest(name, known)}")
    return names or known


def _check(names: Sequence[str]) -> None:
    """One line a data set; exit code 1 if one is missing or damaged."""
    from bench.data.tables import ctr_logs, ctr_prepare, ratings

    wrong = False
    for name in names:
        try:
            if lists := _lists(name):
                for one in lists:
                    with _progress() as told:
                        listed = one.verify(told)
                    _say_images(listed)
                continue
            if name == ratings.NAME:
                _say_ratings(ratings.verify())
                continue
            if name not in ctr_logs.LAYOUTS:
                console.print(f"{name}: here, {_shipped(name)}")
                continue
            with _progress() as told:
                manifest = ctr_prepare.verify(name, told)
            _say(manifest)
        except BenchError as e:
            wrong = True
            console.print(f"[magenta]{escape(str(e))}[/]", soft_wrap=True)
    if wrong:
        raise typer.Exit(1)


def _shipped(name: str) -> str:
    """Fingerprint of a data set that ships inside a package; raises if it is not here."""
    from bench.data.drawings import digits, emoji, stamps
    from bench.data.tables import tabular
    from bench.data.transfer import sets as transfer_sets

    if name in tabular.SOURCES:
        why = tabular.missing(name)
    elif name in emoji.STYLES:
        why = emoji.missing([name])
    elif name in transfer_sets.NAMES:
        why = transfer_sets.missing(name)
    else:
        why = digits.missing() if name == "digits" else stamps.missing()
    if why:
        raise BenchError(why)
    if name in tabular.SOURCES:
        return tabular.fingerprint(name)
    if name in emoji.STYLES:
        return emoji.fingerprint([name])
    if name in transfer_sets.NAMES:
        return transfer_sets.fingerprint(name)
    return digits.fingerprint() if name == "digits" else stamps.fingerprint()


def _prepare(names: Sequence[str], partial: bool, again: bool) -> None:
    from bench.data.images import image_sets
    from bench.data.tables import ctr_logs, ctr_prepare, ratings

    brought = list(
        dict.fromkeys([*ctr_logs.LAYOUTS, *image_sets.LAYOUTS, *image_sets.PUBLISHER_LAYOUTS, ratings.NAME])
    )
    if not names:
        raise BenchError(f"bench data prepare: which? {', '.join(brought)}")
    for name in names:
        if name in CATALOG and name not in brought:
            raise BenchError(f"{name} needs no preparation: it ships inside a package")
    for name in _known(names, brought):
        if lists := _lists(name):
            for one in lists:
                with _progress() as told:
                    listed = one.prepare(told, partial=partial, again=again)
                _say_images(listed)
            continue
        if name == ratings.NAME:
            with _progress() as told:
                made = ratings.prepare(again=again, progress=told)
            _say_ratings(made)
            continue
        with _progress() as told:
            manifest = ctr_prepare.prepare(name, partial=partial, again=again, progress=told)
        _say(manifest)


def _lists(name: str) -> list[ImageSet]:
    """The lists of an image data set; of two with splits of their own, those with their files."""
    from bench.data.images import image_sets as sets

    known = ((sets.LAYOUTS, sets.image_set), (sets.PUBLISHER_LAYOUTS, sets.publisher_set))
    both = [make(name) for layouts, make in known if name in layouts]
    return [s for s in both if s.absent() is None] or both


def _say_ratings(m: ratings.Manifest) -> None:
    """What was prepared; no published counts are known."""
    parts = ", ".join(f"{domain} {n:,}" for domain, n in zip(m.domains, m.rows, strict=True))
    split = ", ".join(f"{n:,}" for n in m.parts)
    said = f"{sum(m.rows):,} rows ({split}), {m.users:,} users, {m.items:,} items: {parts}"
    console.print(f"amazon: {said}", soft_wrap=True)


def _say_images(m: image_files.Manifest) -> None:
    """What was listed, and whether it is the published data set."""
    parts = ", ".join(f"{group} {n:,}" for group, n in zip(m.groups, m.counts, strict=True))
    verdict = "the published counts" if m.complete else "[yellow]not the published counts[/]"
    said = f"{sum(m.counts):,} images ({escape(parts)}), {len(m.classes):,} classes: {verdict}"
    console.print(f"{m.dataset}: {said}", soft_wrap=True)


def _say(m: Manifest) -> None:
    """What was prepared, beside what the paper prints."""
    sizes, expected = m.cardinalities, CATALOG[m.dataset].expected
    rows = f"{m.rows:,} rows ({', '.join(f'{n:,}' for n in m.parts)}), {m.clicks / m.rows:.2%} clicked"
    console.print(f"{m.dataset}: {rows}; {len(m.fields)} fields", soft_wrap=True)
    console.print(f"  indices: {sum(sizes):,} in all, {max(sizes):,} at most, {min(sizes):,} at least")
    if expected is not None:
        unit = expected.unit
        same = (round(sum(sizes) / unit) * unit, round(max(sizes) / unit) * unit, min(sizes))
        told = (expected.total, expected.largest, expected.smallest)
        verdict = "the same" if same == told and m.complete else "[yellow]not the same[/]"
        console.print(
            f"  published: {expected.rows:,} rows; {told[0]:,}, {told[1]:,}, {told[2]:,} ({expected.source}):"
            f" {verdict}",
            soft_wrap=True,
        )


@contextmanager
def _progress() -> Iterator[Progress]:
    """Bars for what a preparation tells, one a pass."""
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)

        yield told
