"""From a unit of work to its record: fetch its stages, run it, retry by cause, store its artifacts and its
record.

The same code runs in a thread of the driver (``--local``) and in a Ray actor. It alone writes the records of
cells that ran.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.cache import cache_folder
from bench.contract import BenchError, Record, digest
from bench.declarations import shard_keys
from bench.engine.cluster.gpus import Use, of_this_machine
from bench.engine.forkserver import DEVICE_MEMORY, FULL, ForkServer, Outcome, remove
from bench.engine.job import Unit, load
from bench.store import provenance
from bench.store.checkpoints import Checkpoints
from bench.store.code import closure
from bench.store.files import StoreError
from bench.store.provenance import Dependencies
from bench.store.records import Store

#: How often a cell is tried again whose process, worker or node was lost.
LOST_RETRIES = 2
#: How often it is looked for a new checkpoint, and how often one is copied into an object store at most: so
#: much of its work is lost with a machine that nobody announced to be taken away.
LOOK_EVERY_S, COPY_EVERY_S = 5.0, 60.0
#: The least room in the folders for temporary files and for the cache.
ROOM_GB = 1.0
#: The GPUs of this machine, and the cells of this process on them.
GPUS = of_this_machine()


class CrowdedError(BenchError):
    """A cell that shared a GPU ran out of memory or of time: the others may be the cause, so that it is to
    run again alone before this counts.
    """


class NoRoomError(BenchError):
    """A folder of this machine is full that every cell needs: it is not held against the cell."""


def room_gb() -> dict[str, float]:
    """Folder -> free space, of the folders for temporary files and for the cache, or of what is above it."""
    found = {}
    for folder in (Path(tempfile.gettempdir()), cache_folder()):
        there = next(p for p in (folder, *folder.parents) if p.exists())
        found[str(folder)] = shutil.disk_usage(there).free / 2**30
    return found


def lacking_room(free: Mapping[str, float]) -> str:
    """Which of the folders is too full for a cell and what helps, "" if none is."""
    for folder, gb in free.items():
        if gb < ROOM_GB:
            return (
                f"{gb:.2f} GB are free in {folder}, a cell may need {ROOM_GB:g}: make room there, or name "
                "another folder (TMPDIR, BENCH_CACHE)"
            )
    return ""


def check_room(store: Store) -> None:
    """After a cell found no room on a disk, and its own files are removed: was it the machine's fault?

    Raises:
        NoRoomError: there still is none for any cell.
        StoreError: the store is a folder, and its disk is full.
    """
    if why := lacking_room(room_gb()):
        raise NoRoomError(why)
    if store.full():
        raise StoreError(f"no room is left on the disk of store {store.url}")


def run_unit(
    unit: Unit,
    server: ForkServer,
    store: Store,
    *,
    cancel: threading.Event | None = None,
    visible: str | None = None,
    leaving: threading.Event | None = None,
    wrote: Callable[[str], None] = lambda file: None,
) -> Record | None:
    """Run a unit to its end and write its record; None if it was cancelled (then the cell stays new).

    The caller makes sure that no other driver runs it at the same time (`bench.engine.leases`).

    Args:
        unit: what to run.
        server: the fork server that runs it.
        store: where stages are read from and the record is written to.
        cancel: ends the run once it is set.
        visible: the GPUs that the process may use, as ``CUDA_VISIBLE_DEVICES`` says it; None: those that this
            process's environment allows.
        leaving: set once this machine is about to be taken away: then each checkpoint is copied at once.
        wrote: told the file of the record, "" if it was cancelled.

    Raises:
        NoRoomError: this machine has no room for cells; the cell stays new and may run elsewhere.
        CrowdedError: others on its GPU may have ended it; the cell stays new and is to run again alone.
        StoreError: the store cannot be written; the cell stays new and the sweep must stop.
    """
    try:
        execution = _Execution(unit, server, store, cancel, visible, leaving or threading.Event())
        record = execution.run()
        wrote(execution.file)
        return record
    except StoreError as error:
        # What is fetched from the store is written to this machine's cache.
        full = isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL
        if full and (why := lacking_room(room_gb())):
            raise NoRoomError(why) from error
        raise


class _Execution:
    """One unit while it is run: what is known of it before, during and after its attempts."""

    def __init__(
        self,
        unit: Unit,
        server: ForkServer,
        store: Store,
        cancel: threading.Event | None,
        visible: str | None,
        leaving: threading.Event,
    ) -> None:
        self.unit, self.server, self.store, self.cancel = unit, server, store, cancel
        self.leaving, self.file = leaving, ""
        self.started, self.attempt, self.marks = provenance.now(), unit.attempt, list[str]()
        self.gpu = Use(frozenset())
        found = _find(unit, store)
        self.dependencies, self.shared = found.dependencies, found.shared
        today = self.dependencies
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
        by = digest([today.code.name, today.ran_with, today.data, dict(today.stages)])
        self.checkpoints = store.artifacts.checkpoints(unit.key, by)
        here = str(self.checkpoints.folder.path) if unit.job.kind == "cell" else None
        own = {name: value for name, value in os.environ.items() if name.startswith("BENCH_")}
        self.job = dataclasses.replace(
            unit.job, stages=found.paths, visible=visible, checkpoints=here, made_by=by, environment=own
        )

    def run(self) -> Record | None:
        """Run the unit, again where the cause of its end allows it, and write its record."""
        if self.job.checkpoints:
            self.checkpoints.fetch()
        while True:
            outcome = self._attempt()
            try:
                if outcome.status in (None, "lost"):  # it may go on elsewhere
                    with suppress(StoreError):
                        self.checkpoints.put()
                if outcome.status is None:
                    return None
                if outcome.no_room:
                    remove(outcome)
                    check_room(self.store)
                self._check_alone(outcome)
                if self._again(outcome):
                    self.attempt += 1
                    continue
                record = self._written(outcome)
                if outcome.status != "lost":
                    self.checkpoints.drop()
                return record
            finally:
                remove(outcome)

    def _attempt(self) -> Outcome:
        visible = self.job.visible if self.unit.needs.gpu > 0 else None
        try:
            with GPUS.used(visible) as self.gpu, copied(self.checkpoints, self.leaving):
                return self.server.run(self.job, cancel=self.cancel)
        except OSError as error:
            if error.errno not in FULL:
                raise
            check_room(self.store)
            raise NoRoomError(f"{error.strerror}: {error.filename}") from error

    def _check_alone(self, outcome: Outcome) -> None:
        """Raise `CrowdedError` if others that share its GPU may have ended a cell."""
        ended = outcome.status == "timeout" or (outcome.status, outcome.reason) == ("oom", DEVICE_MEMORY)
        if ended and self.unit.packed and self.gpu.shared > 1:
            self.checkpoints.drop()  # what it costs alone is measured from its start
            raise CrowdedError(str(outcome.status))

    def _again(self, outcome: Outcome) -> bool:
        """Whether to try again: a few times if it was killed from outside, once with the fallback
        after oom.
        """
        if outcome.status == "oom" and self.unit.fallback and not self.marks:
            self.marks = [f"fallback: {', '.join(f'{k}={v}' for k, v in self.unit.fallback.items())}"]
            self.job = dataclasses.replace(self.job, changed_hp=self.unit.fallback)
            self.checkpoints.drop()
            return True
        return outcome.status == "lost" and self.attempt <= LOST_RETRIES

    def _written(self, outcome: Outcome) -> Record:
        """Write the record. If the store refuses what the cell returned (ids that repeat, a view that is no
        picture), the cell failed and the sweep goes on.
        """
        try:
            record = self._record(outcome)
            self.file = self.store.write(record)
        except StoreError:
            raise
        except BenchError as e:
            error = {"type": type(e).__name__, "message": str(e), "last_lines": outcome.log[-15:]}
            refused = dataclasses.replace(outcome, status="failed", reason="", result={}, error=error)
            record = self._record(refused)
            self.file = self.store.write(record)
        return record

    def _record(self, outcome: Outcome) -> Record:
        result, job, artifacts = outcome.result, self.job, self.store.artifacts
        made = {
            "code": artifacts.put_listing(self.dependencies.code.listing),
            "ran_with": self.dependencies.ran_with,
            "data": self.unit.data,
            "stages": self.dependencies.stages,
            "built_by": {k: artifacts.put_listing(v.listing) for k, v in self.dependencies.built_by.items()},
            "packages": provenance.packages(),
            **provenance.commit(),
        }
        cost = {k: round(v, 4) for k, v in result.get("cost", {}).items()}
        if outcome.status != "ok":
            cost.setdefault("run_s", round(outcome.wall_s, 4))
        cost["peak_mem_mb"] = round(outcome.peak_mem_mb, 1)
        cost |= self._of_gpu(cost.pop("gpu_peak_mb", None))
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
            limits=self.unit.limits,
            where=here,
            provenance=made,
            error=outcome.error,
            log=outcome.log[-20:],
            marks=[*self.marks, *([f"shared: {self.gpu.shared}"] if self.gpu.shared > 1 else [])],
            attempts=self.attempt,
            started=self.started,
            ended=provenance.now(),
            generation=self.unit.generation,
        )

    def _of_gpu(self, peak_mb: float | None) -> dict[str, float]:
        """What is recorded of the GPUs: of a cell that had them alone its memory, of others how many there
        were on average.
        """
        out = {} if self.gpu.busy is None else {"gpu_busy": round(self.gpu.busy, 3)}
        if self.gpu.shared > 1:
            return {**out, "gpu_shared": round(self.gpu.mean_shared, 2)}
        return out if peak_mb is None else {**out, "gpu_peak_mb": round(peak_mb, 1)}


@contextmanager
def copied(checkpoints: Checkpoints, leaving: threading.Event) -> Iterator[None]:
    """Copy what a running cell saves into the store, from a thread of its own, at most every `COPY_EVERY_S`;
    once this machine is ``leaving``, at once.

    A copy that fails is tried again: of a store that cannot be written the record will tell.
    """
    if not checkpoints.remote:
        yield
        return
    ended = threading.Event()
    of = (checkpoints, ended.wait, leaving)
    thread = threading.Thread(target=_copy, args=of, daemon=True, name="checkpoints")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _copy(checkpoints: Checkpoints, ended: Callable[[float], bool], leaving: threading.Event) -> None:
    """Copy until the cell has ended; ``ended`` waits for that as long as it is told."""
    since = COPY_EVERY_S
    while not ended(LOOK_EVERY_S):
        since += LOOK_EVERY_S
        if since >= COPY_EVERY_S or leaving.is_set():
            with suppress(StoreError):
                since = 0.0 if checkpoints.put() else since


@dataclass(frozen=True, slots=True)
class _Found:
    """What this process found for a job in its own code and in the store: what the record depends on, name ->
    folder of the stages that are built, and the seconds that building them took.
    """

    dependencies: Dependencies
    paths: Mapping[str, str]
    shared: Mapping[str, float]


def _find(unit: Unit, store: Store) -> _Found:
    """A cell may read all stages of its track and its method, a stage those that it declares.

    Records are not read for this: that would load the whole store in each worker.
    """
    job = unit.job
    declared = load(job)
    stages, track = declared.stages(), declared.track
    code = closure.code({**job.track.code, **job.method.code})
    if job.kind == "stage":
        built = next((s for s in stages if s.address == job.address), None)
        if built is None:
            raise BenchError(
                f"{unit.label} is not declared by the code on {platform.node()}: every machine of a sweep "
                "needs the same code"
            )
        made = Dependencies(code=code.of_stage(track, built), data=unit.data)
        stages = [*built.stages]
    else:
        made = Dependencies(
            code=code.of_cell(track, declared.method, job.cell["hp"]),
            ran_with=provenance.ran_with(track, job.task, declared.run, stages),
            data=unit.data,
            built_by={s.name: code.of_stage(track, s) for s in stages},
        )
    paths, digests, shared = {}, {}, {}
    for stage in stages:
        path = store.artifacts.stage_path(stage)
        if path is not None:
            paths[stage.name] = str(path)
            digests[stage.name] = store.artifacts.stage_digest(stage) or ""
            took = [unit.built[k] for k in shard_keys(stage) if k in unit.built]
            if took:  # a stage that ships with the package has no record here
                shared[stage.name] = round(sum(took), 4)
    return _Found(dataclasses.replace(made, stages=digests), paths, shared)
