"""What is run next, shared by the two places that run cells (`local.py`, `tune.py`): order, stages first,
units that another driver of the store has, retries of lost nodes, the budget, and how far it is. Records of
cells that never ran (skipped, lost for good) are written here. Moments are of this process's steady clock.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from math import inf
from typing import Any

from bench.contract import BenchError, Needs, Record, Stage
from bench.engine.job import Job
from bench.engine.claims import Claims
from bench.engine.worker import LOST_RETRIES
from bench.engine.job import Unit
from bench.plan import Plan, PlannedCell, PlannedStage
from bench.stages import declared_stages, shard_label, shard_key
from bench.registry import Registry
from bench.store import provenance
from bench.store.summaries import RecordSummary
from bench.store.records import Store
from bench.store.files import StoreError
from bench.settings import changed

#: A cell in flight when the budget ends may use this much of the budget more, then it is stopped and stays
#: new.
GRACE = 0.1
#: What a machine has to have of what a unit needs (fields of `Needs`).
RESOURCES = ("cpu", "gpu", "mem_gb")


@dataclass(frozen=True, slots=True)
class Ended:
    """One unit that came to an end. ``elsewhere``: another driver of this store ran it."""

    unit: Unit
    status: str
    seconds: float
    reason: str = ""
    elsewhere: bool = False


@dataclass(slots=True)
class Sweep:
    """The units still to do and those under way. Not thread-safe: one loop asks and tells.

    ``stopped``: why nothing more is started; ``error``: the same if it is a failure to be told as such;
    ``fault``: an exception that is ours; ``interrupt``: set by whoever wants the sweep to end now.
    ``elsewhere``: whether a unit could have started that another driver has. ``notes``: what its user should
    know of how it ran.
    """

    store: Store
    waiting: list[Unit]
    deadline: float | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    under_way: dict[str, tuple[Unit, float | None]] = field(default_factory=dict)
    ended: list[Ended] = field(default_factory=list)
    stage_status: dict[str, str] = field(default_factory=dict)
    took: dict[tuple[Any, ...], list[float]] = field(default_factory=dict)
    stopped: str = ""
    error: str = ""
    fault: BaseException | None = None
    elsewhere: bool = False
    notes: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    on_change: Callable[[Sweep], None] = lambda sweep: None
    interrupt: threading.Event = field(default_factory=threading.Event)
    claims: Claims = field(init=False)

    def __post_init__(self) -> None:
        self.claims = Claims(self.store)

    @property
    def total(self) -> int:
        """Units of this sweep, ended or not."""
        return len(self.waiting) + len(self.under_way) + len(self.ended)

    def spent_s(self) -> float:
        """Seconds since it started."""
        return time.monotonic() - self.started

    def finished(self) -> bool:
        """Nothing waits that could still start, and nothing is under way."""
        return not self.under_way and (not self.waiting or bool(self.stopped))

    def next(self, fits: Callable[[Needs], bool] = lambda needs: True) -> Unit | None:
        """The first unit in order that may start now, or None. It counts as under way from here on."""
        if self.stopped:
            return None
        if self.deadline is not None and time.monotonic() >= self.deadline:
            self.stop("the budget is used up")
            return None
        try:
            return self._next(fits)
        except StoreError as e:
            self.fail(e)
            return None

    def _next(self, fits: Callable[[Needs], bool]) -> Unit | None:
        self.elsewhere = False
        for unit in self._ready():
            if not fits(unit.needs):
                continue
            asked = self.claims.ask(unit)
            if asked is False:
                self.elsewhere = True
            elif asked is not True:
                self._ended_elsewhere(unit, asked)
            else:
                self.waiting.remove(unit)
                unit = replace(unit, built=self.claims.built(unit))
                self.under_way[unit.key] = (unit, None)
                self.on_change(self)
                return unit
        return None

    def _ended_elsewhere(self, unit: Unit, head: RecordSummary) -> None:
        self.waiting.remove(unit)
        self._end(Ended(unit, head.status, head.cost.get("run_s", 0.0), head.reason, elsewhere=True))

    def idle(self) -> bool:
        """Whether nothing is under way or can start, nor will by waiting for another driver."""
        return bool(self.waiting) and not (self.under_way or self.stopped or self.elsewhere)

    def _ready(self) -> Iterator[Unit]:
        """Units that may start, block after block; within one (a track's task on one seed) the longest first,
        so that no worker is left with a long cell when the others have nothing more to do.
        """
        for _, block in groupby(list(self.waiting), _block):
            ready = [u for u in block if self._may_start(u)]
            yield from sorted(ready, key=lambda u: -self._expected(u, unknown=inf))

    def _may_start(self, unit: Unit) -> bool:
        reads = {k: self.stage_status.get(k, "new") for k in unit.reads}
        failed = [k for k, s in reads.items() if s not in ("ok", "new")]
        if failed:
            self._skip(unit, failed[0])
            return False
        return all(s == "ok" for s in reads.values()) and self._in_time(unit)

    def _expected(self, unit: Unit, unknown: float) -> float:
        """Seconds that a unit takes: as its like took in this sweep, else as past records say."""
        past = unit.seconds if unit.seconds is not None else unknown
        return _mean(self.took.get(_kind(unit), [])) or past

    def _in_time(self, unit: Unit) -> bool:
        """Whether it is expected to end within the budget; one never seen may always try."""
        return self.deadline is None or time.monotonic() + self._expected(unit, unknown=0.0) <= self.deadline

    def _skip(self, unit: Unit, shard_key: str) -> None:
        head = self.store.summaries().get(shard_key)
        name = head.cell.get("stage", shard_key) if head is not None else shard_key
        reason = f"stage {name} failed"
        self.store.write(not_run(unit, "skipped", reason, stage=shard_key))
        self.waiting.remove(unit)
        self._end(Ended(unit, "skipped", 0.0, reason))

    def began(self, key: str) -> None:
        """A unit that was handed out has a worker now."""
        if key in self.under_way:
            self.under_way[key] = (self.under_way[key][0], time.monotonic())
            self.on_change(self)

    def running(self) -> list[tuple[Unit, float]]:
        """Units on a worker, with the seconds since they began."""
        return [(u, _since(since)) for u, since in self.under_way.values() if since is not None]

    def done(self, key: str, status: str | None, reason: str = "") -> None:
        """A unit ended with that status; None: it was stopped before its end and stays new."""
        unit, since = self.under_way.pop(key)
        self.claims.give(key)
        if status is None:
            self.waiting.insert(0, unit)
        else:
            self._end(Ended(unit, status, _since(since), reason))

    def lost(self, key: str, how: str) -> None:
        """The worker is gone (node, actor): try again elsewhere a few times, then record it as lost."""
        unit, _ = self.under_way[key]
        if unit.attempt <= LOST_RETRIES:
            del self.under_way[key]  # its lease is kept
            self.waiting.insert(0, replace(unit, attempt=unit.attempt + 1))
            self.on_change(self)
            return
        try:
            self.store.write(not_run(unit, "lost", how))
        except StoreError as e:
            self.done(key, None)
            self.fail(e)
        else:
            self.done(key, "lost", how)

    def _end(self, ended: Ended) -> None:
        if ended.unit.job.kind == "stage":
            self.stage_status[ended.unit.key] = ended.status
        self.ended.append(ended)
        if ended.status != "skipped":
            self.took.setdefault(_kind(ended.unit), []).append(ended.seconds)
        self.on_change(self)

    def stop(self, why: str) -> None:
        """Start nothing more."""
        self.stopped = self.stopped or why

    def fail(self, error: BaseException) -> None:
        """Start nothing more: a store that cannot be read or written, or a fault of our own."""
        if isinstance(error, BenchError):
            self.stop(str(error))
            self.error = str(error)
        else:
            self.stop(f"fault in the engine: {type(error).__name__}: {error}")
            self.fault = error

    def why_none(self) -> str:
        """Why nothing of what waits can start although nothing is under way."""
        if self.deadline is not None:
            return "no cell that is left is expected to end within the budget"
        return f"nothing here is large enough for {self.waiting[0].label}"

    def hard_deadline(self) -> float | None:
        """When cells still under way are stopped too, of the steady clock."""
        if self.deadline is None:
            return None
        return self.deadline + max(5.0, GRACE * (self.deadline - self.started))

    def remaining_s(self, workers: float) -> float | None:
        """Seconds until the end, from this sweep's own cells and past records; None while nothing is
        known.
        """
        typical = _mean([e.seconds for e in self.ended if e.status != "skipped"])
        units_ = [(u, 0.0) for u in self.waiting] + [(u, _since(t)) for u, t in self.under_way.values()]
        expected = [
            (self._expected(u, unknown=inf if typical is None else typical), spent) for u, spent in units_
        ]
        if any(e == inf for e, _ in expected):
            return None
        # One that takes longer than expected is taken to be two thirds through.
        left = [e - spent if spent < e else spent / 2 for e, spent in expected]
        return max(sum(left) / max(1.0, workers), max(left, default=0.0))


def _block(unit: Unit) -> tuple[Any, ...]:
    """What is run whole before the next: a track's task on one seed; stages by themselves."""
    cell = unit.job.cell
    return (unit.job.kind, cell["track"], cell.get("task"), cell.get("seed"))


def _kind(unit: Unit) -> tuple[Any, ...]:
    """What takes about as long as this one: the same row and task on another seed, the stage's other
    shards.
    """
    cell = unit.job.cell
    return (unit.job.kind, cell["track"], cell.get("task", cell.get("address")), cell.get("row"))


def _since(moment: float | None) -> float:
    return time.monotonic() - moment if moment is not None else 0.0


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def not_run(unit: Unit, status: Any, reason: str, *, stage: str = "") -> Record:
    """The record of a unit that never ran to an end: skipped (by its method's own declaration, or because the
    ``stage`` with that key failed), or lost with its node.
    """
    job, error = unit.job, {"type": status, "message": reason, "last_lines": []}
    if status == "skipped":
        error = {"stage": stage} if stage else {}
    return Record(
        key=unit.key,
        kind="stage" if job.kind == "stage" else "cell",
        cell=dict(job.cell),
        status=status,
        reason=reason,
        error=error,
        limits=asdict(unit.needs),
        attempts=unit.attempt,
        started=provenance.now(),
        ended=provenance.now(),
        generation=unit.generation,
    )


def units(
    plan: Plan, cells: list[PlannedCell], registry: Registry, *, failed: bool
) -> tuple[list[Unit], set[str]]:
    """Units of the cells to run with the stages they need, each before its first reader; and the keys of the
    stages that failed before and are not tried again (``failed`` tries them).
    """
    out: dict[str, Unit] = {}
    broken: set[str] = set()
    known: dict[tuple[str, str, str], tuple[str, ...]] = {}

    def stages(c: PlannedCell) -> tuple[str, ...]:
        at = (c.plan.track.name, c.task.name, c.found.method.id)
        if at not in known:
            known[at] = _keys(declared_stages(c.plan.track, c.found, c.task, c.plan.run))
        return known[at]

    def add_stage(key: str) -> None:
        planned = plan.stages[key]
        if key in out:
            return
        if planned.state == "failed" and not failed:
            broken.add(key)
            return
        for k in planned.reads:
            add_stage(k)
        out[key] = _stage_unit(planned, registry)

    for c in cells:
        for k in c.reads if c.skip is None else ():
            add_stage(k)
        out[c.key] = replace(_cell_unit(c, registry), stages=stages(c))
    return list(out.values()), broken


def _keys(stages: Iterable[Stage]) -> tuple[str, ...]:
    """Keys of all shards of some stages."""
    return tuple(shard_key(s, i) for s in stages for i in range(s.shards))


def _device(needs: Needs) -> dict[str, Any]:
    fraction = needs.gpu if 0 < needs.gpu < 1 else 1.0
    cuda = {"device": "cuda", "gpu_fraction": fraction, "gpu_mem_gb": needs.gpu_mem_gb}
    return {"threads": max(1, int(needs.cpu)), **(cuda if needs.gpu > 0 else {})}


def _cell_unit(c: PlannedCell, registry: Registry) -> Unit:
    track, origin = registry.track_found(c.plan.track.name)
    job = Job(
        key=c.key,
        kind="cell",
        cell=c.cell.declared(),
        task=c.task,
        track=origin,
        method=c.found.origin,
        method_id=c.found.method.id,
        ranks_by=c.plan.ranks_by,
        hp=c.cell.hp,
        seed=c.cell.seed,
        **_device(c.needs),
    )
    data = "" if track.missing(c.task, c.plan.run) else track.fingerprint(c.task, c.plan.run)
    fallback = {k: v for k, v in c.found.method.fallback.items() if c.cell.hp.get(k) != v}
    unit = Unit(job=job, needs=c.needs, label=str(c.cell), data=data, reads=c.reads, fallback=fallback)
    head = c.summary
    seen, generation = (head.ended, head.generation + 1) if head is not None else ("", 0)
    return replace(unit, seconds=c.seconds, seen=seen, generation=generation)


def _stage_unit(s: PlannedStage, registry: Registry) -> Unit:
    origin = registry.track_found(s.plan.track.name)[1]
    cell = {"track": s.plan.track.name, "stage": s.stage.name, "address": s.stage.address, "shard": s.shard}
    job = Job(
        key=s.key,
        kind="stage",
        cell={**cell, "params": dict(s.stage.params), "run": changed(s.plan.run)},
        task=s.task,
        track=origin,
        method=s.found.origin,
        method_id=s.found.method.id,
        ranks_by=s.plan.ranks_by,
        hp={},
        seed=0,
        address=s.stage.address,
        shard=s.shard,
        **_device(s.stage.needs),
    )
    label = f"{s.plan.track.name} · stage {shard_label(s.stage, s.shard)}"
    unit = Unit(job=job, needs=s.stage.needs, label=label, reads=s.reads, replaces=s.replaces)
    return replace(unit, seen=s.seen, stages=_keys(s.stage.stages), generation=s.generation)


def left_out(units_: list[Unit], machines: Sequence[Needs]) -> dict[str, str]:
    """Units that no machine here is large enough for: key -> what they ask for and what there is."""
    out = {}
    for u in units_:
        if not any(all(getattr(u.needs, n) <= getattr(m, n) for n in RESOURCES) for m in machines):
            out[u.key] = f"{u.label} needs {_lacking(u.needs, machines)} (see needs: in bench.yaml)"
    return out


def _lacking(needs: Needs, machines: Sequence[Needs]) -> str:
    for name in RESOURCES:
        want, has = getattr(needs, name), max((getattr(m, name) for m in machines), default=0.0)
        if want > has:
            return f"{name} {want:g}; the largest machine here has {round(has, 2):g}"
    wanted = ", ".join(f"{n} {getattr(needs, n):g}" for n in RESOURCES)
    return f"{wanted}; no machine here has all of that"


def check(units_: list[Unit], left: Mapping[str, str]) -> None:
    """Raise `BenchError` if nothing at all can run here."""
    if units_ and len(left) == len(units_):
        raise BenchError(f"nothing can run here: {next(iter(left.values()))}")


def memory_notes(units_: list[Unit], machines: Sequence[Needs]) -> list[str]:
    """Where the memory that units ask for lets fewer of them run side by side than processors and GPUs do."""
    notes = []
    for needs, n in Counter(replace(u.needs, minutes=0) for u in units_).items():
        fit, without = (
            min(n, sum(at_once(needs, m) for m in of))
            for of in (machines, [replace(m, mem_gb=inf) for m in machines])
        )
        if fit < without:
            notes.append(
                f"memory lets {fit} cells that may use mem_gb {needs.mem_gb:g} run side by side here, "
                f"processors would let {without}: if they use less, say so (needs: in bench.yaml)"
            )
    return notes


def at_once(needs: Needs, machine: Needs) -> int:
    """How many units of those needs a machine runs side by side; one that may use more memory than is there
    for all runs alone.
    """
    room = [getattr(machine, n) / want for n in ("cpu", "gpu") if (want := getattr(needs, n)) > 0]
    by_memory = max(1.0, machine.mem_gb / needs.mem_gb) if needs.mem_gb > 0 else inf
    return int(min(*room, by_memory, 10**6)) if room else 0
