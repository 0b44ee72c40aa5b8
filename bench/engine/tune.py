"""Runs a sweep on Ray: Ray Tune places cells on the cluster's machines, and does nothing else.

Tune is fed by a Searcher, so that what runs next is decided late (stages first, budget). Its own time limits,
resume and statuses are not used: it counts a cell cut short as a success, ignores cells added later, and
cannot tell memory from a crash. A worker keeps its actor, and so its fork server, from cell to cell.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray import tune
from ray.tune import Callback
from ray.tune.search import Searcher

from bench.contract import BenchError, Needs
from bench.engine.pool import Pool
from bench.engine.sweep import Sweep, check, left_out
from bench.engine.worker import Unit, do
from bench.store.records import Store

TICK_S = 0.2
ABORT_S = 5.0
#: With Tune's default of one pending trial a worker waits between cells; mixed resources would make an actor
#: each.
PENDING = "8"
_pools: dict[tuple[str, ...], Pool] = {}


def _settings() -> None:
    """Tune reads these when it is imported: no loggers, no reporter of its own, quiet."""
    os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", PENDING)
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


def trial(config: Mapping[str, Any], units: Mapping[str, Unit], store: str, preload: Sequence[str]) -> None:
    """One cell inside a Ray actor. Always reports; a Tune error therefore means that the actor or its node is
    gone.
    """
    unit = replace(units[config["key"]], attempt=config["attempt"])
    status, reason, stop = "", "", ""
    try:
        if config["deadline"] is None or time.time() <= config["deadline"]:
            pool = _pools.get(tuple(preload))
            if pool is None:
                pool = _pools[tuple(preload)] = Pool(preload)
                pool.warm()
            record = do(unit, pool, Store.open(store))
            status, reason = (record.status, record.reason) if record else ("", "")
    except BenchError as e:
        stop = str(e)
    except Exception as e:
        stop = f"fault in the engine: {type(e).__name__}: {e}"
    tune.report({"key": unit.key, "status": status, "reason": reason, "stop": stop})


class _AbortedError(Exception):
    """Ends Tune's loop from inside."""


class _Feed(Searcher):
    """Hands out what `Sweep` says is next; learns of ends."""

    def __init__(self, sweep: Sweep, lock: threading.Lock) -> None:
        super().__init__(metric="status", mode="max")
        self.sweep, self.lock, self.trials = sweep, lock, dict[str, str]()

    def suggest(self, trial_id: str) -> Any:
        """The next cell as a Tune configuration; None: not now."""
        with self.lock:
            unit = self.sweep.next()
            if unit is not None:
                self.trials[trial_id] = unit.key
                asked = {"cpu": unit.needs.cpu, "gpu": unit.needs.gpu, "deadline": self.sweep.deadline}
                return {"key": unit.key, "attempt": unit.attempt, **asked}
            if not self.sweep.under_way and self.sweep.waiting and not self.sweep.stopped:
                self.sweep.stop(self.sweep.why_none())
            return Searcher.FINISHED if self.sweep.finished() else None

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """A trial that did not report lost its actor or its node; everything else reports."""
        with self.lock:
            key = self.trials.pop(trial_id)
            if error or not result or "key" not in result:
                self.sweep.lost(key, "the node or the worker process is gone")
                return
            if result["stop"]:
                self.sweep.stop(result["stop"])
                self.sweep.error = result["stop"]
            self.sweep.done(key, result["status"] or None, result["reason"])

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


def largest(nodes: Sequence[Mapping[str, Any]]) -> Needs:
    """The most that one machine of the cluster has."""
    alive = [n["Resources"] for n in nodes if n["Alive"]]
    most = {k: max((r.get(k, 0.0) for r in alive), default=0.0) for k in ("CPU", "GPU", "memory")}
    return Needs(cpu=most["CPU"], gpu=most["GPU"], mem_gb=float("inf"), minutes=float("inf"))


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
    most = largest(ray.nodes())  # type: ignore[no-untyped-call]
    sweep.left_out = left_out(sweep.waiting, most)
    check(sweep.waiting, sweep.left_out)
    sweep.waiting = [u for u in sweep.waiting if u.key not in sweep.left_out]
    lock, abort, scratch = threading.Lock(), threading.Event(), tempfile.mkdtemp(prefix="bench-tune-")
    fault: list[BaseException] = []
    feed = _Feed(sweep, lock)

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
            with lock:
                sweep.on_change(sweep)
                hard = sweep.hard_deadline()
            if sweep.interrupt.is_set():
                sweep.stop("interrupted")
                abort.set()
                thread.join(ABORT_S)
                break
            if hard is not None and time.time() > hard:
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
    resources: Any = lambda config: {"cpu": config["cpu"], "gpu": config["gpu"]}  # noqa: E731
    return tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(search_alg=searcher, num_samples=-1, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=scratch, name="sweep", verbose=0, callbacks=[guard]),
    )
