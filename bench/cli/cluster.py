"""`bench cluster init`: a file that starts a cluster for what is to be run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.console import console, escape
from bench.cli.options import Options, takes
from bench.cli.session import Session
from bench.cli.sweep.plan import hours
from bench.contract import BenchError
from bench.errors import nearest

ACTIONS = ("init",)


@takes("profile", "track", "method", "filter", "fresh", "store", "suite", "plugin")
def command(
    options: Options,
    action: Annotated[str, typer.Argument(help="init.")],
    kind: Annotated[str, typer.Argument(help="kuberay, slurm or aws.")],
    nodes: Annotated[
        int, typer.Option("--nodes", min=1, metavar="N", help="At most so many machines of one kind.")
    ] = 8,
    image: Annotated[
        str, typer.Option("--image", metavar="IMAGE", help="kuberay: the container image with gridbench.")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The file to write (default: gridbench-KIND)."),
    ] = None,
) -> None:
    """Write a file, with comments, that starts a Ray cluster made for the cells that are to be run.

    The machines are those that the plan's cells ask for (`needs` in bench.yaml). Token authentication is on.
    """
    from bench.cluster import shapes, templates

    if action not in ACTIONS:
        raise BenchError(f"bench cluster {action}: expected {', '.join(ACTIONS)}{nearest(action, ACTIONS)}")
    templates.check_kind(kind)
    _check_reach(kind, options, image)
    target = out or Path(templates.KINDS[kind][1])
    if target.exists():
        raise BenchError(f"{target}: exists; remove it or choose another --out")
    plan = Session.open(options).plan()
    found = shapes.shapes(plan)
    cells = shapes.wanted(plan)
    about = f"{len(cells)} cells of the profile {options.profile} are to be run: {hours(plan, cells)}."
    wanted = templates.Wanted(
        profile=options.profile,
        shapes=found,
        arguments=options.words(),
        store=options.store or "",
        image=image,
        nodes=nodes,
        about=about,
        file=target.name,
    )
    text = templates.render(kind, wanted)
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as e:
        raise BenchError(f"cannot write {target}: {e.strerror}") from e
    kinds = ", ".join(f"{s.name} for {s.cells} cells and stages" for s in found)
    console.print(f"{escape(str(target))}: {kinds}; how to use it stands at its top", soft_wrap=True)


def _check_reach(kind: str, options: Options, image: str) -> None:
    """Raise `BenchError` for what the machines of a cluster could not reach."""
    if kind != "slurm" and "://" not in (options.store or ""):
        given = f"--store {options.store}: machines" if options.store else "machines"
        raise BenchError(
            f"bench cluster init {kind}: {given} that are started for a sweep share no folder with this one; "
            "name a store that they reach with --store, such as s3://bucket/prefix"
        )
    if kind == "kuberay":
        if files := [*options.plugin, *([str(options.suite)] if options.suite else [])]:
            raise BenchError(
                f"bench cluster init kuberay: pods do not see {', '.join(files)}; put it into the image, "
                "or start the sweep with bench launch, which brings such files along"
            )
        if not image:
            raise BenchError(
                "bench cluster init kuberay: name the container image with --image; it has to hold gridbench "
                "(the file that is written says how to build it)"
            )
