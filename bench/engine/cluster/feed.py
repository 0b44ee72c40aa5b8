"""What Ray Tune is given: a searcher that feeds it trials, a callback that gives a trial its cell, and a
scheduler that withdraws trials of which there is no need any more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.tune import Callback
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from bench.contract import BenchError
from bench.engine.cluster.actor import Deadline
from bench.engine.cluster.packing import Measured, Packing
from bench.engine.cluster.placement import Placement
from bench.engine.job import Unit
from bench.store.files import StoreError

#: What is said of a worker that left no report.
GONE = "the node or the worker process is gone"
#: What Ray says of a worker that its memory monitor ended.
_OUT_OF_MEMORY = "node running low on memory"
#: After so many actors in a row that did not start the sweep ends.
STARTS = 50
#: How long a record that a worker wrote may take to become visible to the driver (NFS shows new files within
#: 60 s by default) before the worker's store is taken for another than the driver's.
VISIBLE_WITHIN_S = 70.0
VISIBLE_POLL_S = 1.0


class AbortedError(Exception):
    """Ends Tune's loop from inside."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """The report of a worker on a unit whose record is not visible to this process yet. ``since``: when it
    came; ``polled``: when the store was last asked.
    """

    report: Mapping[str, Any]
    since: float
    polled: float


class Feed(Searcher):
    """Gives Tune the trials that `Placement` asks for, gives a trial its cell when it has its place, and
    tells `Sweep` of ends. A unit has ended once its record is visible in the driver's store.
    """

    def __init__(self, placement: Placement, lock: threading.Lock) -> None:
        super().__init__(metric="status", mode="max")
        self.placement, self.sweep, self.lock = placement, placement.sweep, lock
        self.trials, self.pending = dict[str, str](), dict[str, _Pending]()
        self.packing: Packing | None = None
        self.approved: set[str] | None = None  # ids of nodes that may run cells, None: all
        self.causes = dict[str, str]()  # trial -> why its worker is gone, where Ray told
        self.full = dict[str, str]()  # id of a node that has no room for cells -> what is told of it
        self.seen, self.failed_starts = False, 0

    def suggest(self, trial_id: str) -> Any:
        """The next trial as a Tune configuration: what it needs. None: not now."""
        with self.lock:
            self.sweep.check_budget()
            shape = self.placement.ask(trial_id) if self._trusted() else None
            if shape is not None:
                return {**shape.of(), "avoid": list(shape.avoid)}
            if not self.placement.pending and self.sweep.idle() and not self.sweep.ready(1):
                self.sweep.stop(self.sweep.why_idle())
            return Searcher.FINISHED if self.sweep.finished() else None

    def begin(self, trial_id: str) -> tuple[Any, ...] | None:
        """A trial has its place: what its actor is to take, None if it gets no cell."""
        with self.lock:
            self.failed_starts = 0
            unit = self.placement.begin(trial_id) if self._trusted() else None
            if unit is None:
                self.placement.end(trial_id)
                return None
            self.trials[trial_id] = unit.key
            approved = None if self.approved is None else tuple(self.approved)
            until = Deadline(self.sweep.deadline)
            return unit.key, unit.attempt, dict(unit.built), until, approved, unit.needs.gpu, unit.packed

    def _trusted(self) -> bool:
        """Whether records of workers reach this store: one was seen, or none is awaited. Nothing more is
        started on trust.
        """
        return self.seen or not self.pending

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """A trial ended; one without a report lost its actor or its node."""
        with self.lock:
            if self.placement.end(trial_id):
                self._not_started(error)
            elif (key := self.trials.pop(trial_id, None)) is not None:
                self._ended(key, result if not error else None, self.causes.pop(trial_id, ""))

    def _not_started(self, error: bool) -> None:
        """A trial ended before it began: withdrawn, or its actor did not start."""
        self.failed_starts += error
        if self.failed_starts >= STARTS:
            why = (
                f"{STARTS} workers in a row did not start: see the log of a worker on the cluster (ray logs)"
            )
            self.sweep.fail(BenchError(why))

    def _ended(self, key: str, result: Any, why: str = "") -> None:
        if not result or "key" not in result:
            self._lost(key, why or GONE)
        elif not result["key"]:  # the budget was used up, or the node has not answered the roll call
            self.sweep.done(key, None)
        elif result["no_room"]:  # the cell goes to another node; this one gets none any more
            self.full[result["node_id"]] = f"node {result['node']}: {result['no_room']}"
            self.sweep.done(key, None)
        elif result["crowded"]:
            unit, _ = self.sweep.in_progress[key]
            self.sweep.done(key, None)
            if self.packing is not None:
                self.packing.crowded(unit, result["crowded"])
            self._place_anew()
        elif result["lost"]:
            self._lost(key, result["lost"])
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
                visible = self.sweep.store.holds(key, report["ended"], report["file"])
            except StoreError as e:
                del self.pending[key]
                self.sweep.done(key, None)
                self.sweep.fail(e)
                continue
            if visible:
                del self.pending[key]
                self.seen = True
                unit, _ = self.sweep.in_progress[key]
                self.sweep.done(key, report["status"], report["reason"])
                self._measured(unit, report)
            elif now - pending.since < VISIBLE_WITHIN_S:
                self.pending[key] = replace(pending, polled=now)
            else:
                del self.pending[key]
                label = self.sweep.in_progress[key][0].label
                self.sweep.done(key, None)
                self.sweep.fail(BenchError(_not_shared(label, report, self.sweep.store.url)))

    def _lost(self, key: str, why: str) -> None:
        self.sweep.lost(key, why)
        self._place_anew()

    def _measured(self, unit: Unit, report: Mapping[str, Any]) -> None:
        """Learn from a cell that has ended what cells of its kind take of a GPU."""
        took = Measured(*report["measured"]) if report["status"] == "ok" and report["measured"] else None
        if self.packing is not None and took is not None and self.packing.ended(unit, took):
            self._place_anew()

    def _place_anew(self) -> None:
        """Ask for what waiting cells need by what is known now."""
        if self.packing is None:
            return
        self.sweep.waiting = [self.packing.placed(u) for u in self.sweep.waiting]
        self.sweep.notes += [n for n in self.packing.notes if n not in self.sweep.notes]
        self.placement.look()

    def save(self, checkpoint_path: str) -> None:
        """Save nothing, since the store holds the whole state of a sweep."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing, since `save` saved nothing."""

    def __deepcopy__(self, memo: Any) -> Feed:
        return self  # Tune copies its configuration; there is one sweep

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its configuration for a restore that is never made


class Guard(Callback):
    """Ends Tune's loop on request, gives a trial its cell when it begins, and hears on which node that is."""

    def __init__(self, feed: Feed, abort: threading.Event) -> None:
        self.feed, self.abort = feed, abort
        #: What an actor that took a cell will answer -> the cell's key.
        self._taken: dict[Any, str] = {}

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A trial has its actor now. What is sent to it here arrives before the call that runs the trial."""
        what = self.feed.begin(trial.trial_id)
        if what is not None:
            self._taken[trial.temporary_state.ray_actor.take.remote(*what)] = what[0]

    def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
        """End the loop from inside, or hear where cells began."""
        if self.abort.is_set():
            raise AbortedError
        if not self._taken:
            return
        answered, _ = ray.wait(list(self._taken), num_returns=len(self._taken), timeout=0)
        for answer in answered:
            key = self._taken.pop(answer)
            with suppress(RayError), self.feed.lock:  # of an actor that is gone, Tune tells
                self.feed.sweep.runs_on(key, ray.get(answer))

    def __deepcopy__(self, memo: Any) -> Guard:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Withdrawal(FIFOScheduler):
    """Ends trials that wait for a place of which there is no need any more."""

    def __init__(self, feed: Feed) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.feed = feed

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Called at every step of Tune's loop. Which trial runs is left to Ray."""
        with self.feed.lock:
            if self.feed.sweep.stopped and self.feed.placement.pending:
                self.feed.placement.look()
            surplus = set(self.feed.placement.surplus)
        for trial in list(tune_controller.get_live_trials()) if surplus else ():
            if trial.trial_id in surplus and trial.status == trial.PENDING:
                tune_controller.stop_trial(trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Called before the searcher is told that the trial ended, and not why."""
        with suppress(OSError, TypeError), self.feed.lock:
            self.feed.causes[trial.trial_id] = why_gone(Path(trial.error_file).read_text("utf-8", "replace"))

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Tune (2.60) goes on counting a pending trial that is stopped among those that wait for an actor,
        and keeps an idle actor, with its resources, for it.
        """
        if trial in tune_controller._staged_trials:
            tune_controller._unstage_trial_with_resources(trial)

    def __deepcopy__(self, memo: Any) -> Withdrawal:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {}


def why_gone(said: str) -> str:
    """Why a worker is gone, from what Ray says of it. Its monitor ends workers when a node runs out of
    memory, whoever used it; a cell that uses more than its own limit has been ended before.
    """
    return f"{GONE}: its node ran out of memory, and Ray ended it" if _OUT_OF_MEMORY in said else GONE


def _not_shared(label: str, report: Mapping[str, Any], url: str) -> str:
    return (
        f"{label} ended as {report['status']}, and the worker on node {report['node']} wrote its record to "
        f"store {url}, but {VISIBLE_WITHIN_S:g} s later this process sees no such record there: the store is "
        f"not the same for all nodes. Name one with --store that is: an absolute path in a folder that all "
        f"nodes share, or an fsspec URL such as s3://bucket/prefix"
    )
