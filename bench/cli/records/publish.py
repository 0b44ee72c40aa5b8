"""`bench publish`: the records of a profile as files to commit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.console import console, escape
from bench.cli.options import Options, takes
from bench.cli.session import Session
from bench.plan import plan_searches
from bench.store.committed.layers import home


@takes("profile", "track", "fresh", "store", "suite", "plugin")
def command(
    options: Options,
    partial: Annotated[
        bool, typer.Option("--partial", help="Publish though cells are missing or stale.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write to (default: results/<profile>).")
    ] = None,
) -> None:
    """Write every record of the profile to results/<profile>/<track>.jsonl, sorted, ready to commit.

    Draws of searches are published with it, those that have ended and are not stale.

    A record that was published before stays as it is where the store has none to replace it.
    """
    from bench.store.committed.writing import publish

    session = Session.open(options)
    records = session.layered()
    plan = session.plan(records)
    searches = plan_searches(plan, session.registry, records, records.draws()).values()
    for p in plan.tracks:
        cells = list({c.key: c for c in plan.cells if c.plan.track.name == p.track.name}.values())
        unfit = [c for c in cells if c.state in ("new", "stale", "blocked")]
        if unfit and not partial:
            states = ", ".join(f"{sum(c.state == s for c in unfit)} {s}" for s in ("new", "stale", "blocked"))
            console.print(
                f"{p.track.name}: not published, {states} of {len(cells)} cells (--partial publishes anyway)"
            )
            continue
        keys = [c.key for c in cells if c.summary is not None]
        if not keys:
            continue
        drawn = [c for found, _ in searches for c in found.cells if c.plan.track.name == p.track.name]
        keys = list(dict.fromkeys([*keys, *(c.key for c in drawn if c.state in ("done", "failed"))]))
        draws = [d for _, of in searches for d in of]
        report = publish(records, keys, out or home() / "results" / options.profile, draws=draws)
        files = ", ".join(map(str, report.files))
        console.print(
            f"{p.track.name}: {report.records} records, {report.bytes / 1024:.0f} kB: {escape(files)}"
        )
        for text in report.left_out:
            console.print(f"  left out: {escape(text)}", soft_wrap=True)
