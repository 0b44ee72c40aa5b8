"""`bench logs`: what the driver of a launched sweep wrote."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli.options import Options, takes
from bench.cli.sweep.launch import JobsOption, follow

SweepArgument = Annotated[
    str, typer.Argument(metavar="KEY", help="The key that bench launch gave (default: the sweep that runs).")
]


@takes()
def command(
    options: Options,
    key: SweepArgument = "",
    following: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the sweep has ended.")
    ] = False,
    address: JobsOption = None,
) -> None:
    """Print the log of a sweep that was launched on a cluster; with -f as it is written, until Ctrl-C."""
    from bench.cluster import jobs

    client, server = jobs.connect(address)
    found = str(jobs.find(client, key, server.url).submission_id)
    if following:
        follow(client, found, server.url)
    else:
        typer.echo(jobs.logs(client, found), nl=False)
