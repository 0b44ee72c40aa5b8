"""`bench merge`: the records of one store into another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from bench.cli.console import console, errors, escape
from bench.cli.options import Options, takes
from bench.contract import BenchError, Metric
from bench.registry import Registry
from bench.store.upkeep.merging import Merged, MergingStore, Replicate, merge

#: The most cells whose differing numbers are printed.
SHOWN = 20


@takes("plugin")
def command(
    options: Options,
    into: Annotated[
        str, typer.Argument(help="The store that takes them: a folder or an fsspec URL.", metavar="INTO")
    ],
    sources: Annotated[
        list[str], typer.Argument(help="The stores whose records are brought; only read.", metavar="FROM...")
    ],
    both: Annotated[
        bool,
        typer.Option("--both", help="Bring the records of conflicts too; the one that ended last counts."),
    ] = False,
) -> None:
    """Bring the records, artifacts and stages of other stores into one store.

    A cell that two stores ran is a replicate: both records are kept, `bench show KEY --history` lists them.
    If their numbers differ although hardware, packages, code, settings and data are the same, that is a
    conflict: it is told, its record is left out, and the exit code is 1.
    """
    registry = Registry(plugins=options.plugin)
    stores = [MergingStore.existing(url) for url in sources]
    target = MergingStore.open(into)
    conflicts = 0
    for store in stores:
        merged = merge(target, store, lambda track: _metrics(registry, track), both=both)
        for note in (*store.problems, *merged.notes):
            errors.print(f"[yellow]note[/] {escape(note)}", soft_wrap=True)
        for line in _lines(store.url, target.url, merged, both):
            console.print(line, soft_wrap=True)
        conflicts += sum(r.conflict for r in merged.replicates)
    if conflicts:
        raise typer.Exit(1)


def _metrics(registry: Registry, track: str) -> Sequence[Metric] | None:
    try:
        return registry.track(track).metrics
    except BenchError:  # a track of somebody's plugin: all its metrics are compared
        return None


def _lines(source: str, target: str, merged: Merged, both: bool) -> Iterator[str]:
    """What a merge did, in sentences."""
    stages = f", and {merged.stages} built stage{'s' if merged.stages > 1 else ''}" if merged.stages else ""
    yield (
        f"{escape(source)}: {merged.added} records brought into {escape(target)}{stages}; "
        f"{merged.there} were there already"
    )
    conflicts = [r for r in merged.replicates if r.conflict]
    others = [r for r in merged.replicates if not r.conflict]
    for why, n in Counter("; ".join(r.apart) for r in others if not r.differs).most_common():
        same = f" ({escape(why)})" if why else ", made with the same"
        yield f"  {n} replicates with equal numbers{same}"
    for why, n in Counter("; ".join(r.apart) for r in others if r.differs).most_common():
        yield f"  {n} replicates with other numbers ({escape(why)})"
    yield from _numbers([r for r in others if r.differs])
    if conflicts:
        kept = "both are kept, and the one that ended last counts" if both else "left out; --both brings them"
        yield (
            f"  [red]{len(conflicts)} conflicts[/]: other numbers with the same hardware, packages, code, "
            f"settings and data: {kept}"
        )
        yield from _numbers(conflicts)


def _numbers(replicates: Sequence[Replicate]) -> Iterator[str]:
    for r in replicates[:SHOWN]:
        c = r.ours.cell
        where = f"{c['track']} · {c['task']} · {c['row']} · seed {c['seed']}"
        yield f"    {r.ours.key} {escape(where)}: {escape('; '.join(r.differs))}"
    if len(replicates) > SHOWN:
        yield f"    and {len(replicates) - SHOWN} more"
