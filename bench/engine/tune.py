"""Runs a sweep on Ray: Ray Tune places cells on the cluster's machines, and does nothing else.

A Searcher feeds Tune with trials, each a place for one cell (`cluster/placement.py`); the driver gives a
trial its cell when Ray has given it its place, so that the next cell is chosen late (stages first, budget).
Tune's own time limits, resume and statuses are not used: it counts a cell cut short as a success, ignores
cells that are added later, and cannot tell out of memory from a crash. A worker reuses its actor from cell to
cell, and all actors of a node share one process that runs their cells (`cluster/node.py`).
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
from math import inf
from typing import Any

import ray
from ray import tune
from ray._private.state import available_resources_per_node
from ray._private.state import state as cluster

from bench.contract import BenchError, Needs
from bench.engine.cluster.actor import CellActor
from bench.engine.cluster.asking import RollCall
from bench.engine.cluster.feed import Feed, Guard, Withdrawal
from bench.engine.cluster.packing import Packing
from bench.engine.cluster.placement import ACCELERATOR, Placement
from bench.engine.cluster.rollcall import gpu_gb
from bench.engine.leases import RETRY_S
from bench.engine.local import UNKNOWN, cells_gb, driver_gb, machine
from bench.engine.sweep import Sweep, kind_of, memory_notes, too_large

#: Seconds between two turns of the loop that watches Tune.
TICK_S = 0.2
#: Seconds between two looks at the nodes of the cluster.
NODES_S = 2.0
#: After an interrupt: how long Tune may take to end.
ABORT_S = 5.0
#: How many cells may wait for a place at once: the demand that an autoscaler sees.
MAX_PENDING = 256
#: The same on a Ray that was started here, which no autoscaler makes larger.
FEW_PENDING = 16


def _settings() -> None:
    """Set what Tune reads when it is imported: no loggers, no reporter, no output of its own."""
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


def alive(nodes: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, float]]:
    """Node id -> resources of each node that is alive and gives cells a processor."""
    found = {n["NodeID"]: n["Resources"] for n in nodes if n["Alive"]}
    return {n: r for n, r in found.items() if r.get("CPU", 0.0) > 0}


def leaving(nodes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Id -> what is told of each node that the cluster is about to take away (Ray drains it: it was
    preempted, or the cluster gets smaller). Cells that run there may run until it is gone, with their
    checkpoints copied at once (`bench.engine.cluster.actor`), and then go on elsewhere.
    """
    names = {n["NodeID"]: n["NodeManagerHostname"] for n in nodes if n["Alive"]}
    going = cluster.get_draining_nodes().keys() & names.keys()
    return {n: f"node {names[n]}: the cluster is about to take it away" for n in sorted(going)}


def node_types() -> list[Mapping[str, float]] | None:
    """Resources of the types of nodes that the cluster may start; None: its autoscaler tells none, or it has
    no autoscaler.
    """
    config = cluster.get_cluster_config()
    if config is None or not config.node_group_configs:
        return None
    return [dict(g.resources) for g in config.node_group_configs if g.max_count != 0]


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
            gpu_mem_gb=n.get("gpu_gb"),
            minutes=inf,
            accelerator=_accelerator(n),
        )
        for n in nodes
    ]


def _accelerator(resources: Mapping[str, Any]) -> str:
    """The type of a node's GPUs, which Ray names among its resources."""
    if resources.get("GPU", 0.0) <= 0:
        return ""
    types = (name.removeprefix(ACCELERATOR) for name in resources if name.startswith(ACCELERATOR))
    return next(types, UNKNOWN)


def for_cells(nodes: Sequence[Mapping[str, Any]]) -> list[Needs]:
    """The resources of each machine that Ray gives to cells."""
    return [
        replace(m, mem_gb=n.get("memory", 0.0) / 2**30)
        for m, n in zip(machines(nodes, own=False), nodes, strict=True)
    ]


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


def run(
    sweep: Sweep,
    preload: Sequence[str],
    *,
    address: str | None = None,
    cpus: int | None = None,
    max_pending: int | None = None,
    wait_s: float = 0.0,
    pack: bool = True,
) -> None:
    """Run the sweep until it ends, its budget is used up or it is interrupted (then running cells
    stay new).

    Args:
        sweep: what to run.
        preload: modules that the fork servers load.
        address: the Ray cluster.
        cpus: how many processors to use where Ray is started for the sweep.
        max_pending: how many cells may wait for a place at once (default: `MAX_PENDING`).
        wait_s: how long to hope for nodes that hold what no node here holds, if the cluster does not tell
            which nodes it may start.
        pack: let cells share a GPU where there is room, see `bench.engine.cluster.packing`.
    """
    ours = connect(address, cpus)
    try:
        most = max_pending or (FEW_PENDING if ours else MAX_PENDING)
        _Run(sweep, preload, ours, most, wait_s, pack).run()
    finally:
        if ours:
            ray.shutdown()


class _Run:
    """One sweep on a cluster to which this process is connected."""

    def __init__(
        self,
        sweep: Sweep,
        preload: Sequence[str],
        ours: bool,
        max_pending: int,
        wait_s: float,
        pack: bool = True,
    ) -> None:
        self.sweep, self.preload, self.ours = sweep, preload, ours
        self.lock, self.abort = threading.Lock(), threading.Event()
        self.placement = Placement(sweep, max_pending, alive(_nodes()))
        self.feed = Feed(self.placement, self.lock)
        self.feed.packing = Packing(kind_of, self._gpu_gb) if pack else None
        self.own_gpu_gb = min(gpu_gb(), default=0.0) if ours else 0.0
        self.fault: BaseException | None = None
        self.looked = self.rechecked = time.monotonic()
        self.leaving = dict[str, str]()
        self.fitted, self.hope_until = False, time.monotonic() + wait_s
        # On a Ray that was started here there is nothing to ask: it has our code, our store and our clock.
        self.roll_call = None if ours else RollCall(sweep.waiting, sweep.store.url)
        self.scratch = ""

    def run(self) -> None:
        """Run it to its end.

        Raises:
            BenchError: no node can run cells.
        """
        try:
            if self.roll_call is not None:
                self.roll_call.ask(_named(_nodes()))
                self.roll_call.first(self.sweep.interrupt)
                self._roll()
            self._fit_in()
            self.sweep.on_change(self.sweep)
            if self.sweep.waiting:
                self._watch()
        finally:
            if self.roll_call is not None:
                self.roll_call.close()
            if self.scratch:
                shutil.rmtree(self.scratch, ignore_errors=True)
            for key in list(self.sweep.in_progress):
                self.sweep.done(key, None)

    def _gpu_gb(self, accelerator: str) -> float:
        """Memory of the smallest GPU of a type ("": of any) on which a cell may run, 0 if it is not known."""
        at = self.placement
        right = {n for n, r in at.nodes.items() if not accelerator or f"{ACCELERATOR}{accelerator}" in r}
        known = (gb for n, gb in at.gpu_gb.items() if n in right - at.left_out)
        return min(known, default=self.own_gpu_gb)

    def _roll(self) -> None:
        """Take over which nodes get no cells: those that failed the roll call, those that have no room any
        more, and those that the cluster is about to take away.
        """
        left = {**self.leaving, **self.feed.full}
        if self.roll_call is not None:
            left = {**self.roll_call.left_out, **left}
            self.feed.approved = self.roll_call.approved - left.keys()
            self.placement.gpu_gb = self.roll_call.gpu_gb
            self.sweep.notes += [n for n in self.roll_call.notes if n not in self.sweep.notes]
        self.placement.left_out, self.sweep.left_out = set(left), left
        if self.feed.full and self.placement.nodes.keys() <= left.keys() and not node_types():
            self.sweep.fail(BenchError("no node can run cells any more:\n" + "\n".join(left.values())))

    def _fit_in(self) -> None:
        """Leave out what neither a node fits that is here nor one that the cluster may start."""
        here = [
            {**r, "gpu_gb": self.placement.gpu_gb.get(n)}
            for n, r in self.placement.nodes.items()
            if n not in self.placement.left_out
        ]
        sweep, others = self.sweep, None if self.ours else node_types()
        sweep.machines = for_cells(here)
        if self.fitted or (others is None and time.monotonic() < self.hope_until):
            return
        self.fitted = True
        sweep.too_large |= too_large(sweep.waiting, machines([*here, *(others or ())], self.ours))
        sweep.waiting = [u for u in sweep.waiting if u.key not in sweep.too_large]
        sweep.notes += [n for n in memory_notes(sweep.waiting, sweep.machines) if n not in sweep.notes]

    def _watch(self) -> None:
        """Let Tune run, and watch it. In the main thread it would take over Ctrl-C, which is ours."""
        thread = threading.Thread(target=self._fit, daemon=True, name="tune")
        thread.start()
        while thread.is_alive():
            thread.join(TICK_S)
            if not self._goes_on():
                thread.join(ABORT_S)
                break
        if self.fault is not None and not self.abort.is_set():
            self.sweep.fault = self.fault
            self.sweep.stop(f"Ray Tune ended: {type(self.fault).__name__}: {self.fault}")

    def _goes_on(self) -> bool:
        """One turn of the loop that watches Tune; False: it was interrupted."""
        sweep, now = self.sweep, time.monotonic()
        self.feed.poll()
        nodes = _nodes() if now - self.looked > NODES_S else None
        if self.roll_call is not None:
            self.roll_call.ask(_named(nodes or ()))
        with self.lock:
            if nodes is not None:
                self.looked, self.placement.nodes, self.leaving = now, alive(nodes), leaving(nodes)
            answered = self.roll_call is not None and self.roll_call.poll()
            if answered or nodes is not None or self.feed.full.keys() - self.placement.left_out:
                self._roll()
            if nodes is not None:
                self._fit_in()
            if now - self.rechecked > RETRY_S:
                self.rechecked = now
                sweep.recheck()
            self.placement.watch(available_resources_per_node)
            sweep.on_change(sweep)
            hard = sweep.hard_deadline()
        if sweep.interrupt.is_set():
            sweep.stop("interrupted")
            self.abort.set()
            return False
        if hard is not None and now > hard:
            sweep.stop("the budget is used up")
            self.abort.set()
        return True

    def _fit(self) -> None:
        try:
            self._tuner().fit()
        except BaseException as e:
            self.fault = e

    def _tuner(self) -> tune.Tuner:
        self.scratch = tempfile.mkdtemp(prefix="bench-tune-")
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(self.placement.max_pending)
        known = {u.key: u for u in self.sweep.waiting}
        of = {"units": known, "store": self.sweep.store.url, "preload": tuple(self.preload)}
        actor = tune.with_parameters(CellActor, **of)
        actor.__qualname__ = CellActor.__qualname__  # the name that Ray's dashboard shows
        return tune.Tuner(
            actor,
            tune_config=tune.TuneConfig(
                search_alg=self.feed, scheduler=Withdrawal(self.feed), num_samples=-1, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                storage_path=self.scratch,
                name="sweep",
                verbose=0,
                callbacks=[Guard(self.feed, self.abort)],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )


def _nodes() -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return found


def _named(nodes: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Id and host name of each node that is alive and gives cells a processor."""
    cells = alive(nodes)
    return [(n["NodeID"], n["NodeManagerHostname"]) for n in nodes if n["NodeID"] in cells]
