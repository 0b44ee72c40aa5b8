"""Runs a sweep on Ray: Ray Tune places cells on the cluster's machines, and does nothing else.

A Searcher feeds Tune, so that the next cell is chosen late (stages first, budget). Tune's own time limits,
resume and statuses are not used: it counts a cell cut short as a success, ignores cells that are added later,
and cannot tell out of memory from a crash. A worker reuses its actor, and so its fork server, from cell to
cell.
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
from bench.engine.forkserver import ForkServer
from bench.engine.job import Unit
from bench.engine.local import cells_gb, driver_gb, machine
from bench.engine.sweep import Sweep, check_any_fits, fits_at_once, memory_notes, too_large
from bench.engine.worker import run_unit
from bench.store.files import StoreError
from bench.store.records import Store

#: Seconds between two turns of the loop that watches Tune.
TICK_S = 0.2
#: After an interrupt: how long Tune may take to end.
ABORT_S = 5.0
#: With Tune's default of one pending trial a worker waits between cells.
PENDING = "8"
#: How long a record that a worker wrote may take to become visible to the driver (NFS shows new files within
#: 60 s by default) before the worker's store is taken for another than the driver's.
VISIBLE_WITHIN_S = 70.0
VISIBLE_POLL_S = 1.0


def _settings() -> None:
    """Set what Tune reads when it is imported: no loggers, no reporter, no output of its own."""
    os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", PENDING)
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


@lru_cache(maxsize=1)
def _server(preload: tuple[str, ...]) -> ForkServer:
    """The fork server of this worker process."""
    server = ForkServer(preload)
    server.start()
    return server


@lru_cache(maxsize=1)
def _store(url: str) -> Store:
    """The store, opened once in this worker process: what was read and verified is cached from
    cell to cell.
    """
    return Store.open(url)


class Deadline:
    """A time on this process's monotonic clock. It is sent to another process as the seconds left, since the
    clocks of two machines need not agree. None: no deadline.
    """

    def __init__(self, at: float | None) -> None:
        self.at = at

    def left_s(self) -> float:
        """Seconds until the deadline."""
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
    """Run one cell in a Ray actor. It always reports, so an error of Tune means that the actor or its node is
    gone.
    """
    unit = replace(units[config["key"]], attempt=config["attempt"], built=config["built"])
    report = {"key": unit.key, "status": "", "reason": "", "stop": "", "ended": "", "node": platform.node()}
    try:
        if config["deadline"].left_s() > 0:
            record = run_unit(unit, _server(tuple(preload)), _store(store))
            if record is not None:
                report |= {"status": record.status, "reason": record.reason, "ended": record.ended}
    except BenchError as e:
        report["stop"] = str(e)
    except Exception as e:
        report["stop"] = f"fault in the engine: {type(e).__name__}: {e}"
    tune.report(report)


class _AbortedError(Exception):
    """Ends Tune's loop from inside."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """The report of a worker on a unit whose record is not visible to this process yet. ``since``: when it
    came; ``polled``: when the store was last asked.
    """

    report: Mapping[str, Any]
    since: float
    polled: float


class _Feed(Searcher):
    """Gives Tune the unit that `Sweep` says is next, and tells `Sweep` of ends. A unit has ended once its
    record is visible in the driver's store.
    """

    def __init__(self, sweep: Sweep, lock: threading.Lock, nodes: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(metric="status", mode="max")
        self.sweep, self.lock, self.nodes, self.trials = sweep, lock, nodes, dict[str, str]()
        self.pending: dict[str, _Pending] = {}
        self.machines = for_cells(nodes)

    def suggest(self, trial_id: str) -> Any:
        """The next cell as a Tune configuration; None: not now."""
        with self.lock:
            unit = self.sweep.next(self._room()) if not self.pending else None
            if unit is not None:
                self.trials[trial_id] = unit.key
                resources = {**asdict(unit.needs), "memory": memory(unit.needs, self.nodes)}
                what = {"key": unit.key, "attempt": unit.attempt, "built": dict(unit.built)}
                return {**what, **resources, "deadline": Deadline(self.sweep.deadline)}
            if self.sweep.idle():
                self.sweep.stop(self.sweep.why_idle())
            return Searcher.FINISHED if self.sweep.finished() else None

    def _room(self) -> Callable[[Needs], bool]:
        """Whether another cell with given needs may queue for a worker. As many queue as could run at once:
        then no worker waits for a cell, and another driver of the store still finds cells to claim.
        """
        queued = Counter(u.needs for u, since in self.sweep.in_progress.values() if since is None)
        return lambda needs: queued[needs] < max(1, sum(fits_at_once(needs, m) for m in self.machines))

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """A trial ended; one without a report lost its actor or its node."""
        with self.lock:
            key = self.trials.pop(trial_id)
            if error or not result or "key" not in result:
                self.sweep.lost(key, "the node or the worker process is gone")
            elif result["status"]:
                self.pending[key] = _Pending(result, time.monotonic(), -inf)
                self._poll()
            else:
                self.sweep.done(key, None)
                if result["stop"]:
                    self.sweep.fail(BenchError(result["stop"]))

    def poll(self) -> None:
        """Check whether records that workers wrote have become visible."""
        with self.lock:
            self._poll()

    def _poll(self) -> None:
        for key, pending in list(self.pending.items()):
            now, report = time.monotonic(), pending.report
            if now - pending.polled < VISIBLE_POLL_S:
                continue
            try:
                visible = self.sweep.store.holds(key, report["ended"])
            except StoreError as e:
                del self.pending[key]
                self.sweep.done(key, None)
                self.sweep.fail(e)
                continue
            if visible:
                del self.pending[key]
                self.sweep.done(key, report["status"], report["reason"])
            elif now - pending.since < VISIBLE_WITHIN_S:
                self.pending[key] = replace(pending, polled=now)
            else:
                del self.pending[key]
                label = self.sweep.in_progress[key][0].label
                self.sweep.done(key, None)
                self.sweep.fail(BenchError(_not_shared(label, report, self.sweep.store.url)))

    def save(self, checkpoint_path: str) -> None:
        """Save nothing, since the store holds the whole state of a sweep."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing, since `save` saved nothing."""

    def __deepcopy__(self, memo: Any) -> _Feed:
        return self  # Tune copies its configuration; there is one sweep

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its configuration for a restore that is never made


class _Guard(Callback):
    """Ends Tune's loop on request, and notifies the sweep when a trial gets its worker."""

    def __init__(self, feed: _Feed, abort: threading.Event) -> None:
        self.feed, self.abort = feed, abort

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A trial has its actor now."""
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


def _not_shared(label: str, report: Mapping[str, Any], url: str) -> str:
    return (
        f"{label} ended as {report['status']}, and the worker on node {report['node']} wrote its record to "
        f"store {url}, but {VISIBLE_WITHIN_S:g} s later this process sees no such record there: the store is "
        f"not the same for all nodes. Name one with --store that is: an absolute path in a folder that all "
        f"nodes share, or an fsspec URL such as s3://bucket/prefix"
    )


def alive(nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Resources of each node that is alive."""
    return [n["Resources"] for n in nodes if n["Alive"]]


def machines(nodes: Sequence[Mapping[str, Any]], own: bool) -> list[Needs]:
    """The resources of each machine of the cluster.

    Ray reserves a part of the memory for its object store, of which cells use next to nothing: a cell that
    needs a part of it may still run.

    Args:
        nodes: the resources of the nodes, as Ray has them.
        own: whether the cluster is this machine, on which Ray was started for the sweep.
    """
    return [
        Needs(
            cpu=n.get("CPU", 0.0),
            gpu=n.get("GPU", 0.0),
            mem_gb=machine().mem_gb
            if own
            else (n.get("memory", 0.0) + n.get("object_store_memory", 0.0)) / 2**30,
            minutes=inf,
        )
        for n in nodes
    ]


def for_cells(nodes: Sequence[Mapping[str, Any]]) -> list[Needs]:
    """The resources of each machine that Ray gives to cells."""
    return [
        replace(m, mem_gb=n.get("memory", 0.0) / 2**30)
        for m, n in zip(machines(nodes, own=False), nodes, strict=True)
    ]


def memory(needs: Needs, nodes: Sequence[Mapping[str, Any]]) -> int:
    """Bytes to ask Ray for: the cell's limit, or all the memory that Ray gives to cells on a machine if that
    is less; then the cell runs alone there.
    """
    fit = [n for n in nodes if n.get("CPU", 0.0) >= needs.cpu and n.get("GPU", 0.0) >= needs.gpu]
    return int(min(needs.mem_gb * 2**30, max((n.get("memory", 0.0) for n in fit), default=inf)))


def connect(address: str | None, cpus: int | None) -> bool:
    """Connect to the cluster at ``address`` or ``RAY_ADDRESS``, or start Ray on this machine; returns whether
    it was started. A process that is connected already (a notebook) stays connected.
    """
    _settings()
    if ray.is_initialized():
        return False
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    own: dict[str, Any] = {}
    if address == "local":
        own = {"num_cpus": cpus or len(os.sched_getaffinity(0)), "include_dashboard": False}
        # By default Ray gives to cells 70 % of the memory that is unused at this moment, which on a laptop
        # may be less than one cell's limit.
        own |= {"_memory": int(cells_gb() * 2**30), "object_store_memory": int(driver_gb() / 2 * 2**30)}
    handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, ValueError) as e:
        raise BenchError(f"no Ray cluster at {address!r}: {e}") from e
    except RuntimeError as e:
        if "ersion mismatch" not in str(e):
            raise
        words = " ".join(str(e).split())
        raise BenchError(
            f"the cluster at {address!r} has another Python or Ray than this process: {words}"
        ) from e
    except ray.exceptions.AuthenticationError as e:
        raise BenchError(
            f"the cluster at {address!r} does not take the token of this process, or none was given: set "
            "RAY_AUTH_MODE=token, and the token by RAY_AUTH_TOKEN or in ~/.ray/auth_token"
        ) from e
    finally:
        if threading.current_thread() is threading.main_thread():
            for s, handler in handlers.items():  # Ray installs its own SIGTERM handler, which only exits
                signal.signal(s, handler)
    return address == "local"


def run(sweep: Sweep, preload: Sequence[str], *, address: str | None = None, cpus: int | None = None) -> None:
    """Run the sweep until it ends, its budget is used up or it is interrupted (then running cells
    stay new).
    """
    ours = connect(address, cpus)
    nodes = alive(ray.nodes())  # type: ignore[no-untyped-call]
    sweep.too_large = too_large(sweep.waiting, machines(nodes, ours))
    check_any_fits(sweep.waiting, sweep.too_large)
    sweep.waiting = [u for u in sweep.waiting if u.key not in sweep.too_large]
    sweep.notes += memory_notes(sweep.waiting, for_cells(nodes))
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
            feed.poll()
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
        for key in list(sweep.in_progress):
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
