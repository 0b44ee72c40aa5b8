"""`bench launch`: a sweep as a job of a Ray cluster, which goes on when this machine is switched off."""

from __future__ import annotations

import shlex
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

import bench
from bench.cli.console import console, errors, escape, seconds
from bench.cli.options import RUNNING, Options, takes
from bench.cli.session import Session
from bench.cli.sweep.run import (
    BudgetOption,
    FailedOption,
    LogOption,
    NoPackOption,
    PendingOption,
    RateOption,
    StaleOption,
    WaitOption,
    check_placing,
)
from bench.contract import BenchError
from bench.data.brought import entries
from bench.data.catalog import VARIABLE, root
from bench.store import provenance
from bench.store.committed.layers import store_name

if TYPE_CHECKING:
    from bench.cluster.jobs import JobDetails, JobSubmissionClient

JobsOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="URL",
        rich_help_panel=RUNNING,
        help="The cluster's job server, http://HEAD:8265 (default: $RAY_API_SERVER_ADDRESS).",
    ),
]
DataThereOption = Annotated[
    bool,
    typer.Option(
        "--data-there",
        help="Every node finds the data that you added (bench data add) where this machine does.",
    ),
]


@takes("profile", "track", "method", "filter", "fresh", "store", "suite", "plugin")
def command(
    options: Options,
    stale: StaleOption = False,
    failed: FailedOption = False,
    budget: BudgetOption = None,
    rate: RateOption = None,
    log: LogOption = [],  # noqa: B006
    address: JobsOption = None,
    max_pending: PendingOption = None,
    wait: WaitOption = None,
    no_pack: NoPackOption = False,
    image: Annotated[
        str,
        typer.Option(
            "--image", metavar="IMAGE", help="Run in this container image, with the gridbench in it."
        ),
    ] = "",
    uv: Annotated[
        bool, typer.Option("--uv", help="Let uv install what gridbench needs on every node.")
    ] = False,
    pip: Annotated[
        bool, typer.Option("--pip", help="Let pip install what gridbench needs on every node.")
    ] = False,
    data_there: DataThereOption = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not follow the log.")] = False,
) -> None:
    """Run what is missing on a Ray cluster. The driver runs there, so that it goes on without this machine.

    The files that git tracks are sent, with your changes, and the plugins and the suite file that you name;
    data are not. Ctrl-C ends the following of the log, and nothing else.
    """
    _check(options, image, uv, pip)
    if budget is not None:
        seconds(budget, "--budget")
    check_placing(max_pending, wait)
    from bench.cluster import jobs
    from bench.cluster.address import server_url

    server_url(address)
    plan = Session.open(replace(options, store="memory://launch", fresh=True)).plan()
    if not data_there:
        _check_data({c.task.brought for c in plan.cells if c.task.brought})
    cells = len({c.key for c in plan.cells})
    client, server = jobs.connect(address)
    if server.asks is False and "://127.0.0.1" not in server.url and "://localhost" not in server.url:
        errors.print(
            f"[yellow]note[/] {escape(server.url)} asks nobody for a token: whoever reaches it can run code "
            "there (start Ray with RAY_AUTH_MODE=token)",
            soft_wrap=True,
        )
    key = jobs.new_key(options.profile)
    values = {"--budget": budget, "--rate": rate, "--max-pending": max_pending, "--wait": wait}
    flags = [f for f, on in (("--stale", stale), ("--failed", failed), ("--no-pack", no_pack)) if on]
    flags += [str(word) for flag, value in values.items() if value is not None for word in (flag, value)]
    flags += [word for name in dict.fromkeys(log) for word in ("--log", name.value)]
    with TemporaryDirectory(prefix="bench-launch-") as folder:
        env, arguments = _environment(
            options, Path(folder) / "gridbench.zip", image, "uv" if uv else "pip" if pip else ""
        )
        jobs.submit(client, key, [*arguments, *flags], env, _about(options, cells))
    again = f"--address {server.url}"
    console.print(
        f"[bold]{key}[/] was sent to {escape(server.url)}: at most {cells} cells. "
        f"bench logs {key} -f {again} follows it, bench status {again} lists sweeps, "
        f"bench stop {key} {again} ends it",
        soft_wrap=True,
    )
    if not detach:
        follow(client, key, server.url)


def _check(options: Options, image: str, uv: bool, pip: bool) -> None:
    """Raise `BenchError` for what a cluster could not do or not reach."""
    if sum((bool(image), uv, pip)) > 1:
        raise BenchError(
            "--image, --uv and --pip each say where packages come from; give one of them, or none"
        )
    store = options.store or ""
    if "://" not in store and not Path(store).is_absolute():
        given = f"--store {store}" if store else "the default store"
        raise BenchError(
            f"{given} is a folder of this machine: name one with --store that every node of the cluster "
            "reaches, s3://bucket/prefix or the whole path of a shared folder"
        )
    place = store.partition("://")[2].partition("/")[0]
    if store.startswith("memory://") or "@" in place:
        why = (
            "holds a password, which the cluster's dashboard would show"
            if "@" in place
            else "ends with its process"
        )
        raise BenchError(
            f"--store {store_name(store)}: it {why}; give nodes their credentials in their environment"
        )
    if image and (files := [*options.plugin, *([str(options.suite)] if options.suite else [])]):
        raise BenchError(
            f"--image: Ray brings no files into a container; put {', '.join(files)} into the image"
        )
    if not image and bench.CLONE is None:
        raise BenchError(
            "bench launch sends the files that git tracks, and this gridbench is no clone; run it from one, "
            "or give an image that has gridbench (--image)"
        )


def _check_data(names: set[str]) -> None:
    """Raise `BenchError` for data of the user's own that a cell wants: a launch sends no data."""
    if not names:
        return
    lines = []
    for name in sorted(names):
        e = entries.entry(name)
        lies = e.place if Path(e.place).is_absolute() else f"${VARIABLE}/{e.place}"
        lines.append(f"  {name}: the {e.kind} {lies} and the folder ${VARIABLE}/brought/{name}")
    raise BenchError(
        f"bench launch sends no data, and cells want data that you added, here below ${VARIABLE} {root()}:"
        " bring to every node, to the same places,\n" + "\n".join(lines) + "\nthen launch with --data-there"
    )


def _environment(
    options: Options, target: Path, image: str, installer: str
) -> tuple[dict[str, Any], list[str]]:
    """The runtime environment of a job, and the arguments of its ``bench run``."""
    from bench.cluster import jobs, packing

    if image:
        return jobs.runtime_env(None, image=image), options.words()
    assert bench.CLONE is not None
    suite = [str(options.suite)] if options.suite else []
    packed = packing.pack(bench.CLONE, [*options.plugin, *suite], target, provenance.commit())
    for name in packed.untracked[:5]:
        errors.print(
            f"[yellow]note[/] {escape(name)} is not sent: git does not track it (git add)", soft_wrap=True
        )
    console.print(f"{packed.files} files, {packed.mb:.1f} MB")
    wanted = jobs.requirements(bench.CLONE, options.profile, options.store or "") if installer else ()
    there = replace(options, plugin=[], suite=None).words()
    there += [word for p in options.plugin for word in ("--plugin", packed.places[p])]
    there += ["--suite", packed.places[suite[0]]] if suite else []
    return jobs.runtime_env(target, installer=installer, wanted=wanted), there


def _about(options: Options, cells: int) -> dict[str, str]:
    """What the cluster keeps of a sweep and shows to whoever sees its dashboard: nothing that is secret."""
    made = provenance.commit()
    return {
        "version": bench.__version__,
        "profile": options.profile,
        "cells": str(cells),
        "store": store_name(options.store or ""),
        "commit": str(made["commit"])[:12] + ("+changes" if made["dirty"] else ""),
    }


def follow(client: JobSubmissionClient, key: str, url: str) -> None:
    """Show the log until the sweep ends, and leave with the driver's exit code; Ctrl-C leaves it running."""
    from bench.cluster import jobs

    def waiting(message: str) -> None:
        errors.print(f"[dim]waiting: {escape(message)}[/]", soft_wrap=True)

    try:
        job = jobs.follow(client, key, lambda text: typer.echo(text, nl=False), waiting)
    except KeyboardInterrupt:
        console.print(
            f"\n{key} goes on. Come back with bench logs {key} -f --address {escape(url)}; "
            f"end it with bench stop {key} --address {escape(url)}",
            soft_wrap=True,
        )
        raise typer.Exit(130) from None
    _leave(job, key)


def _leave(job: JobDetails, key: str) -> None:
    """Say how a sweep ended, and leave with its exit code."""
    took = f" after {((job.end_time or 0) - (job.start_time or 0)) / 60e3:.1f} min" if job.end_time else ""
    console.print(f"{key}: {str(job.status.value).lower()}{took}")
    if job.status == "SUCCEEDED":
        return
    if job.status == "STOPPED":
        raise typer.Exit(130)
    if job.driver_exit_code is None and job.message:
        # The driver never ran: its environment could not be made, or no node took it.
        raise BenchError(f"{key} did not start: {_last_line(job.message)}")
    raise typer.Exit(job.driver_exit_code or 1)


def _last_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def state_of(job: JobDetails) -> str:
    """The state of a job in words: ``running 3.2 min``."""
    end = (job.end_time or time.time() * 1000) / 1000
    minutes = (end - (job.start_time or 0) / 1000) / 60 if job.start_time else 0.0
    return f"{str(job.status.value).lower()} {minutes:.1f} min"


def command_line(job: JobDetails) -> str:
    """What was launched, from the job's own command."""
    words = shlex.split(job.entrypoint.rpartition("exec ")[2])
    return shlex.join(words[4:])
