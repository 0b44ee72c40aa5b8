"""Gives planned cells their state: from their records, their data, and what they would rest on today."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.contract import BenchError, Needs, Stage, Track
from bench.stages import Declared, declared_stages, shard_key
from bench.plan import PlannedCell, PlannedStage, Dependencies, State
from bench.registry import Registry
from bench.store import provenance
from bench.store.code import closure

if TYPE_CHECKING:
    from bench.store.summaries import RecordSummary
    from bench.store.committed.layers import Layered
    from bench.store.committed.reading import CommittedRecords
    from bench.store.records import Store

ENDED_BADLY = ("failed", "oom", "timeout", "diverged")


class Marker:
    """Gives each cell its state from its record, and collects the stages that cells to run need."""

    def __init__(
        self, store: Store | Layered | CommittedRecords | None, heads: Mapping[str, RecordSummary], registry: Registry
    ) -> None:
        self.store, self.heads = store, heads
        self.code = closure.code(registry.plugin_files())
        self.stages: dict[str, PlannedStage] = {}
        self._data: dict[tuple[str, str], tuple[str | None, str | None]] = {}
        self._reads: dict[tuple[str, str, str], tuple[list[Stage], dict[str, str], list[str]]] = {}
        self._rests: dict[tuple[str, str, str], Rests] = {}
        self._said: dict[tuple[Any, ...], list[str]] = {}
        self._declared: Declared = {}
        self._digests: dict[str, str] = {}
        self._aged: dict[tuple[str, int], list[str]] = {}
        self._listings: dict[str, tuple[tuple[str, str], ...] | None] = {}

    def mark(self, c: PlannedCell) -> None:
        """Set state, reason, causes and stages of one cell."""
        stages, _, aged = self._stages(c)
        c.summary, c.dependencies = self.heads.get(c.key), self._rest(c)
        if c.summary is not None and c.summary.status != "skipped":
            c.causes = self._causes(c.summary, c.dependencies) + aged
        c.state, c.reason = _state(c, self._data_of(c)[0])
        if c.state in ("new", "stale", "failed") and not c.skip:
            c.reads = tuple(k for s in stages for k in self._need(s, c))
            broken = [k for k in c.reads if self._broken(k)]
            if c.summary is not None and c.summary.status == "skipped" and c.state == "new" and broken:
                # It was skipped for a stage that still fails: as failed as the stage, and shown as skipped.
                c.state, c.reason = "failed", f"skipped: {c.summary.reason}"

    def _causes(self, head: RecordSummary, today: Rests) -> list[str]:
        """Why a cell's record is stale. A published one read the stages of where it ran: that those built
        here have other bits, as another processor makes them, says nothing about it.
        """
        facts = (head.ran_with, head.built_by, head.stages, today)  # shared by thousands of records
        at = (*map(id, facts), head.code, head.data, head.commit, head.layer)
        if at not in self._said:
            self._said[at] = provenance.causes(
                head, code=today.code, ran_with=today.ran_with, data=today.data,
                stages={} if head.layer else today.stages, built_by=today.built_by, listing=self._listing,
            )  # fmt: skip
        return self._said[at]

    def _rest(self, c: PlannedCell) -> Rests:
        track, run, data = c.plan.track, c.plan.run, self._data_of(c)[1]
        at = (track.name, c.task.name, c.cell.row)
        if at not in self._rests:
            stages, digests, _ = self._stages(c)
            read = stages if data is not None else []
            built_by = {s.name: self.code.of_stage(track, s) for s in read}
            code = self.code.of_cell(track, c.found.method, c.cell.hp)
            ran_with = provenance.ran_with(track, c.task, run, read)
            self._rests[at] = Rests(code, ran_with, data, digests if read else {}, built_by)
        return self._rests[at]

    def _data_of(self, c: PlannedCell) -> tuple[str | None, str | None]:
        """Why a task's data are missing, or their fingerprint."""
        at = (c.plan.track.name, c.task.name)
        if at not in self._data:
            why = c.plan.track.missing(c.task, c.plan.run)
            self._data[at] = (why, None if why else c.plan.track.fingerprint(c.task, c.plan.run))
        return self._data[at]

    def _listing(self, name: str) -> tuple[tuple[str, str], ...] | None:
        """The definitions behind the name of a code, if they are kept."""
        if name not in self._listings:
            try:
                found = None if self.store is None else self.store.artifacts.get(name)
                self._listings[name] = None if found is None else closure.unpack_listing(found)
            except BenchError:
                self._listings[name] = None
        return self._listings[name]

    def _broken(self, key: str) -> bool:
        stage = self.stages[key]
        return stage.state == "failed" or any(self._broken(k) for k in stage.reads)

    def _stages(self, c: PlannedCell) -> tuple[list[Stage], dict[str, str], list[str]]:
        """The stages that a cell may read, the digests of those that are there, and why some are stale."""
        at = (c.plan.track.name, c.task.name, c.found.method.id)
        if at not in self._reads:
            stages = declared_stages(c.plan.track, c.found, c.task, c.plan.run, self._declared)
            digests = {s.name: d for s in stages if (d := self._digest(s))}
            old = {s.name: self._old(s, c.plan.track) for s in stages}
            aged = [f"stage {name} is stale: {_brief(why)}" for name, why in old.items() if why]
            self._reads[at] = (stages, digests, aged)
        return self._reads[at]

    def _digest(self, stage: Stage) -> str:
        """Digest of a stage that is there whole, else ""."""
        if self.store is None:
            return ""
        if stage.address not in self._digests:
            self._digests[stage.address] = self.store.artifacts.stage_digest(stage) or ""
        return self._digests[stage.address]

    def _has(self, stage: Stage, shard: int) -> bool:
        return self.store is not None and self.store.artifacts.has_shard(stage.address, shard)

    def _old(self, stage: Stage, track: Track) -> list[str]:
        """Why a stage that is there is not what would be built today; empty if it is, or is not there."""
        return [why for i in range(stage.shards) for why in self._old_shard(stage, i, track)]

    def _old_shard(self, stage: Stage, shard: int, track: Track) -> list[str]:
        """The same of one shard. Judged by its record, which one that ships with the package has not: that is
        built anew on purpose only (`bench artifacts build`).
        """
        at = stage.address, shard
        if at not in self._aged:
            head = self.heads.get(shard_key(stage, shard))
            if head is not None and self._has(stage, shard):
                self._aged[at] = self._outdated(stage, head, track)
            else:
                self._aged[at] = []
        return self._aged[at]

    def _outdated(self, stage: Stage, head: RecordSummary, track: Track) -> list[str]:
        if head.status != "ok":  # it was stale, and building it anew failed
            return [f"building it again ended as {head.status}"]
        reads = {s.name: d for s in stage.stages if (d := self._digest(s))}
        words = self._stage_causes(stage, head, track, reads)
        return words + [f"stage {s.name} is stale" for s in stage.stages if self._old(s, track)]

    def _stage_causes(self, stage: Stage, head: RecordSummary, track: Track, reads: Mapping[str, str]) -> list[str]:
        """Why a stage's record is stale. What it was built with is in its address, its data too."""
        return provenance.causes(
            head, code=self.code.of_stage(track, stage), ran_with={}, data=None, stages=reads, built_by={},
            listing=self._listing,
        )  # fmt: skip

    def _need(self, stage: Stage, c: PlannedCell) -> list[str]:
        """Plan the shards of a stage that are not there yet or are stale; their keys. Whether or not stale
        cells are to run: one that runs today never reads a stage that other code built.
        """
        if self._digest(stage) and not self._old(stage, c.plan.track):
            return []
        reads = tuple(k for s in stage.stages for k in self._need(s, c))
        keys = []
        for shard in range(stage.shards):
            key = shard_key(stage, shard)
            old = self._old_shard(stage, shard, c.plan.track)
            if not old and self._has(stage, shard):
                continue
            keys.append(key)
            if key not in self.stages:
                head = self.heads.get(key)
                planned = PlannedStage(stage, shard, key, c.task, c.found, c.plan, reads=reads)
                planned.code = self.code.of_stage(c.plan.track, stage)
                if head is not None:
                    planned.seen, planned.generation = head.ended, head.generation + 1
                if old and head is not None:
                    planned.state, planned.reason, planned.replaces = "stale", _brief(old), head.ended
                if head is not None and head.status in ENDED_BADLY:
                    current = self._stage_causes(stage, head, c.plan.track, head.stages)
                    if not current and not _limited(head, stage.needs):
                        planned.state, planned.reason = "failed", f"{head.status}: {head.error}"
                self.stages[key] = planned
        return keys


def _brief(words: Sequence[str]) -> str:
    """The first of several causes, and how many more there are."""
    distinct = [*dict.fromkeys(words)]
    return distinct[0] + (f" (and {len(distinct) - 1} more)" if len(distinct) > 1 else "")


def _limited(head: RecordSummary, needs: Needs) -> bool:
    """Whether a record ended at a limit that is higher today."""
    if head.status not in ("timeout", "oom") or not head.limits:
        return False
    then = Needs(**{k: v for k, v in head.limits.items() if k in asdict(needs)})
    return then.below(needs)


def _state(c: PlannedCell, missing: str | None) -> tuple[State, str]:
    """The state of a cell from its record, its data and today's code, and the reason for it."""
    head = c.summary
    if head is not None and head.status == "ok" and not c.causes:
        return "done", ""  # a number stands, whether or not its data are still here
    if head is not None and head.status == "skipped" and c.skip:
        return "done", head.reason  # a declared reason stands as long as it is declared
    if missing:
        return "blocked", missing
    if c.skip:
        return "new", c.skip
    if head is None or head.status in ("lost", "skipped") or _limited(head, c.needs):
        return "new", ""
    if head.status == "ok":
        return "stale", ""
    # One that failed and whose code changed has nothing to lose: it is simply to be run.
    return ("new", "") if c.causes else ("failed", f"{head.status}: {head.error}")
