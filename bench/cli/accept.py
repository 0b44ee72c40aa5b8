"""`bench accept KEY… --reason TEXT`: a change proven harmless, visibly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from bench.cli.common import PluginOption, Session, StoreOption, SuiteOption, console, escape
from bench.cli.why import find
from bench.contract import BenchError, Stage
from bench.plan import PlannedCell, all_stages, shard_label, stage_key


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
        for stage in stages:
            _accept_stage(session, c, stage, digests, reason)
        accept(session.store, match, reason, data=data, stages=digests, extra=session.registry.plugin_files())
        console.print(f"{match} accepted: {escape(reason)}")


def _accept_stage(
    session: Session, c: PlannedCell, stage: Stage, digests: Mapping[str, str], reason: str
) -> None:
    """Stamp the stale shards of a stage that a cell reads; then no other cell is stale for them either."""
    from bench.store.publish import accept

    store, extra = session.store, session.registry.plugin_files()
    for shard in range(stage.shards):
        key = stage_key(stage, shard)
        there = key in c.reads and store.artifacts.has_shard(stage.address, shard)
        record = store.read(key) if there else None
        if record is None or record.status != "ok":
            continue
        reads = {s.name: digests[s.name] for s in stage.stages if s.name in digests}
        accept(store, key, reason, data=record.provenance.get("data", ""), stages=reads, extra=extra)
        console.print(f"stage {shard_label(stage, shard)} accepted")
