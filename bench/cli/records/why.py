"""`bench why KEY`: how a record differs from what today's plan would run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bench.cli.console import console, escape
from bench.cli.options import Options, takes
from bench.cli.session import Session, find_key, records_of_all_profiles
from bench.plan import make_plan
from bench.planned import PlannedCell
from bench.store.records import Head

KeyArgument = Annotated[str, typer.Argument(help="Key of a cell, or enough of its beginning.")]


@takes("published", "fresh", "store", "suite", "plugin")
def command(options: Options, key: KeyArgument) -> None:
    """Say whether a record still stands: which planned cell it is, why it is stale, or what was declared
    otherwise.
    """
    session = Session.open(options)
    records = records_of_all_profiles(session.store, options)
    head = records.heads()[find_key(records, key)]
    planned = find(session, head.key)
    if planned is not None:
        console.print(f"planned today: {escape(str(planned.cell))}, state {planned.state}")
        for cause in planned.causes:
            console.print(f"  stale: {escape(cause)}")
        if planned.reason:
            console.print(f"  {escape(planned.reason)}")
        if not planned.causes and planned.state == "done":
            console.print("  nothing that decides its numbers has changed since")
        return
    console.print("no profile plans this cell today")
    near = _nearest(session, head)
    if near is None:
        console.print(f"  nothing is planned for row {escape(head.row)} on task {escape(head.task)}")
        return
    console.print(f"  the nearest planned cell is {near.key}; declared otherwise then -> now:")
    for name, then, now in _differences(dict(head.cell), near.cell.declared()):
        console.print(f"    {escape(name)}: {escape(repr(then))} -> {escape(repr(now))}")


def find(session: Session, key: str) -> PlannedCell | None:
    """The planned cell with that key, in whatever profile has it."""
    for c in _all(session):
        if c.key == key:
            return c
    return None


def _all(session: Session) -> list[PlannedCell]:
    """The cells of every profile, with the records of all of them: the tour's cells are the laptop's."""
    out, records = [], records_of_all_profiles(session.store, session.options)
    for profile in session.suite.profile_names():
        if profile == "smoke" or any(profile in t.profiles for t in session.suite.spec.tracks.values()):
            out += make_plan(session.suite, session.registry, records, profile).cells
    return out


def _nearest(session: Session, head: Head) -> PlannedCell | None:
    def distance(c: PlannedCell) -> int:
        return len(_differences(dict(head.cell), c.cell.declared()))

    same = [c for c in _all(session) if c.cell.row == head.row and c.cell.task == head.task]
    return min(same, key=distance, default=None)


def _differences(then: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    out: list[tuple[str, Any, Any]] = []
    for k in sorted({*then, *now}):
        a, b = then.get(k), now.get(k)
        if isinstance(a, dict) and isinstance(b, dict):
            out += _differences(a, b, f"{prefix}{k}.")
        elif a != b:
            out.append((f"{prefix}{k}", a, b))
    return out
