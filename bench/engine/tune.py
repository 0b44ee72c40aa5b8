"""Runs a sweep on Ray: Ray Tune places cells on the cluster's machines, and does nothing else.

Tune is fed by a Searcher, so that what runs next is decided late (stages first, budget). Its own time limits,
resume and statuses are not used: it counts a cell cut short as a success, ignores cells added later, and
cannot tell memory from a crash. A worker keeps its actor, and so its fork server, from cell to cell.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from math import inf
from typing import Any

import ray
from ray import tune
from ray.tune import Callback
from ray.tune.search import Searcher

from bench.contract import BenchError, Needs
from bench.engine.local import cells_gb, driver_gb, here
from bench.engine.forkserver import ForkServer
from bench.engine.sweep import Sweep, at_once, check, left_out, memory_notes
from bench.engine.job import Unit
from bench.engine.worker import run_unit
from bench.store.records import Store
from bench.store.files import StoreError

TICK_S = 0.2
ABORT_S = 5.0
#: With Tune's default of one pending trial a worker waits between cells; mixed resources would make an actor
#: each.
PENDING = "8"
#: How long a record that a worker wrote may take to be seen by the driver (a network folder shows new files
#: late: NFS by default within 60 s) before the worker's store is taken for another than the driver's.
SEEN_WITHIN_S = 70.0
SEEN_LOOK_S = 1.0


def _settings() -> None:
    """Tune reads these when it is imported: no loggers, no reporter of its own, quiet."""
    os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", PENDING)
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


@lru_cache(maxsize=1)
def _pool(preload: tuple[str, ...]) -> Pool:
    """The fork server of this worker process."""
    pool = ForkServer(preload)
    pool.warm()
    return pool


@lru_cache(maxsize=1)
def _store(url: str) -> Store:
    """The store as this worker process has opened it; what it has read and verified is kept from cell to
    cell.
    """
    return Store.open(url)


class Deadline:
    """A moment of this process's steady clock that reaches another process as seconds left: the clocks of two
    machines need not agree. None: there is none.
    """

    def __init__(self, at: float | None) -> None:
        self.at = at

    def left_s(self) -> float:
        """Seconds until then, from now."""
        return inf if self.at is None else self.at - time.monotonic()

    def __reduce__(self) -> tuple[Any, ...]:
        return _deadline_in, (self.left_s(),)

    def __deepcopy__(self, memo: Any) -> Deadline:
        return self  # a copy in this process is not sent anywhere

    def __repr__(self) -> str:
        return "Deadline()"


def _deadline_in(left_s: float) -> Deadline:
    return Deadline(None if left_s == inf else time.monotonic() + left_s)


def trial(config: Mapping[str, Any], units: Mapping[str, Unit], store: str, preload: Sequence[str]) -> None:
    """One cell inside a Ray actor. Always reports; a Tune error therefore means that the actor or its node is
    gone.
    """
    unit = replace(units[config["key"]], attempt=config["attempt"], built=config["built"])
    said = {"key": unit.key, "status": "", "reason": "", "stop": "", "ended": "", "node": platform.node()}
    try:
        if config["deadline"].left_s() > 0:
            record = do(unit, _pool(tuple(preload)), _store(store))
            if record is not None:
                said |= {"status": record.status, "reason": record.reason, "ended": record.ended}
    except BenchError as e:
        said["stop"] = str(e)
    except Exception as e:
        said["stop"] = f"fault in the engine: {type(e).__name__}: {e}"
    tune.report(said)


class _AbortedError(Exception):
    """Ends Tune's loop from inside."""


@dataclass(frozen=True, slots=True)
class _Unseen:
    """What a worker said of a unit whose record this process does not see yet."""

    said: Mapping[str, Any]
    since: float
    looked: float


class _Feed(Searcher):
    """Hands out what `Sweep` says is next; learns of ends. One counts when its record is in the driver's
    store.
    """

    def __init__(self, sweep: Sweep, lock: threading.Lock, nodes: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(metric="status", mode="max")
        self.sweep, self.lock, self.nodes, self.trials = sweep, lock, nodes, dict[str, str]()
        self.unseen: dict[str, _Unseen] = {}
        self.lent = lent(nodes)

    def suggest(self, trial_id: str) -> Any:
        """The next cell as a Tune configuration; None: not now."""
        with self.lock:
            unit = self.sweep.next(self._room()) if not self.unseen else None
            if unit is not None:
                self.trials[trial_id] = unit.key
                asked = {**asdict(unit.needs), "memory": memory(unit.needs, self.nodes)}
                what = {"key": unit.key, "attempt": unit.attempt, "built": dict(unit.built)}
                return {**what, **asked, "deadline": Deadline(self.sweep.deadline)}
            if self.sweep.idle():
                self.sweep.stop(self.sweep.why_none())
            return Searcher.FINISHED if self.sweep.finished() else None

    def _room(self) -> Callable[[Needs], bool]:
        """Whether another cell of some needs may wait for a worker: one for each that could run at once, so
        that no worker waits for a cell, and yet another driver of the store finds cells that nobody has.
        """
        queued = Counter(u.needs for u, since in self.sweep.under_way.values() if since is None)
        return lambda needs: queued[needs] < max(1, sum(at_once(needs, m) for m in self.lent))

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """A trial that did not report lost its actor or its node; everything else reports."""
        with self.lock:
            key = self.trials.pop(trial_id)
            if error or not result or "key" not in result:
                self.sweep.lost(key, "the node or the worker process is gone")
            elif result["status"]:
                self.unseen[key] = _Unseen(result, time.monotonic(), -inf)
                self._look()
            else:
                self.sweep.done(key, None)
                if result["stop"]:
                    self.sweep.fail(BenchError(result["stop"]))

    def look(self) -> None:
        """Whether records that workers wrote are seen by now."""
        with self.lock:
            self._look()

    def _look(self) -> None:
        for key, unseen in list(self.unseen.items()):
            now, said = time.monotonic(), unseen.said
            if now - unseen.looked < SEEN_LOOK_S:
                continue
            try:
                seen = self.sweep.store.holds(key, said["ended"])
            except StoreError as e:
                del self.unseen[key]
                self.sweep.done(key, None)
                self.sweep.fail(e)
                continue
            if seen:
                del self.unseen[key]
                self.sweep.done(key, said["status"], said["reason"])
            elif now - unseen.since < SEEN_WITHIN_S:
                self.unseen[key] = replace(unseen, looked=now)
            else:
                del self.unseen[key]
                label = self.sweep.under_way[key][0].label
                self.sweep.done(key, None)
                self.sweep.fail(BenchError(_not_shared(label, said, self.sweep.store.url)))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the store is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""

    def __deepcopy__(self, memo: Any) -> _Feed:
        return self  # Tune copies its configuration; there is one sweep

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its configuration for a restore that is never made


class _Guard(Callback):
    """Looks at every turn of Tune's loop whether it is to end; hears when a trial gets its worker."""

    def __init__(self, feed: _Feed, abort: threading.Event) -> None:
        self.feed, self.abort = feed, abort

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """The trial has an actor now."""
        with self.feed.lock:
            self.feed.sweep.began(self.feed.trials[trial.trial_id])

    def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
        """End the loop from inside."""
        if self.abort.is_set():
            raise _AbortedError

    def __deepcopy__(self, memo: Any) -> _Guard:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _not_shared(label: str, said: Mapping[str, Any], url: str) -> str:
    return (
        f"{label} ended as {said['status']}, and the worker on node {said['node']} wrote its record to store "
        f"{url}, but {SEEN_WITHIN_S:g} s later this process sees no such record there: the store is not the "
        f"same for all nodes. Name one with --store that is: an absolute path in a folder that all nodes "
        f"share, or an fsspec URL such as s3://bucket/prefix"
    )


def alive(nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Resources of each node that is there."""
    return [n["Resources"] for n in nodes if n["Alive"]]


def machines(nodes: Sequence[Mapping[str, Any]], own: bool) -> list[Needs]:
    """What each machine of the cluster has; ``own``: it is this one, where Ray was started for the sweep.

    Ray keeps a part of what was free when it started for its object store; cells use next to nothing of that,
    so a cell that needs a part of it may still run there.
    """
    return [
        Needs(
            cpu=n.get("CPU", 0.0),
            gpu=n.get("GPU", 0.0),
            mem_gb=here().mem_gb
            if own
            else (n.get("memory", 0.0) + n.get("object_store_memory", 0.0)) / 2**30,
            minutes=inf,
        )
        for n in nodes
    ]


def lent(nodes: Sequence[Mapping[str, Any]]) -> list[Needs]:
    """What Ray lends cells of each machine."""
    return [
        replace(m, mem_gb=n.get("memory", 0.0) / 2**30)
        for m, n in zip(machines(nodes, own=False), nodes, strict=True)
    ]


def memory(needs: Needs, nodes: Sequence[Mapping[str, Any]]) -> int:
    """Bytes to ask Ray for: what the cell may use, or all that Ray lends of a machine if that is less, so
    that such a cell runs alone there.
    """
    fit = [n for n in nodes if n.get("CPU", 0.0) >= needs.cpu and n.get("GPU", 0.0) >= needs.gpu]
    return int(min(needs.mem_gb * 2**30, max((n.get("memory", 0.0) for n in fit), default=inf)))


def connect(address: str | None, cpus: int | None) -> bool:
    """Start Ray here, or join the cluster named by ``address`` or ``RAY_ADDRESS``; whether it was started.

    A process that is connected already (a notebook) stays where it is.
    """
    _settings()
    if ray.is_initialized():
        return False
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    own: dict[str, Any] = {}
    if address == "local":
        own = {"num_cpus": cpus or len(os.sched_getaffinity(0)), "include_dashboard": False}
        # Ray's own default lends what is free of the memory at this moment, less 30 %, which on a laptop may
        # be less than one cell's limit.
        own |= {"_memory": int(cells_gb() * 2**30), "object_store_memory": int(driver_gb() / 2 * 2**30)}
    handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, ValueError) as e:
        raise BenchError(f"no Ray cluster at {address!r}: {e}") from e
    finally:
        if threading.current_thread() is threading.main_thread():
            for s, handler in handlers.items():  # Ray puts its own SIGTERM handler there, which just leaves
                signal.signal(s, handler)
    return address == "local"


def run(sweep: Sweep, preload: Sequence[str], *, address: str | None = None, cpus: int | None = None) -> None:
    """Run the sweep to its end, its budget or an interrupt (then cells under way stay new)."""
    ours = connect(address, cpus)
    nodes = alive(ray.nodes())  # type: ignore[no-untyped-call]
    sweep.left_out = left_out(sweep.waiting, machines(nodes, ours))
    check(sweep.waiting, sweep.left_out)
    sweep.waiting = [u for u in sweep.waiting if u.key not in sweep.left_out]
    sweep.notes += memory_notes(sweep.waiting, lent(nodes))
    lock, abort, scratch = threading.Lock(), threading.Event(), tempfile.mkdtemp(prefix="bench-tune-")
    fault: list[BaseException] = []
    feed = _Feed(sweep, lock, nodes)

    def fit() -> None:
        try:
            _tuner(sweep, preload, feed, _Guard(feed, abort), scratch).fit()
        except BaseException as e:
            fault.append(e)

    # Tune takes over Ctrl-C when it runs in the main thread; there it is ours.
    thread = threading.Thread(target=fit, daemon=True, name="tune")
    try:
        thread.start()
        while thread.is_alive():
            thread.join(TICK_S)
            feed.look()
            with lock:
                sweep.on_change(sweep)
                hard = sweep.hard_deadline()
            if sweep.interrupt.is_set():
                sweep.stop("interrupted")
                abort.set()
                thread.join(ABORT_S)
                break
            if hard is not None and time.monotonic() > hard:
                sweep.stop("the budget is used up")
                abort.set()
        if fault and not abort.is_set():
            sweep.fault = fault[0]
            sweep.stop(f"Ray Tune ended: {type(fault[0]).__name__}: {fault[0]}")
    finally:
        if ours:
            ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)
        for key in list(sweep.under_way):
            sweep.done(key, None)


def _tuner(sweep: Sweep, preload: Sequence[str], searcher: _Feed, guard: _Guard, scratch: str) -> tune.Tuner:
    known = {u.key: u for u in sweep.waiting}
    trainable = tune.with_parameters(trial, units=known, store=sweep.store.url, preload=tuple(preload))
    resources: Any = lambda config: {k: config[k] for k in ("cpu", "gpu", "memory")}  # noqa: E731
    return tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(search_alg=searcher, num_samples=-1, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=scratch, name="sweep", verbose=0, callbacks=[guard]),
    )
