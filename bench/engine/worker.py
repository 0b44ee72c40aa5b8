"""From a unit of work to its record: fetch its stages, run it, retry by cause, keep its artifacts, write the
record.

The same code runs in a thread of the driver (``--local``) and in a Ray actor; it is the only writer of
records of cells that ran.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from bench.contract import BenchError, Needs, Record
from bench.engine.child import Job, find, run_settings
from bench.engine.pool import Outcome, Pool, remove
from bench.store import provenance
from bench.store.records import Store, StoreError

LOST_RETRIES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One cell or stage shard to be done. ``reads``: keys of stage shards that must be there first."""

    job: Job
    needs: Needs
    label: str
    data: str = ""
    reads: tuple[str, ...] = ()
    fallback: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    attempt: int = 1

    @property
    def key(self) -> str:
        """Key of its record."""
        return self.job.key


def now() -> str:
    """Time of a record: UTC, ISO 8601, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def do(
    unit: Unit,
    pool: Pool,
    store: Store,
    *,
    cancel: threading.Event | None = None,
    tell: Callable[[str, Any], None] | None = None,
    gpus: Sequence[int] = (),
) -> Record | None:
    """Do a unit and write its record; None if it was cancelled (then the cell stays new).

    ``gpus``: which devices the child may see where the caller places it; else as this process's environment
    says.

    Raises:
        StoreError: the store cannot be written; the cell stays new and the sweep must stop.
    """
    started, attempt, marks, job = now(), unit.attempt, list[str](), unit.job
    paths, digests = _stages(job, store)
    here = str(store.artifacts.checkpoint_dir(unit.key)) if job.kind == "cell" else None
    visible = ",".join(map(str, gpus)) if gpus else os.environ.get("CUDA_VISIBLE_DEVICES")
    job = dataclasses.replace(job, stages=paths, visible=visible, checkpoints=here)
    while True:
        outcome = pool.run(job, unit.needs, cancel=cancel, tell=tell)
        try:
            if outcome.status is None:
                return None
            again = attempt
            if outcome.status == "lost" and attempt <= LOST_RETRIES:
                again = attempt + 1
            elif outcome.status == "oom" and unit.fallback and not marks:
                marks = [f"fallback: {', '.join(f'{k}={v}' for k, v in unit.fallback.items())}"]
                job = dataclasses.replace(job, hp={**job.hp, **unit.fallback})
                store.artifacts.drop_checkpoint(unit.key)
                again = attempt + 1
            if again == attempt:
                record = _kept(unit, job, outcome, digests, store, marks, attempt, started)
                if outcome.status != "lost":
                    store.artifacts.drop_checkpoint(unit.key)
                return record
            attempt = again
        finally:
            remove(outcome)


def _stages(job: Job, store: Store) -> tuple[dict[str, str], dict[str, str]]:
    """Folders and digests of the stages that a job may read and that are there."""
    from bench.plan import all_stages
    from bench.registry import Found

    track, method = find(job)
    run = run_settings(job, track)
    paths, digests = {}, {}
    for stage in all_stages(track, Found(method, job.method, "method"), job.task, run):
        path = store.artifacts.stage_path(stage) if stage.address != job.address else None
        if path is not None:
            paths[stage.name] = str(path)
            digests[stage.name] = store.artifacts.stage_digest(stage) or ""
    return paths, digests


def _kept(
    unit: Unit,
    job: Job,
    outcome: Outcome,
    stages: Mapping[str, str],
    store: Store,
    marks: list[str],
    attempt: int,
    started: str,
) -> Record:
    """Write the record. What the store does not take (ids that repeat, a view that is no picture) is a fault
    of this cell alone, not of the sweep.
    """
    try:
        record = _record(unit, job, outcome, stages, store, marks, attempt, started)
        store.write(record)
    except StoreError:
        raise
    except BenchError as e:
        error = {"type": type(e).__name__, "message": str(e), "last_lines": outcome.log[-15:]}
        facts = {k: v for k, v in outcome.result.items() if k in ("where", "provenance")}
        refused = dataclasses.replace(outcome, status="failed", reason="", result=facts, error=error)
        record = _record(unit, job, refused, stages, store, marks, attempt, started)
        store.write(record)
    return record


def _record(
    unit: Unit,
    job: Job,
    outcome: Outcome,
    stages: Mapping[str, str],
    store: Store,
    marks: list[str],
    attempt: int,
    started: str,
) -> Record:
    result = outcome.result
    provenance_of_run = dict(result.get("provenance") or _sources(job))
    provenance_of_run |= {"data": unit.data, "stages": dict(stages)}
    cost = {k: round(v, 4) for k, v in result.get("cost", {}).items()}
    if outcome.status != "ok":
        cost.setdefault("run_s", round(outcome.wall_s, 4))
    cost["peak_mem_mb"] = round(outcome.peak_mem_mb, 1)
    if job.kind == "stage" and outcome.status == "ok" and outcome.folder is not None:
        digest = store.artifacts.put_stage(job.address, job.shard, outcome.folder / "out")
        provenance_of_run["artifact"] = digest
    return Record(
        key=unit.key,
        kind="stage" if job.kind == "stage" else "cell",
        cell=dict(job.cell),
        status=outcome.status or "lost",
        reason=outcome.reason,
        metrics=result.get("metrics", {}),
        series=result.get("series", {}),
        units={k: store.artifacts.put_units(v) for k, v in result.get("units", {}).items()},
        views={k: store.artifacts.put_view(v) for k, v in result.get("views", {}).items()},
        curve=result.get("curve", ()),
        history=result.get("history", ()),
        cost=cost,
        limits=asdict(unit.needs),
        where=result.get("where")
        or {**provenance.environment(), "threads": job.threads, "device": job.device},
        provenance=provenance_of_run,
        error=outcome.error,
        log=outcome.log[-20:],
        marks=marks,
        attempts=attempt,
        started=started,
        ended=now(),
    )


def _sources(job: Job) -> dict[str, Any]:
    """Provenance of a cell that did not live to tell: the files of its method and its track."""
    files = {**job.track.code, **job.method.code}
    names = (job.track.source_name, job.method.source_name)
    sources = {n: d for n in names if (d := provenance.current_source(n, files))}
    return {"sources": sources, "packages": provenance.packages(), **provenance.commit()}
