"""`bench artifacts`: the trained networks that ship with the package, and how to train them anew."""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from bench.cli.console import console, escape
from bench.cli.options import Options, takes
from bench.cli.places import writing
from bench.contract import BenchError, Embedded
from bench.engine.context import RunStageContext
from bench.errors import nearest
from bench.registry import Registry

ACTIONS = ("list", "build")


@takes("plugin")
def command(
    options: Options,
    action: Annotated[str, typer.Argument(help="list (the default) or build.")] = "list",
    name: Annotated[str, typer.Argument(help="The artifact to build.")] = "",
    out: Annotated[Path, typer.Option("--out", help="build: folder to write into.")] = Path("artifacts"),
    device: Annotated[str, typer.Option("--device", help="build: cpu or cuda.")] = "cpu",
) -> None:
    """List the trained networks that ship with the package, or train one anew by its recipe.

    What is trained is written to --out and compared with the package's own file, which is never changed. A
    training that was killed leaves a folder there, and the same command goes on from its last checkpoint.
    """
    if action not in ACTIONS:
        raise BenchError(f"bench artifacts {action}: expected {', '.join(ACTIONS)}{nearest(action, ACTIONS)}")
    found = _found(Registry(plugins=options.plugin))
    if action == "list":
        _list(found)
    elif name not in found:
        known = ", ".join(found) or "none"
        raise BenchError(f"bench artifacts build {name!r}: there is {known}{nearest(name, list(found))}")
    else:
        _build(found[name], out, device)


def _found(registry: Registry) -> dict[str, Embedded]:
    return {e.stage.name: e for name in registry.track_names() for e in registry.track(name).embedded()}


def _list(found: dict[str, Embedded]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("artifact", "file", "size", "sha-256", "recipe"):
        table.add_column(column, no_wrap=column != "file")
    for name, e in found.items():
        if not e.file.is_file():
            table.add_row(name, escape(e.file.name), "missing", "", f"bench artifacts build {name}")
            continue
        size = e.file.stat().st_size / 1e6
        recipe = "today's" if e.recipe == e.stage.address else f"[yellow]another: {e.recipe or 'unknown'}[/]"
        table.add_row(name, escape(e.file.name), f"{size:.1f} MB", _digest(e.file)[:16], recipe)
    console.print(table)


def _build(e: Embedded, out: Path, device: str) -> None:
    log = logging.getLogger("bench.artifacts")
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler())
    target = out / e.file.name
    with writing(out):
        if target.exists():
            raise BenchError(f"{target}: exists; remove it or choose another --out")
        out.mkdir(parents=True, exist_ok=True)
    # The address is in its name: what another recipe left is not gone on with.
    folder = out / f"{e.stage.name}-{e.stage.address}"
    folder.mkdir(exist_ok=True)
    e.stage.build(RunStageContext(folder, e.stage.params, 0, 0, device, log))
    (folder / e.file.name).replace(target)
    shutil.rmtree(folder)
    same = e.file.is_file() and _digest(e.file) == _digest(target)
    console.print(f"{target}: {'the same bytes as' if same else 'other bytes than'} the package's")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
