"""`bench tour`: from nothing to a leaderboard in minutes."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from bench.cli.board.report import write_site
from bench.cli.console import console, escape
from bench.cli.options import Options, takes
from bench.cli.session import Session
from bench.cli.sweep.plan import summary
from bench.cli.sweep.run import sweep_plan
from bench.store.layers import home, published_folder

FOLDER = "results/tour"


@takes("track", "suite", "plugin", "local", "cpus")
def command(
    options: Options,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw away what an earlier tour ran, and start again.")
    ] = False,
) -> None:
    """A sweep on real data in about ten minutes, then the leaderboard here and in results/index.html."""
    if restart:
        import shutil

        shutil.rmtree(home() / FOLDER, ignore_errors=True)
    # The published records are what the tour reproduces, so that none of them counts as done.
    session = Session.open(replace(options, profile="tour", fresh=True), default=FOLDER)
    plan = session.plan()
    console.print(
        "[bold]gridbench tour[/]: the paper's method, its baselines and a floor, on data in the packages"
    )
    console.print(summary(plan))
    sweep_plan(session, plan)
    from bench.board import terminal

    session.store.seal()
    made = session.boards()
    for board in made:
        console.print(terminal.render(board, width=console.width))
    for line in _reproduced(session):
        console.print(line)
    if any((published_folder() / "laptop").glob("*.jsonl")):
        laptop = replace(options, profile="laptop", published=True)
        made += replace(session, options=laptop).boards()
    page = write_site(made, home() / "results" / "index.html")
    console.print(f"the page: [bold]{escape(str(page))}[/] (open it in a browser; it needs no network)")


def _reproduced(session: Session) -> list[str]:
    """How many of the tour's cells came out as the published laptop records of the same cells."""
    from bench.store.publish import load_published

    out = []
    plan = session.plan()
    for p in plan.tracks:
        path = published_folder() / "laptop" / f"{p.track.name}.jsonl"
        if not path.is_file():
            continue
        heads = load_published(path).heads()
        metric = p.track.metric(p.ranks_by)
        same, seen, worst = 0, 0, 0.0
        for c in {c.key: c for c in plan.cells if c.plan is p}.values():
            theirs = heads.get(c.key)
            if theirs is None or c.head is None or theirs.status != "ok" or c.head.status != "ok":
                continue
            a, b = c.head.metrics[metric.name], theirs.metrics[metric.name]
            if isinstance(a, int | float) and isinstance(b, int | float):
                seen += 1
                worst = max(worst, abs(a - b))
                same += abs(a - b) <= 10.0**-metric.digits
        if seen:
            tolerance = f"{10.0**-metric.digits:g}"
            out.append(
                f"{p.track.name}: reproduced {same} of {seen} published laptop cells "
                f"({metric.name} within {tolerance}; the largest difference is {worst:.1g})"
            )
    return out
