"""From a unit of work to its record: fetch its stages, run it, retry by cause, keep its artifacts, write the
record.

The same code runs in a thread of the driver (``--local``) and in a Ray actor; it is the only writer of
records of cells that ran.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.contract import BenchError, Needs, Record, digest
from bench.engine.job import Job, load_declared, run_settings
from bench.engine.forkserver import Outcome, ForkServer, remove
from bench.store import provenance
from bench.store.code import closure
from bench.store.code.names import Closure
from bench.store.records import Store
from bench.store.files import StoreError

LOST_RETRIES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One cell or stage shard to be done. ``reads``: keys of stage shards that must be there first.
    ``replaces``: when the stage shard was built that is stale and gives way, else "". ``seen``: when the
    record ended that the plan saw, else ""; ``generation``: of its record to be, one more than that one's.
    ``stages``: keys of all stage shards that it may read; ``built``: of those that have a record, the seconds
    that building took.
    """

    job: Job
    needs: Needs
    label: str
    data: str = ""
    reads: tuple[str, ...] = ()
    replaces: str = ""
    generation: int = 0
    seen: str = ""
    stages: tuple[str, ...] = ()
    built: Mapping[str, float] = field(default_factory=dict)
    fallback: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    attempt: int = 1

    @property
    def key(self) -> str:
        """Key of its record."""
        return self.job.key


def do(
    unit: Unit,
    pool: ForkServer,
    store: Store,
    *,
    cancel: threading.Event | None = None,
    gpus: Sequence[int] = (),
) -> Record | None:
    """Do a unit and write its record; None if it was cancelled (then the cell stays new).

    That nobody else does it at the same time is the caller's business (`bench.engine.claims`). ``gpus``:
    which devices the child may see where the caller places it; else as this process's environment says.

    Raises:
        StoreError: the store cannot be written; the cell stays new and the sweep must stop.
    """
    return _Doing(unit, pool, store, cancel, gpus).run()


class _Doing:
    """One unit being done: what is known of it before, during and after its runs."""

    def __init__(
        self,
        unit: Unit,
        pool: ForkServer,
        store: Store,
        cancel: threading.Event | None,
        gpus: Sequence[int],
    ) -> None:
        self.unit, self.pool, self.store, self.cancel = unit, pool, store, cancel
        self.started, self.attempt, self.marks = provenance.now(), unit.attempt, list[str]()
        rests = _rests(unit, store)
        self.dependencies, self.stages, self.shared = rests, rests.digests, rests.shared
        here = str(store.artifacts.checkpoint_dir(unit.key)) if unit.job.kind == "cell" else None
        visible = ",".join(map(str, gpus)) if gpus else os.environ.get("CUDA_VISIBLE_DEVICES")
        by = digest([rests.code.name, rests.ran_with, unit.data, dict(self.stages)])
        self.job = dataclasses.replace(
            unit.job, stages=rests.paths, visible=visible, checkpoints=here, made_by=by
        )

    def run(self) -> Record | None:
        """Run it, again by cause, and write its record."""
        while True:
            outcome = self.pool.run(self.job, self.unit.needs, cancel=self.cancel)
            try:
                if outcome.status is None:
                    return None
                if self._again(outcome):
                    self.attempt += 1
                    continue
                record = self._written(outcome)
                if outcome.status != "lost":
                    self.store.artifacts.drop_checkpoint(self.unit.key)
                return record
            finally:
                remove(outcome)

    def _again(self, outcome: Outcome) -> bool:
        """Whether to try once more: killed from outside a few times, out of memory once with the fallback."""
        if outcome.status == "oom" and self.unit.fallback and not self.marks:
            self.marks = [f"fallback: {', '.join(f'{k}={v}' for k, v in self.unit.fallback.items())}"]
            self.job = dataclasses.replace(self.job, hp={**self.job.hp, **self.unit.fallback})
            self.store.artifacts.drop_checkpoint(self.unit.key)
            return True
        return outcome.status == "lost" and self.attempt <= LOST_RETRIES

    def _written(self, outcome: Outcome) -> Record:
        """Write the record. What the store does not take (ids that repeat, a view that is no picture) is a
        fault of this cell alone, not of the sweep.
        """
        try:
            record = self._record(outcome)
            self.store.write(record)
        except StoreError:
            raise
        except BenchError as e:
            error = {"type": type(e).__name__, "message": str(e), "last_lines": outcome.log[-15:]}
            refused = dataclasses.replace(outcome, status="failed", reason="", result={}, error=error)
            record = self._record(refused)
            self.store.write(record)
        return record

    def _record(self, outcome: Outcome) -> Record:
        result, job, artifacts = outcome.result, self.job, self.store.artifacts
        made = {
            "code": artifacts.put(self.dependencies.code.listing, "json"),
            "ran_with": self.dependencies.ran_with,
            "data": self.unit.data,
            "stages": self.stages,
            "built_by": {k: artifacts.put(v.listing, "json") for k, v in self.dependencies.built_by.items()},
            "packages": provenance.packages(),
            **provenance.commit(),
        }
        cost = {k: round(v, 4) for k, v in result.get("cost", {}).items()}
        if outcome.status != "ok":
            cost.setdefault("run_s", round(outcome.wall_s, 4))
        cost["peak_mem_mb"] = round(outcome.peak_mem_mb, 1)
        if job.kind == "stage" and outcome.status == "ok" and outcome.folder is not None:
            made["artifact"] = artifacts.put_stage(
                job.address, job.shard, outcome.folder / "out", replace=bool(self.unit.replaces)
            )
        here = {**provenance.environment(job.visible), "threads": job.threads, "device": job.device}
        return Record(
            key=self.unit.key,
            kind="stage" if job.kind == "stage" else "cell",
            cell=dict(job.cell),
            status=outcome.status or "lost",
            reason=outcome.reason,
            metrics=result.get("metrics", {}),
            series=result.get("series", {}),
            units={k: artifacts.put_units(v) for k, v in result.get("units", {}).items()},
            views={k: artifacts.put_view(v) for k, v in result.get("views", {}).items()},
            curve=result.get("curve", ()),
            history=result.get("history", ()),
            cost={**cost, "shared_s": self.shared} if self.shared else cost,
            limits=asdict(self.unit.needs),
            where=here,
            provenance=made,
            error=outcome.error,
            log=outcome.log[-20:],
            marks=self.marks,
            attempts=self.attempt,
            started=self.started,
            ended=provenance.now(),
            generation=self.unit.generation,
        )


@dataclass(frozen=True, slots=True)
class _Rests:
    """What a job rests on: its code, its settings by value, the code of the stages that it may read, and of
    those that are there folders, digests and building times (s).
    """

    code: Closure
    ran_with: Mapping[str, Any]
    built_by: Mapping[str, Closure]
    paths: Mapping[str, str]
    digests: Mapping[str, str]
    shared: Mapping[str, float]


def _rests(unit: Unit, store: Store) -> _Rests:
    """A cell may read all stages of its track and its method, a stage those that it declares. Records are not
    read: that would be the whole store, in each worker.
    """
    from bench.stages import declared_stages, shard_key
    from bench.registry import Found

    job = unit.job
    track, method = find(job)
    run = run_settings(job, track)
    stages = declared_stages(track, Found(method, job.method, "method"), job.task, run)
    code = closure.code({**job.track.code, **job.method.code})
    if job.kind == "stage":
        built = next((s for s in stages if s.address == job.address), None)
        if built is None:
            raise BenchError(
                f"{unit.label} is not declared by the code on {platform.node()}: every machine of a sweep "
                "needs the same code"
            )
        made_of, ran_with, built_by = code.of_stage(track, built), dict[str, Any](), dict[str, Closure]()
        stages = [*built.stages]
    else:
        made_of = code.of_cell(track, method, job.cell["hp"])
        built_by = {s.name: code.of_stage(track, s) for s in stages}
        ran_with = provenance.ran_with(track, job.task, run, stages)
    paths, digests, shared = {}, {}, {}
    for stage in stages:
        path = store.artifacts.stage_path(stage)
        if path is not None:
            paths[stage.name] = str(path)
            digests[stage.name] = store.artifacts.stage_digest(stage) or ""
            took = [unit.built[k] for i in range(stage.shards) if (k := shard_key(stage, i)) in unit.built]
            if took:  # one that ships with the package has no record here
                shared[stage.name] = round(sum(took), 4)
    return _Rests(made_of, ran_with, built_by, paths, digests, shared)
