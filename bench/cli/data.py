"""`bench data`: which data are here, and which cells the missing ones block."""

from __future__ import annotations

from rich.table import Table

from bench.cli.common import PluginOption, ProfileOption, Session, SuiteOption, TrackOption, console, escape


def command(
    profile: ProfileOption = "laptop",
    track: TrackOption = [],  # noqa: B006
    suite: SuiteOption = None,
    plugin: PluginOption = [],  # noqa: B006
) -> None:
    """List the tasks of a profile with their data: here (and its fingerprint), or what is missing and what it
    blocks.
    """
    session = Session.open(suite, "memory://data", plugin)
    plan = session.plan(profile, track, [], "")
    table = Table(box=None, pad_edge=False)
    for name in ("track", "task", "data", "cells"):
        table.add_column(name)
    for p in plan.tracks:
        for task in plan.tasks[p.track.name]:
            cells = sum(c.task is task for c in plan.cells)
            why = p.track.missing(task, p.run)
            said = (
                f"[magenta]missing[/] {escape(why)}" if why else f"here, {p.track.fingerprint(task, p.run)}"
            )
            table.add_row(p.track.name, task.name, said, f"{cells} blocked" if why else str(cells))
    console.print(table)
