"""Decides the state of planned cells: from their records, their data, and what they would depend on today."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from bench.contract import BenchError, Needs, Stage, Track
from bench.declarations import Declared, declared_stages, shard_key, shard_keys
from bench.plan.model import PlannedCell, PlannedStage, State
from bench.registry import Registry, mistake
from bench.store import provenance
from bench.store.code import closure
from bench.store.provenance import Dependencies

if TYPE_CHECKING:
    from bench.store.committed.layers import Layered
    from bench.store.committed.reading import CommittedRecords
    from bench.store.records import Store
    from bench.store.summaries import RecordSummary

ENDED_BADLY = ("failed", "oom", "timeout", "diverged")


@dataclass(frozen=True, slots=True)
class _Stages:
    """The stages that a method may read on a task (with one seed, if there are others for others): as
    declared, the keys of their shards, name -> digest of those that are built, and why some of these are
    stale.
    """

    declared: list[Stage]
    shards: tuple[str, ...]
    digests: Mapping[str, str]
    stale: list[str]


class StateMarker:
    """Sets the state of each cell, and collects the stages that the cells to run need.

    Everything that several cells share (the identity of a task's data, the stages of a method on a task, the
    causes for which records are stale) is computed once. Draws of a search may have run settings of their
    own, so these are a part of what cells share: by identity, since a plan keeps its settings.
    """

    def __init__(
        self,
        store: Store | Layered | CommittedRecords | None,
        summaries: Mapping[str, RecordSummary],
        registry: Registry,
    ) -> None:
        self.store, self.summaries = store, summaries
        self.code = closure.code(registry.plugin_files())
        self.stages: dict[str, PlannedStage] = {}
        self._data: dict[tuple[str, str, int], tuple[str | None, str | None]] = {}
        self._by_method: dict[tuple[str, str, str, int, int | None], _Stages] = {}
        self._by_row: dict[tuple[Any, ...], Dependencies] = {}
        self._seeds: dict[tuple[str, str, str, int], bool] = {}
        self._packages: dict[tuple[str, str, str, int], str | None] = {}
        self._causes: dict[tuple[Any, ...], list[str]] = {}
        self._declared: dict[int, Declared] = {}
        self._digests: dict[str, str] = {}
        self._stale_shards: dict[tuple[str, int], list[str]] = {}
        self._listings: dict[str, tuple[tuple[str, str], ...] | None] = {}

    def mark(self, c: PlannedCell) -> None:
        """Set the state, reason, causes, dependencies and stages of one cell."""
        stages = self._stages(c)
        c.may_read = stages.shards
        c.summary, c.dependencies = self.summaries.get(c.key), self._dependencies(c)
        if c.summary is not None and c.summary.status != "skipped":
            c.causes = self._causes_of(c.summary, c.dependencies) + stages.stale
        c.state, c.reason = _state(c, self._data_of(c)[0] or self._package_of(c))
        if c.state in ("new", "stale", "failed") and not c.skip:
            c.reads = tuple(k for s in stages.declared for k in self._plan_shards(s, c))
            broken = [k for k in c.reads if self._broken(k)]
            if c.summary is not None and c.summary.status == "skipped" and c.state == "new" and broken:
                # It was skipped for a stage that still fails, so it is failed as the stage is, and shown as
                # skipped.
                c.state, c.reason = "failed", f"skipped: {c.summary.reason}"

    def _causes_of(self, record: RecordSummary, today: Dependencies) -> list[str]:
        """Why the record of a cell is stale. A published record read stages that were built on another
        machine, whose files may differ in their last bits; that does not make it stale.
        """
        facts = (record.ran_with, record.built_by, record.stages, today)  # shared by thousands of records
        at = (*map(id, facts), record.code, record.data, record.commit, record.layer)
        if at not in self._causes:
            expected = replace(today, stages={}) if record.layer else today
            self._causes[at] = provenance.causes(record, expected, self._listing)
        return self._causes[at]

    def _dependencies(self, c: PlannedCell) -> Dependencies:
        """What a record of a cell would depend on today."""
        track, run, data = c.plan.track, c.plan.run, self._data_of(c)[1]
        words = tuple(v for v in c.cell.hp.values() if isinstance(v, str))
        at = (track.name, c.task.name, c.cell.row, id(run), words, self._seed_of(c))
        if at not in self._by_row:
            stages = self._stages(c)
            read = stages.declared if data is not None else []
            built_by = {s.name: self.code.of_stage(track, s) for s in read}
            code = self.code.of_cell(track, c.found.method, c.cell.hp)
            ran_with = provenance.ran_with(track, c.task, run, read)
            self._by_row[at] = Dependencies(
                code=code,
                ran_with=ran_with,
                data=data,
                stages=stages.digests if read else {},
                built_by=built_by,
            )
        return self._by_row[at]

    def _data_of(self, c: PlannedCell) -> tuple[str | None, str | None]:
        """Why the data of a task are missing, or their identity; asked of the track once for each task."""
        at = (c.plan.track.name, c.task.name, id(c.plan.run))
        if at not in self._data:
            why = c.plan.track.missing(c.task, c.plan.run)
            self._data[at] = (why, None if why else c.plan.track.fingerprint(c.task, c.plan.run))
        return self._data[at]

    def _package_of(self, c: PlannedCell) -> str | None:
        """Which package the method of a cell takes that is not here; asked of it once for each task.

        A row that skips the task needs none there.
        """
        missing = c.found.method.missing
        if missing is None or c.skip:
            return None
        at = (c.plan.track.name, c.task.name, c.found.method.id, id(c.plan.run))
        if at not in self._packages:
            self._packages[at] = missing(c.task, c.plan.run)
        return self._packages[at]

    def _seed_of(self, c: PlannedCell) -> int | None:
        """The seed of a cell if cells of other seeds read other stages, else None."""
        at = (c.plan.track.name, c.task.name, c.found.method.id, id(c.plan.run))
        if at not in self._seeds:
            self._seeds[at] = any(s.per_seed for s in self._declared_by(c))
        return c.cell.seed if self._seeds[at] else None

    def _listing(self, name: str) -> tuple[tuple[str, str], ...] | None:
        """The definitions behind the name of a code, None if they are not stored."""
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

    def _stages(self, c: PlannedCell) -> _Stages:
        """The stages that a cell may read."""
        run = id(c.plan.run)
        at = (c.plan.track.name, c.task.name, c.found.method.id, run, self._seed_of(c))
        if at not in self._by_method:
            stages = self._declared_by(c)
            digests = {s.name: d for s in stages if (d := self._digest(s))}
            old = {s.name: self._stale(s, c.plan.track) for s in stages}
            stale = [f"stage {name} is stale: {_brief(why)}" for name, why in old.items() if why]
            shards = tuple(k for s in stages for k in shard_keys(s))
            self._by_method[at] = _Stages(stages, shards, digests, stale)
        return self._by_method[at]

    def _declared_by(self, c: PlannedCell) -> list[Stage]:
        """The stages that the method and the track of a cell declare.

        Raises:
            BenchError: a function that gives them raised an exception, which is named with its line.
        """
        try:
            cache = self._declared.setdefault(id(c.plan.run), {})
            return declared_stages(c.plan.track, c.found.method, c.task, c.plan.run, c.cell.seed, cache)
        except BenchError:
            raise
        except Exception as e:
            where = mistake(e, c.found.origin.path)
            raise BenchError(f"{where} (asked for the stages of {c.row} on {c.task.name})") from e

    def _digest(self, stage: Stage) -> str:
        """Digest of a stage that is completely built, else ""."""
        if self.store is None:
            return ""
        if stage.address not in self._digests:
            self._digests[stage.address] = self.store.artifacts.stage_digest(stage) or ""
        return self._digests[stage.address]

    def _has(self, stage: Stage, shard: int) -> bool:
        return self.store is not None and self.store.artifacts.has_shard(stage.address, shard)

    def _stale(self, stage: Stage, track: Track) -> list[str]:
        """Why a built stage is not what would be built today; empty if it is, or if it is not built."""
        return [why for i in range(stage.shards) for why in self._stale_shard(stage, i, track)]

    def _stale_shard(self, stage: Stage, shard: int, track: Track) -> list[str]:
        """The same for one shard, decided by its record. A shard that ships with the package has no record:
        it is never stale, and built again only by `bench artifacts build`.
        """
        at = stage.address, shard
        if at not in self._stale_shards:
            record = self.summaries.get(shard_key(stage, shard))
            if record is not None and self._has(stage, shard):
                self._stale_shards[at] = self._why_stale(stage, record, track)
            else:
                self._stale_shards[at] = []
        return self._stale_shards[at]

    def _why_stale(self, stage: Stage, record: RecordSummary, track: Track) -> list[str]:
        if record.status != "ok":  # it was stale, and building it again failed
            return [f"building it again ended as {record.status}"]
        reads = {s.name: d for s in stage.stages if (d := self._digest(s))}
        causes = self._stage_causes(stage, record, track, reads)
        return causes + [f"stage {s.name} is stale" for s in stage.stages if self._stale(s, track)]

    def _stage_causes(
        self, stage: Stage, record: RecordSummary, track: Track, reads: Mapping[str, str]
    ) -> list[str]:
        """Why the record of a stage is stale. Its settings and its data are part of its address."""
        today = Dependencies(code=self.code.of_stage(track, stage), stages=reads)
        return provenance.causes(record, today, self._listing)

    def _plan_shards(self, stage: Stage, c: PlannedCell) -> list[str]:
        """Plan the shards of a stage that are not built or are stale, and return their keys. Stale ones are
        built again whether or not stale cells are run: no cell of today reads a stage that older code built.
        """
        if self._digest(stage) and not self._stale(stage, c.plan.track):
            return []
        reads = tuple(k for s in stage.stages for k in self._plan_shards(s, c))
        keys = []
        for shard in range(stage.shards):
            key = shard_key(stage, shard)
            old = self._stale_shard(stage, shard, c.plan.track)
            if not old and self._has(stage, shard):
                continue
            keys.append(key)
            if key not in self.stages:
                record = self.summaries.get(key)
                planned = PlannedStage(stage, shard, key, c.task, c.found, c.plan, reads=reads)
                planned.code = self.code.of_stage(c.plan.track, stage)
                if record is not None:
                    planned.seen, planned.generation = record.ended, record.generation + 1
                if old and record is not None:
                    planned.state, planned.reason, planned.replaces = "stale", _brief(old), record.ended
                if record is not None and record.status in ENDED_BADLY:
                    current = self._stage_causes(stage, record, c.plan.track, record.stages)
                    if not current and not _limited(record, stage.needs):
                        planned.state, planned.reason = "failed", f"{record.status}: {record.error}"
                self.stages[key] = planned
        return keys


def _brief(causes: Sequence[str]) -> str:
    """The first of several causes, and how many more there are."""
    distinct = [*dict.fromkeys(causes)]
    return distinct[0] + (f" (and {len(distinct) - 1} more)" if len(distinct) > 1 else "")


def _limited(record: RecordSummary, needs: Needs) -> bool:
    """Whether a cell ended at a limit that is higher today."""
    if record.status not in ("timeout", "oom") or not record.limits:
        return False
    then = Needs(**{k: v for k, v in record.limits.items() if k in asdict(needs)})
    return then.below(needs)


def _state(c: PlannedCell, missing: str | None) -> tuple[State, str]:
    """The state of a cell from its record, its data and today's code, and the reason for it."""
    record = c.summary
    if record is not None and record.status == "ok" and not c.causes:
        return "done", ""  # a number counts, whether or not its data are still here
    if record is not None and record.status == "skipped" and c.skip:
        return "done", record.reason  # a declared reason counts as long as it is declared
    if missing:
        return "blocked", missing
    if c.skip:
        return "new", c.skip
    if record is None or record.status in ("lost", "skipped") or _limited(record, c.needs):
        return "new", ""
    if record.status == "ok":
        return "stale", ""
    # A failed cell whose code changed has no number that could be lost: it is simply run again.
    return ("new", "") if c.causes else ("failed", f"{record.status}: {record.error}")
