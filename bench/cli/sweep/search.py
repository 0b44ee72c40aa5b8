"""`bench search`: run the same number of draws from the search space of each row."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.console import console, escape, seconds
from bench.cli.options import Options, takes
from bench.cli.session import Session
from bench.cli.sweep.plan import summary
from bench.cli.sweep.run import (
    AddressOption,
    BudgetOption,
    NoPackOption,
    PendingOption,
    Placing,
    WaitOption,
    sweep_plan,
)
from bench.contract import BenchError
from bench.plan import Plan, plan_draws

if TYPE_CHECKING:
    from bench.search.rows import Search

_HOW = "How to search"


class Sampler(StrEnum):
    """Who draws values, of those that need no results."""

    random = "random"
    qmc = "qmc"


@takes("profile", "track", "method", "filter", "fresh", "store", "suite", "plugin", "local", "cpus")
def command(
    options: Options,
    draws: Annotated[
        int,
        typer.Option(
            "--draws", min=2, metavar="N", rich_help_panel=_HOW,
            help="How many draws each row gets; the first one is its default.",
        ),
    ] = 20,
    sampler: Annotated[
        Sampler,
        typer.Option(
            "--sampler", rich_help_panel=_HOW,
            help="Who draws: independently (random), or so that the draws fill the space together (qmc).",
        ),
    ] = Sampler.random,
    adaptive: Annotated[
        bool,
        typer.Option(
            "--adaptive", rich_help_panel=_HOW,
            help="Let a sampler (TPE) learn from the scores on validation so far, for each task by itself."
            " Its draws depend on the order in which cells end.",
        ),
    ] = False,
    budget: BudgetOption = None,
    address: AddressOption = None,
    max_pending: PendingOption = None,
    wait: WaitOption = None,
    no_pack: NoPackOption = False,
) -> None:  # fmt: skip
    """Search hyper-parameters fairly: the same number of draws for each row that declares a search space.

    A draw is a cell as any other: after Ctrl-C the same command goes on from there, and a larger --draws
    adds to what is there. Nothing is chosen here: `bench board --select validation` takes for each row, task
    and seed the draw that is best on validation.
    """
    from bench.search.rows import Search

    if adaptive and sampler is not Sampler.random:
        raise BenchError(
            f"--adaptive draws by TPE, --sampler {sampler} by another sampler; give one of the two"
        )
    until = time.monotonic() + seconds(budget, "--budget") if budget is not None else None
    placing = Placing.of(options, address, max_pending, wait, no_pack)
    session = Session.open(options)
    records = session.layered()
    search = Search.of(
        session.plan(records), session.registry, records, "tpe" if adaptive else sampler.value, options.method
    )
    session.tell(records.problems)
    for line in _said(search, draws):
        console.print(escape(line), soft_wrap=True)
    raise typer.Exit(_run(session, search, draws, until, placing))


def _run(session: Session, search: Search, draws: int, until: float | None, placing: Placing) -> int:
    """Run the draws; of an adaptive search round by round, each drawn when the one before has ended. Returns
    the exit code.
    """
    records, found = session.layered(), search.draw(draws)
    while True:
        search.write(found, session.store, records)
        plan = plan_draws(search.plan, session.registry, records, found)
        console.print(summary(plan))
        left = None if until is None else max(0.0, until - time.monotonic())
        code = sweep_plan(session, plan, budget_s=left, placing=placing)
        if len(found) >= draws * len(search.spaces):
            return code
        plan = plan_draws(search.plan, session.registry, records, found)
        if waiting := _unended(plan):
            console.print(f"{waiting} cells have not ended, of which the next draws would learn")
            return code
        found = search.learn(draws, plan.cells)


def _unended(plan: Plan) -> int:
    """How many cells have no result yet."""
    return len({c.key for c in plan.cells if c.summary is None or not c.summary.result})


def _said(search: Search, n: int) -> list[str]:
    """What is searched, a line for each row; and which rows have nothing to search."""
    lines = []
    for space in {(s.track, s.row): s for s in search.spaces}.values():
        lines.append(
            f"{space.row}: {n} draws over {'; '.join(d.extent() for d in space.dimensions.values())}"
        )
    if search.without:
        lines.append(f"without a search space, so not searched: {', '.join(search.without)}")
    return lines
