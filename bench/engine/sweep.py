"""The state of a sweep, shared by the two places that run cells (`local.py`, `tune.py`): which unit runs next
(stages first, wide cells first, none that another driver of the store runs), retries of lost nodes, the
budget, and the progress. Records of cells that never ran (skipped, lost for good) are written here. Times are
of the monotonic clock.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from math import inf
from typing import Any

from bench.contract import BenchError, Needs, Record
from bench.engine.job import Unit
from bench.engine.leases import Leases
from bench.engine.worker import LOST_RETRIES
from bench.store import provenance
from bench.store.files import StoreError
from bench.store.records import Store
from bench.store.summaries import RecordSummary

#: Cells that run when the budget ends may go on for this share of the budget; then they are stopped and stay
#: new.
GRACE = 0.1
#: The fields of `Needs` that one machine must have for a unit to run on it.
RESOURCES = ("cpu", "gpu", "mem_gb")
#: A unit is wide if it takes more than this share of a machine, so that no other of its size fits beside it.
WIDE = 0.5


@dataclass(frozen=True, slots=True)
class Ended:
    """A unit that has ended. ``elsewhere``: another driver of this store ran it."""

    unit: Unit
    status: str
    seconds: float
    reason: str = ""
    elsewhere: bool = False


@dataclass(slots=True)
class Sweep:
    """The units that wait, run and have ended. Not thread-safe: one loop calls it.

    ``waiting``: units in the order of the plan. ``too_large``: units that no machine can run, with the
    reason. ``left_out``: nodes of the cluster that get no cells, with the cause and what helps.
    ``in_progress``: key -> unit and when it got its worker (None: not yet). ``stopped``: why no more units
    are started; ``error``: the same if the command is to fail for it; ``fault``: an exception in the engine.
    ``nodes``: key -> the node that runs a unit, where the engine knows it.
    ``interrupt`` is set by whoever wants the sweep to end now. ``machines``: what cells may use of each
    machine. ``held``: for which unit others are held back at this moment, "" if for none. ``notes``: what the
    user should know of how the sweep ran.
    """

    store: Store
    waiting: list[Unit]
    deadline: float | None = None
    too_large: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    in_progress: dict[str, tuple[Unit, float | None]] = field(default_factory=dict)
    ended: list[Ended] = field(default_factory=list)
    stage_status: dict[str, str] = field(default_factory=dict)
    took: dict[tuple[Any, ...], list[float]] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)
    stopped: str = ""
    error: str = ""
    fault: BaseException | None = None
    machines: Sequence[Needs] = ()
    held: str = ""
    notes: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    on_change: Callable[[Sweep], None] = lambda sweep: None
    interrupt: threading.Event = field(default_factory=threading.Event)
    leases: Leases = field(init=False)

    def __post_init__(self) -> None:
        self.leases = Leases(self.store)

    @property
    def total(self) -> int:
        """The number of units of this sweep, ended or not."""
        return len(self.waiting) + len(self.in_progress) + len(self.ended)

    def spent_s(self) -> float:
        """Seconds since the sweep started."""
        return time.monotonic() - self.started

    def finished(self) -> bool:
        """Whether no unit runs and none will be started."""
        return not self.in_progress and (not self.waiting or bool(self.stopped))

    def next(self, fits: Callable[[Needs], bool] = lambda needs: True) -> Unit | None:
        """The first unit in order that may start now, or None. It counts as running from here on."""
        self.check_budget()
        if self.stopped:
            return None
        try:
            return self._next(fits)
        except StoreError as e:
            self.fail(e)
            return None

    def check_budget(self) -> None:
        """Stop if the budget is used up."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            self.stop("the budget is used up")

    def _next(self, fits: Callable[[Needs], bool]) -> Unit | None:
        for unit in self._ready():
            if not fits(unit.needs):
                continue
            claimed = self.leases.claim(unit)
            if claimed is False:
                continue
            if claimed is not True:
                self._ended_elsewhere(unit, claimed)
            else:
                self.waiting.remove(unit)
                unit = replace(unit, built=self.leases.built(unit))
                self.in_progress[unit.key] = (unit, None)
                self.on_change(self)
                return unit
        return None

    def _ended_elsewhere(self, unit: Unit, record: RecordSummary) -> None:
        self.waiting.remove(unit)
        self._end(Ended(unit, record.status, record.cost.get("run_s", 0.0), record.reason, elsewhere=True))

    def recheck(self) -> None:
        """Look again at units that another driver runs: it may have ended them, or have died."""
        for unit in [u for u in self.waiting if self.leases.refused(u.key)]:
            try:
                claimed = self.leases.claim(unit)
            except StoreError as e:
                self.fail(e)
                return
            if claimed is True:
                self.leases.release(unit.key)  # whoever has a place for it first claims it
            elif claimed is not False:
                self._ended_elsewhere(unit, claimed)

    @property
    def elsewhere(self) -> bool:
        """Whether another driver runs a unit that waits here."""
        return any(self.leases.refused(u.key) for u in self.waiting)

    def idle(self) -> bool:
        """Whether units wait although none runs, none can start, and no other driver is waited for."""
        return bool(self.waiting) and not (self.in_progress or self.stopped or self.elsewhere)

    def ready(self, limit: int) -> list[Unit]:
        """The first units in order that may start now, without those that another driver runs."""
        if self.stopped:
            return []
        try:
            return list(islice((u for u in self._ready() if not self.leases.refused(u.key)), limit))
        except StoreError as e:
            self.fail(e)
            return []

    def _ready(self) -> Iterator[Unit]:
        """Units that may start, block by block. Within a block (a task on one seed) wide ones come first,
        since they fit only where nothing else runs, and then the longest, so that no worker is left with a
        long cell when the others have nothing more to do.
        """
        machines, widths = set(self.machines), dict[Needs, float]()
        for _, block in groupby(list(self.waiting), _block):
            ready = [u for u in block if self._may_start(u)]
            widths |= {needs: width(needs, machines) for needs in {u.needs for u in ready} - widths.keys()}
            yield from sorted(ready, key=lambda u: (-widths[u.needs], -self._expected(u, unknown=inf)))

    def _may_start(self, unit: Unit) -> bool:
        reads = {k: self.stage_status.get(k, "new") for k in unit.reads}
        failed = [k for k, s in reads.items() if s not in ("ok", "new")]
        if failed:
            self._skip(unit, failed[0])
            return False
        return all(s == "ok" for s in reads.values()) and self._in_time(unit)

    def _expected(self, unit: Unit, unknown: float) -> float:
        """Seconds that a unit takes: the mean of similar units of this sweep, else the plan's estimate."""
        past = unit.seconds if unit.seconds is not None else unknown
        return _mean(self.took.get(kind_of(unit), [])) or past

    def _in_time(self, unit: Unit) -> bool:
        """Whether a unit is expected to end within the budget; without an estimate it may try."""
        return self.deadline is None or time.monotonic() + self._expected(unit, unknown=0.0) <= self.deadline

    def _skip(self, unit: Unit, shard_key: str) -> None:
        record = self.store.summaries().get(shard_key)
        name = record.cell.get("stage", shard_key) if record is not None else shard_key
        reason = f"stage {name} failed"
        self.store.write(not_run(unit, "skipped", reason, stage=shard_key))
        self.waiting.remove(unit)
        self._end(Ended(unit, "skipped", 0.0, reason))

    def began(self, key: str, node: str = "") -> None:
        """A unit that was started has its worker now, on that node."""
        if key in self.in_progress:
            self.nodes[key] = node
            self.in_progress[key] = (self.in_progress[key][0], time.monotonic())
            self.on_change(self)

    def runs_on(self, key: str, node: str) -> None:
        """It is known now on which node a unit runs."""
        if key in self.in_progress:
            self.nodes[key] = node

    def running(self) -> list[tuple[Unit, float]]:
        """Units that have a worker, with the seconds since they got it."""
        return [(u, _since(since)) for u, since in self.in_progress.values() if since is not None]

    def shortest_running_s(self) -> float:
        """How long the shortest of the running units is expected to take; infinite if nothing is known."""
        return min((self._expected(u, unknown=inf) for u, _ in self.running()), default=inf)

    def done(self, key: str, status: str | None, reason: str = "") -> None:
        """A unit ended with this status, or was stopped before its end (None) and stays new."""
        unit, since = self.in_progress.pop(key)
        self.leases.release(key)
        if status is None:
            self.waiting.insert(0, unit)
        else:
            self._end(Ended(unit, status, _since(since), reason))

    def lost(self, key: str, how: str) -> None:
        """The worker of a unit is gone (node, actor): try it again a few times, then record it as
        ``lost``.
        """
        unit, _ = self.in_progress[key]
        if unit.attempt <= LOST_RETRIES:
            del self.in_progress[key]  # its lease stays ours
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
            self.took.setdefault(kind_of(ended.unit), []).append(ended.seconds)
        self.on_change(self)

    def stop(self, why: str) -> None:
        """Start no more units."""
        self.stopped = self.stopped or why

    def fail(self, error: BaseException) -> None:
        """Start nothing more, because the store cannot be read or written, or because of a fault in the
        engine.
        """
        if isinstance(error, BenchError):
            self.stop(str(error))
            self.error = str(error)
        else:
            self.stop(f"fault in the engine: {type(error).__name__}: {error}")
            self.fault = error

    def why_idle(self) -> str:
        """Why none of the waiting units can start although none runs."""
        if self.deadline is not None:
            shortest = min(self._expected(u, unknown=inf) for u in self.waiting)
            return (
                "no cell that is left is expected to end within the budget: the shortest takes about "
                f"{shortest / 60:.1f} min"
            )
        return f"nothing here is large enough for {self.waiting[0].label}"

    def hard_deadline(self) -> float | None:
        """When cells that still run are stopped too, on the monotonic clock; None: there is no budget."""
        if self.deadline is None:
            return None
        return self.deadline + max(5.0, GRACE * (self.deadline - self.started))

    def remaining_s(self, workers: float) -> float | None:
        """Seconds until the end, from this sweep's own cells and the plan's estimates; None while nothing is
        known.
        """
        typical = _mean([e.seconds for e in self.ended if e.status != "skipped"])
        units_ = [(u, 0.0) for u in self.waiting] + [(u, _since(t)) for u, t in self.in_progress.values()]
        expected = [
            (self._expected(u, unknown=inf if typical is None else typical), spent) for u, spent in units_
        ]
        if any(e == inf for e, _ in expected):
            return None
        # A unit that takes longer than expected is assumed to be two thirds done.
        left = [e - spent if spent < e else spent / 2 for e, spent in expected]
        return max(sum(left) / max(1.0, workers), max(left, default=0.0))


def _block(unit: Unit) -> tuple[Any, ...]:
    """The units of one block have this in common: a track's task on one seed; stages form blocks of their
    own.
    """
    cell = unit.job.cell
    return (unit.job.kind, cell["track"], cell.get("task"), cell.get("seed"))


def kind_of(unit: Unit) -> tuple[Any, ...]:
    """Units of one kind take about the same time: a row on a task with any seed, the shards of a stage, or a
    stage that there is one of for each seed.
    """
    cell = unit.job.cell
    of = cell.get("task") or (unit.job.task.name if "seed" in cell else cell.get("address"))
    return (unit.job.kind, cell["track"], of, cell.get("row"))


def _since(moment: float | None) -> float:
    return time.monotonic() - moment if moment is not None else 0.0


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def not_run(unit: Unit, status: Any, reason: str, *, stage: str = "") -> Record:
    """The record of a unit that never ran to an end.

    Args:
        unit: the unit.
        status: ``skipped`` or ``lost``.
        reason: why.
        stage: key of the failed stage that it was skipped for, "" if its method declares the reason.
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
        limits=unit.limits,
        attempts=unit.attempt,
        started=provenance.now(),
        ended=provenance.now(),
        generation=unit.generation,
    )


def check_max_pending(n: int | None) -> None:
    """Raise `BenchError` for a number of cells that wait for a place with which nothing would ever run."""
    if n is not None and n < 1:
        raise BenchError(f"--max-pending {n}: expected at least 1, the cells that wait for a place")


def too_large(units_: list[Unit], machines: Sequence[Needs]) -> dict[str, str]:
    """Units that no machine is large enough for, or for a stage that they read: key -> what they need and
    what there is. A stage stands before the units that read it.
    """
    out = dict[str, str]()
    for u in units_:
        if not any(_holds(m, u.needs) for m in machines):
            out[u.key] = f"{u.label} needs {_lacking(u.needs, machines)} (see needs: in bench.yaml)"
        elif stage := next((k for k in u.reads if k in out), None):
            out[u.key] = f"{u.label} needs a stage that needs {out[stage].partition(' needs ')[2]}"
    return out


def _holds(machine: Needs, needs: Needs) -> bool:
    """Whether a unit fits on a machine. Where the memory of its GPUs is not known, it is tried."""
    if needs.accelerator and needs.accelerator != machine.accelerator:
        return False
    if needs.gpu > 0 and (needs.gpu_mem_gb or 0.0) > (machine.gpu_mem_gb or inf):
        return False
    return all(getattr(needs, n) <= getattr(machine, n) for n in RESOURCES)


def _lacking(needs: Needs, machines: Sequence[Needs]) -> str:
    types = sorted({m.accelerator for m in machines if m.gpu > 0})
    if needs.accelerator and needs.accelerator not in types:
        return f"accelerator {needs.accelerator}; GPUs here: {', '.join(types) or 'none'}"
    gpu_gb = max((m.gpu_mem_gb or inf for m in machines if m.gpu > 0), default=inf)
    if needs.gpu > 0 and (needs.gpu_mem_gb or 0.0) > gpu_gb:
        return f"gpu_mem_gb {needs.gpu_mem_gb:g}; the largest GPU here has {round(gpu_gb, 1):g}"
    for name in RESOURCES:
        want, has = getattr(needs, name), max((getattr(m, name) for m in machines), default=0.0)
        if want > has:
            return f"{name} {want:g}; the largest machine here has {round(has, 2):g}"
    wanted = ", ".join(f"{n} {getattr(needs, n):g}" for n in RESOURCES)
    return f"{wanted}; no machine here has all of that"


def memory_notes(units_: list[Unit], machines: Sequence[Needs]) -> list[str]:
    """Notes on units of which memory lets fewer run side by side than processors and GPUs would."""
    notes = []
    for needs, n in Counter(replace(u.needs, minutes=0) for u in units_).items():
        fit, without = (
            min(n, sum(fits_at_once(needs, m) for m in of))
            for of in (machines, [replace(m, mem_gb=inf) for m in machines])
        )
        if fit < without:
            notes.append(
                f"memory lets {fit} cells that may use mem_gb {needs.mem_gb:g} run side by side here, "
                f"processors would let {without}: if they use less, say so (needs: in bench.yaml)"
            )
    return notes


def width(needs: Needs, machines: Collection[Needs]) -> float:
    """How wide a unit is: the share that it takes of the machine where that share is smallest, 0 if it is not
    wide. A unit of several GPUs always is.
    """
    fits = [m for m in machines if all(getattr(needs, n) <= getattr(m, n) for n in ("cpu", "gpu"))]
    shares = [
        max((getattr(needs, n) / getattr(m, n) for n in RESOURCES if getattr(m, n) > 0), default=0.0)
        for m in fits
    ]
    share = min(shares, default=1.0)
    return share if share > WIDE or needs.gpu > 1 else 0.0


def fits_at_once(needs: Needs, machine: Needs) -> int:
    """How many units with these needs a machine runs side by side. A unit that may use more memory than the
    machine has for cells runs alone.
    """
    room = [getattr(machine, n) / want for n in ("cpu", "gpu") if (want := getattr(needs, n)) > 0]
    by_memory = max(1.0, machine.mem_gb / needs.mem_gb) if needs.mem_gb > 0 else inf
    return int(min(*room, by_memory, 10**6)) if room else 0
