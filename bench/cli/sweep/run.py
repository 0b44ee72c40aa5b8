"""`bench run`: run the cells that have no record."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.console import console, duration, errors, escape, seconds
from bench.cli.options import RUNNING, Options, takes
from bench.cli.session import Session
from bench.cli.sweep.plan import summary
from bench.contract import BenchError
from bench.plan import Plan

if TYPE_CHECKING:
    from bench.engine.sweep import Sweep

#: Stores of which nothing is left when the command has ended: plans and tests may have one, a sweep may not.
FORGETS = ("memory:",)

StaleOption = Annotated[bool, typer.Option("--stale", help="Run stale cells again too.")]
FailedOption = Annotated[bool, typer.Option("--failed", help="Run failed cells again too.")]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="TIME",
        rich_help_panel=RUNNING,
        help="Start no cell any more after this time: 10m, 2h.",
    ),
]

RateOption = Annotated[
    float | None,
    typer.Option(
        "--rate", min=0, metavar="PRICE", help="What an hour of one GPU costs: the cost so far is shown."
    ),
]


class Logs(StrEnum):
    """Where people look at runs."""

    mlflow = "mlflow"
    wandb = "wandb"
    tensorboard = "tensorboard"


@takes("profile", "track", "method", "filter", "fresh", "store", "suite", "plugin", "local", "cpus")
def command(
    options: Options,
    stale: StaleOption = False,
    failed: FailedOption = False,
    budget: BudgetOption = None,
    rate: RateOption = None,
    log: Annotated[
        list[Logs],
        typer.Option(
            "--log",
            rich_help_panel=RUNNING,
            help="Log each cell that ends as a run of MLflow, Weights & Biases or TensorBoard: its settings,"
            " curve, scores and record. Each client's own variables say where. May be repeated.",
        ),
    ] = [],  # noqa: B006
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="ADDRESS",
            rich_help_panel=RUNNING,
            help="A Ray cluster that is running: 'auto' or host:port (default: $RAY_ADDRESS).",
        ),
    ] = None,
) -> None:
    """Run the cells that have no record yet. After Ctrl-C the same command goes on from there."""
    budget_s = seconds(budget, "--budget") if budget is not None else None
    if not options.local:
        from bench.cluster.address import check_run_address

        if listening := check_run_address(address):
            from bench.cluster.jobs import check_token

            check_token(listening)
    session = Session.open(options)
    plan = session.plan()
    console.print(summary(plan))
    sweep_plan(
        session, plan, stale=stale, failed=failed, budget_s=budget_s, address=address, rate=rate,
        logs=[name.value for name in dict.fromkeys(log)],
    )  # fmt: skip


def sweep_plan(
    session: Session,
    plan: Plan,
    *,
    stale: bool = False,
    failed: bool = False,
    budget_s: float | None = None,
    address: str | None = None,
    rate: float | None = None,
    logs: Sequence[str] = (),
) -> None:
    """Run a plan with the live view, say how it ended, and leave with exit code 130 if it was interrupted.

    Raises:
        BenchError: the sweep stopped at a fault, or a log cannot be opened.
    """
    local, cpus = session.options.local, session.options.cpus
    if session.store.url.startswith(FORGETS):
        raise BenchError(
            f"--store {session.store.url}: keeps no record once the command has ended; name a folder or an"
            " object store such as s3://bucket/prefix"
        )
    if not plan.to_run(stale=stale, failed=failed):
        hint = [f"--{s} runs {n} {s} cells" for s, n in plan.count().items() if s in ("stale", "failed")]
        console.print("nothing to run" + (f" ({', '.join(hint)})" if hint else ""))
        return
    from bench.cli.sweep.live import watching
    from bench.engine.execute import execute
    from bench.live.logs import logging_to, opened
    from bench.live.writer import writing

    opened_logs = {name: opened(name) for name in logs}
    workers = cpus or len(os.sched_getaffinity(0))
    with (
        watching(workers) as progress,
        writing(plan, session.layered, session.store.url, workers, rate) as live,
        logging_to(opened_logs, session.store) as logged,
    ):
        console.print(f"[dim]live: {escape(live.files.place)}[/]", soft_wrap=True)

        def changed(sweep: Sweep) -> None:
            progress(sweep)
            live(sweep)
            logged(sweep)

        sweep = execute(
            plan, session.registry, session.store, local=local, stale=stale, failed=failed, budget_s=budget_s,
            address=address, cpus=cpus, on_change=changed,
        )  # fmt: skip
        live.close(sweep, sweep.error or sweep.stopped or str(sweep.fault or "") or "nothing is left to run")
    sweep.notes += [f"not every cell is logged to {name}: {why}" for name, why in logged.problems.items()]
    if live.problem:
        sweep.notes.append(f"the live page could not be written: {live.problem}")
    _say_end(sweep)


def _say_end(sweep: Sweep) -> None:
    """Say how a sweep ended, and leave with exit code 130 if it was interrupted; `BenchError` at a fault."""
    counted = Counter(e.status for e in sweep.ended)
    ends = ", ".join(f"{n} {s}" for s, n in counted.items()) or "none"
    console.print(f"{len(sweep.ended)} cells and stages ended in {duration(sweep.spent_s())}: {ends}")
    if others := sum(e.elsewhere for e in sweep.ended):
        console.print(f"{others} of them were run by another driver of this store")
    for note in sweep.notes:
        console.print(f"[yellow]note[/] {escape(note)}", soft_wrap=True)
    for why, n in Counter(text.partition(" needs ")[2] for text in sweep.too_large.values()).items():
        errors.print(f"[yellow]left out[/] {n} cells or stages that need {escape(why)}", soft_wrap=True)
    if sweep.fault is not None:
        raise sweep.fault
    if sweep.error:
        raise BenchError(f"the sweep stopped: {sweep.error} (the cells that were not recorded stay new)")
    if sweep.stopped:
        console.print(
            f"stopped: {escape(sweep.stopped)}; {len(sweep.waiting)} not run; the same command goes on"
        )
    if sweep.stopped == "interrupted":
        raise typer.Exit(130)
