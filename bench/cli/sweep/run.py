"""`bench run`: run the cells that have no record."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.console import console, duration, errors, escape, seconds
from bench.cli.options import RUNNING, Options, takes
from bench.cli.session import Session
from bench.cli.sweep.live import left_out, watching
from bench.cli.sweep.plan import summary
from bench.contract import BenchError
from bench.plan import Plan

if TYPE_CHECKING:
    from bench.engine.sweep import Sweep

#: The exit code of a sweep that left out cells for which no machine is large enough: they stay new.
LEFT_OUT = 3
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

AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDRESS",
        rich_help_panel=RUNNING,
        help="A Ray cluster that is running: 'auto' or host:port (default: $RAY_ADDRESS).",
    ),
]

PendingOption = Annotated[
    int | None,
    typer.Option(
        "--max-pending",
        metavar="N",
        rich_help_panel=RUNNING,
        help="How many cells may wait for a place on the cluster at once; for these it starts machines, if it"
        " can (default: 256).",
    ),
]

WaitOption = Annotated[
    str | None,
    typer.Option(
        "--wait",
        metavar="TIME",
        rich_help_panel=RUNNING,
        help="How long to wait for machines that hold what none of the cluster holds, if it does not tell"
        " which ones it may start: 10m (default: not at all).",
    ),
]

NoPackOption = Annotated[
    bool,
    typer.Option(
        "--no-pack",
        rich_help_panel=RUNNING,
        help="Let no cells share a GPU, though one uses little of it: for timings.",
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


LogOption = Annotated[
    list[Logs],
    typer.Option(
        "--log",
        rich_help_panel=RUNNING,
        help="Log each cell that ends as a run of MLflow, Weights & Biases or TensorBoard: its settings,"
        " curve, scores and record. Each client's own variables, where the sweep is run, say where. May be"
        " repeated.",
    ),
]


@takes("profile", "track", "method", "filter", "fresh", "store", "suite", "plugin", "local", "cpus")
def command(
    options: Options,
    stale: StaleOption = False,
    failed: FailedOption = False,
    budget: BudgetOption = None,
    rate: RateOption = None,
    log: LogOption = [],  # noqa: B006
    address: AddressOption = None,
    max_pending: PendingOption = None,
    wait: WaitOption = None,
    no_pack: NoPackOption = False,
) -> None:
    """Run the cells that have no record yet. After Ctrl-C the same command goes on from there.

    The exit code is 0 when the sweep has ended, whatever became of its cells; 3 if it left out cells for
    which no machine is large enough; 2 if it stopped at a fault or could not begin; 130 after Ctrl-C.
    """
    budget_s = seconds(budget, "--budget") if budget is not None else None
    placing = Placing.of(options, address, max_pending, wait, no_pack)
    session = Session.open(options)
    plan = session.plan()
    console.print(summary(plan))
    code = sweep_plan(
        session, plan, stale=stale, failed=failed, budget_s=budget_s, rate=rate, placing=placing,
        logs=[name.value for name in dict.fromkeys(log)],
    )  # fmt: skip
    raise typer.Exit(code)


@dataclass(frozen=True, slots=True)
class Placing:
    """The cluster that runs a sweep, how many cells may wait for a place there, how long to wait for
    machines that it does not have, and whether cells may share a GPU.
    """

    address: str | None = None
    max_pending: int | None = None
    wait_s: float = 0.0
    pack: bool = True

    @staticmethod
    def of(
        options: Options, address: str | None, max_pending: int | None, wait: str | None, no_pack: bool
    ) -> Placing:
        """What the options say, checked before anything is planned.

        Raises:
            BenchError: one of them is wrong, or nothing answers at the address.
        """
        wait_s = check_placing(max_pending, wait)
        if options.local:
            given = {"--address": address, "--max-pending": max_pending, "--wait": wait}
            if of_ray := [name for name, value in given.items() if value is not None]:
                raise BenchError(
                    f"--local runs without Ray, so {of_ray[0]} means nothing; give one of the two"
                )
            return Placing()
        from bench.cluster.address import check_run_address

        if listening := check_run_address(address):
            from bench.cluster.jobs import check_token

            check_token(listening)
        return Placing(address, max_pending, wait_s, not no_pack)


def check_placing(max_pending: int | None, wait: str | None) -> float:
    """The seconds of ``--wait``; raises `BenchError` for a value that says nothing."""
    from bench.engine.sweep import check_max_pending

    check_max_pending(max_pending)
    return seconds(wait, "--wait") if wait is not None else 0.0


def sweep_plan(
    session: Session,
    plan: Plan,
    *,
    stale: bool = False,
    failed: bool = False,
    budget_s: float | None = None,
    rate: float | None = None,
    logs: Sequence[str] = (),
    placing: Placing | None = None,
) -> int:
    """Run a plan with the live view, say how it ended, and leave with exit code 130 if it was interrupted.

    Returns:
        The exit code: 0, or `LEFT_OUT` if cells were left out for which no machine is large enough.

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
        return 0
    from bench.engine.execute import execute
    from bench.live.logs import logging_to, opened
    from bench.live.writer import writing

    opened_logs = {name: opened(name) for name in logs}
    workers, at = cpus or len(os.sched_getaffinity(0)), placing or Placing()
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
            cpus=cpus, address=at.address, max_pending=at.max_pending, wait_s=at.wait_s, pack=at.pack,
            on_change=changed,
        )  # fmt: skip
        live.close(sweep, sweep.error or sweep.stopped or str(sweep.fault or "") or "nothing is left to run")
    sweep.notes += [f"not every cell is logged to {name}: {why}" for name, why in logged.problems.items()]
    if live.problem:
        sweep.notes.append(f"the live page could not be written: {live.problem}")
    return _ended(sweep)


def _ended(sweep: Sweep) -> int:
    """Say how a sweep ended, and return its exit code."""
    counted = Counter(e.status for e in sweep.ended)
    ends = ", ".join(f"{n} {s}" for s, n in counted.items()) or "none"
    console.print(f"{len(sweep.ended)} cells and stages ended in {duration(sweep.spent_s())}: {ends}")
    if others := sum(e.elsewhere for e in sweep.ended):
        console.print(f"{others} of them were run by another driver of this store")
    for note in sweep.notes:
        console.print(f"[yellow]note[/] {escape(note)}", soft_wrap=True)
    for text in left_out(sweep, set()):
        errors.print(f"[yellow]left out[/] {escape(text)}", soft_wrap=True)
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
    return LEFT_OUT if sweep.too_large else 0
