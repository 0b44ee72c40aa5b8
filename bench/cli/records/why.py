"""`bench why KEY`: whether a record still stands, and if not, what changed since."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bench.cli.console import console, escape
from bench.cli.options import Options, takes
from bench.cli.session import Session, records_of_all_profiles
from bench.plan import Plan, PlannedCell, make_plan, plan_searches
from bench.store.committed.layers import Records
from bench.store.summaries import RecordSummary

KeyArgument = Annotated[str, typer.Argument(help="Key of a cell, or enough of its beginning.")]


@takes("published", "fresh", "store", "suite", "plugin")
def command(options: Options, key: KeyArgument) -> None:
    """Say whether a record still stands.

    It does if a profile plans its cell and nothing that decides its numbers has changed. Else this names what
    made it stale, or what was declared otherwise then.
    """
    session = Session.open(options)
    records = records_of_all_profiles(session.store, options)
    head = records.summaries()[records.match(key)]
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


def plans(session: Session, records: Records, profile: str) -> list[Plan]:
    """The plan of a profile, then those of the searches of its rows."""
    plan = make_plan(session.suite, session.registry, records, profile)
    searches = plan_searches(plan, session.registry, records, records.draws())
    return [plan, *(drawn for drawn, _ in searches.values())]


def find(session: Session, key: str) -> PlannedCell | None:
    """The planned cell of that key, in the first profile that plans it or searches with it, or None."""
    for c in _all(session):
        if c.key == key:
            return c
    return None


def _all(session: Session) -> list[PlannedCell]:
    """The planned cells of every profile, against the records of all, since profiles share cells."""
    out, records = [], records_of_all_profiles(session.store, session.options)
    for profile in session.suite.profile_names():
        if profile == "smoke" or any(profile in t.profiles for t in session.suite.tracks.values()):
            out += [c for plan in plans(session, records, profile) for c in plan.cells]
    return out


def _nearest(session: Session, head: RecordSummary) -> PlannedCell | None:
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
