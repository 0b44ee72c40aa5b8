"""`bench tour`: a small sweep of every track, and its leaderboards."""

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
from bench.store.committed.layers import home, results_folder

FOLDER = "results/tour"


@takes("track", "suite", "plugin", "local", "cpus")
def command(
    options: Options,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw away what an earlier tour ran, and start again.")
    ] = False,
) -> None:
    """Run a sweep on real data in about ten minutes; print its leaderboards and write results/index.html."""
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
    code = sweep_plan(session, plan)
    from bench.board.text import terminal

    session.store.seal()
    made = session.boards()
    for board in made:
        console.print(terminal.render(board, width=console.width))
    for line in _reproduced(session):
        console.print(line)
    if any((results_folder() / "laptop").glob("*.jsonl")):
        laptop = replace(options, profile="laptop", published=True)
        made += replace(session, options=laptop).boards()
    page = write_site(made, home() / "results" / "index.html")
    console.print(f"the page: [bold]{escape(str(page))}[/] (open it in a browser; it needs no network)")
    raise typer.Exit(code)


def _reproduced(session: Session) -> list[str]:
    """How many of the tour's cells have the numbers of their published records, in a line a track."""
    from bench.store.committed.reading import load_committed

    out = []
    plan = session.plan()
    for p in plan.tracks:
        path = results_folder() / "laptop" / f"{p.track.name}.jsonl"
        if not path.is_file():
            continue
        heads = load_committed(path).summaries()
        metric = p.track.metric(p.ranks_by)
        same, seen, worst = 0, 0, 0.0
        for c in {c.key: c for c in plan.cells if c.plan.track.name == p.track.name}.values():
            theirs = heads.get(c.key)
            if theirs is None or c.summary is None or theirs.status != "ok" or c.summary.status != "ok":
                continue
            a, b = c.summary.metrics[metric.name], theirs.metrics[metric.name]
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
