"""What is to be done: a `Job` is what the process of one cell is given, a `Unit` is a job with what the
scheduler knows of it. Neither knows of the plan that it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from bench.contract import Method, Needs, Stage, Task, Track
from bench.declarations import declared_stages, settings_from
from bench.registry import Origin, methods_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One cell, or one shard of a stage, as plain values that can be sent to any process.

    Code is found by `Origin`, data by the track. ``cell`` is what was declared: for a cell the fields of
    `bench.contract.Cell`, for a stage its name, address, shard and parameters, and its seed if it has one.

    The last six fields are filled in by the worker just before the run. ``changed_hp``: hyper-parameters of
    the method's fallback after it ran out of memory. ``visible``: the GPUs that the process may use, as
    ``CUDA_VISIBLE_DEVICES`` says it. ``stages``: name -> folder of a stage that was fetched and verified.
    ``checkpoints``: the folder for checkpoints. ``made_by``: digest of the code, settings and data that
    checkpoints are made with. ``environment``: the variables ``BENCH_…``, such as where data lie, as they are
    now and not as they were when the fork server started.
    """

    key: str
    kind: Literal["cell", "stage"]
    cell: Mapping[str, Any]
    task: Task
    track: Origin
    method: Origin
    method_id: str
    ranks_by: str
    needs: Needs
    changed_hp: Mapping[str, Any] = field(default_factory=dict)
    visible: str | None = None
    stages: Mapping[str, str] = field(default_factory=dict)
    checkpoints: str | None = None
    made_by: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def hp(self) -> dict[str, Any]:
        """Hyper-parameters that the method is called with; none for a stage."""
        return {**self.cell.get("hp", {}), **self.changed_hp}

    @property
    def seed(self) -> int:
        """The seed of the cell; of a stage that of the cells that read it, 0 if it is for all seeds."""
        return int(self.cell.get("seed", 0))

    @property
    def address(self) -> str:
        """The address of the stage; "" for a cell."""
        return str(self.cell.get("address", ""))

    @property
    def shard(self) -> int:
        """The shard of the stage; 0 for a cell."""
        return int(self.cell.get("shard", 0))

    def where(self, *key: Any) -> str:
        """The name of a run setting for error messages."""
        return ".".join((self.key, "run", *map(str, key)))

    @property
    def device(self) -> str:
        """``cuda`` if GPUs are asked for, else ``cpu``."""
        return "cuda" if self.needs.gpu > 0 else "cpu"

    @property
    def threads(self) -> int:
        """How many threads the libraries of the process may use."""
        return max(1, int(self.needs.cpu))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A job with what the scheduler knows of it.

    ``label`` names it for a reader. ``data``: identity of the task's data (`Track.fingerprint`), which the
    plan asked for once. ``reads``: keys of the stage shards that must be built first; ``stages``: keys of all
    stage shards that it may read; ``built``: of those that have a record, the seconds that building them
    took. ``replaces``: when the stale stage shard ended that this one replaces, else "". ``seen``: when the
    record ended that the plan saw, else ""; ``generation``: that of the new record, one more than the old
    one's. ``fallback``: hyper-parameters to try once after it ran out of memory. ``seconds``: how long it is
    expected to take. ``attempt``: 1, and one more each time it is tried again because its node was lost.
    ``packed``: it asks for a part of the GPU that it declared, see `bench.engine.cluster.packing`.
    """

    job: Job
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
    packed: bool = False

    @property
    def key(self) -> str:
        """Key of the record that the job makes."""
        return self.job.key

    @property
    def needs(self) -> Needs:
        """Limits of the job, and the resources that it needs."""
        return self.job.needs

    @property
    def limits(self) -> dict[str, Any]:
        """The same as a record tells it."""
        return {name: value for name, value in asdict(self.needs).items() if value != ""}


@dataclass(frozen=True, slots=True)
class Loaded:
    """The code of a job, imported in this process, and the run settings and the seed it declares."""

    task: Task
    track: Track
    method: Method
    run: Any
    seed: int

    def stages(self) -> list[Stage]:
        """The stages that a cell of this track, method, task and seed may read."""
        return declared_stages(self.track, self.method, self.task, self.run, self.seed)

    def stage(self, address: str) -> Stage | None:
        """The stage of that address, None if the code does not declare it."""
        return next((s for s in self.stages() if s.address == address), None)


def load(job: Job) -> Loaded:
    """Import the code of a job, and no other code of ours: what is loaded is what the record is held to.

    Raises:
        LookupError: the code does not declare the method any more.
    """
    track: Track = job.track.load().TRACK
    for method in methods_in(job.method.load()):
        if method.id == job.method_id and method.track == track.name:
            run: Any = settings_from(track.Run, job.cell["run"], job.where)
            return Loaded(job.task, track, method, run, job.seed)
    raise LookupError(f"{job.method.source_name} no longer declares {job.method_id!r} for track {track.name}")
