"""`bench accept KEY… --reason TEXT`: a change proven harmless, visibly."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.common import PluginOption, Session, StoreOption, SuiteOption, console, escape
from bench.cli.why import find
from bench.contract import BenchError, Stage
from bench.plan import all_stages, stage_key

if TYPE_CHECKING:
    from bench.store.records import Store


def command(
    key: Annotated[list[str], typer.Argument(help="Keys of stale cells, or enough of their beginnings.")],
    reason: Annotated[
        str, typer.Option("--reason", help="Why the change changes no number; shown on the board.")
    ],
    suite: SuiteOption = None,
    store: StoreOption = None,
    plugin: PluginOption = [],  # noqa: B006
) -> None:
    """Stamp stale records with today's code and data, and the stale stages that they read. The board marks
    them with ‡ and your reason.
    """
    from bench.store.publish import accept

    if not reason.strip():
        raise BenchError("--reason: say why the change changes no number")
    session = Session.open(suite, store, plugin)
    for start in key:
        match = session.store.match(start)
        c = find(session, match)
        if c is None:
            raise BenchError(f"no profile plans {match} today; bench why {match} says more")
        if not c.causes:
            console.print(f"{match} is not stale: nothing to accept")
            continue
        stages = all_stages(c.plan.track, c.found, c.task, c.plan.run)
        digests = {s.name: d for s in stages if (d := session.store.artifacts.stage_digest(s))}
        data = c.plan.track.fingerprint(c.task, c.plan.run)
        extra = session.registry.plugin_files()
        for stage in stages:
            _accept_stage(session.store, stage, c.reads, reason, digests, extra)
        accept(session.store, match, reason, data=data, stages=digests, extra=extra)
        console.print(f"{match} accepted: {escape(reason)}")


def _accept_stage(
    store: Store,
    stage: Stage,
    stale: Collection[str],
    reason: str,
    digests: Mapping[str, str],
    extra: Mapping[str, Path],
) -> None:
    """Stamp the stale shards of a stage; then no other cell is stale for them either."""
    from bench.store.publish import accept

    for shard in range(stage.shards):
        key = stage_key(stage, shard)
        record = store.read(key) if key in stale and store.artifacts.has_shard(stage.address, shard) else None
        if record is None or record.status != "ok":
            continue
        reads = {s.name: digests[s.name] for s in stage.stages if s.name in digests}
        accept(store, key, reason, data=record.provenance.get("data", ""), stages=reads, extra=extra)
        console.print(
            f"stage {stage.name}{f' {shard + 1}/{stage.shards}' if stage.shards > 1 else ''} accepted"
        )
