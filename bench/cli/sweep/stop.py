"""`bench stop`: end a launched sweep."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli.console import console, escape
from bench.cli.options import Options, takes
from bench.cli.sweep.launch import JobsOption
from bench.cli.sweep.logs import SweepArgument


@takes()
def command(
    options: Options,
    key: SweepArgument = "",
    now: Annotated[
        bool, typer.Option("--now", help="Do not wait for the cells that run; they stay new.")
    ] = False,
    address: JobsOption = None,
) -> None:
    """End a sweep that was launched on a cluster: no cell is started any more, and those that run may end.

    The records stay, and the same `bench launch` goes on from there.
    """
    from bench.cluster import jobs

    client, server = jobs.connect(address)
    job = jobs.find(client, key, server.url)
    found = str(job.submission_id)
    if not jobs.stop(client, job, now=now):
        console.print(f"{found} has ended already")
    elif now:
        console.print(f"{found} is stopped; cells that ran stay new")
    else:
        console.print(
            f"{found} starts no more cells; those that run may end (--now does not wait). "
            f"bench logs {found} -f --address {escape(server.url)} follows it",
            soft_wrap=True,
        )
