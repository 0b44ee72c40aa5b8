"""On Ray: the same records as without it; fractions of pretended GPUs; a node that goes away."""

import json
import platform
import time
from collections import Counter

import psutil
import pytest
from polling import beside, wait_for
from test_engine_status import ENDS, check_ends, left_over

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def told(records):
    """What of a record may not depend on where it was made."""
    return {
        row: (
            r.status, r.reason if "GB" not in r.reason else "", r.attempts, r.metrics, r.marks, r.limits,
            r.cell, r.error.get("type"), r.provenance.get("code"),
        )
        for row, r in records.items()
    }  # fmt: skip


def test_every_status_as_without_ray(sandbox, ended_here):
    sandbox.plugins, flag = ended_here.plugins, str(ended_here.folder / "flag")
    sandbox.write(ended_here.suite.read_text())
    sweep = sandbox.run(*ENDS, local=False, address="local", cpus=2)
    assert not sweep.stopped
    records = sandbox.by_row()
    check_ends(records)
    assert left_over(flag) == []
    assert told(records) == told(ended_here.by_row())
    assert {e.unit.key for e in sweep.ended} == {r.key for r in records.values() if r.status != "skipped"}


@pytest.fixture
def cluster(monkeypatch):
    """Three nodes: a head that only drives, two with one processor and one pretended GPU each."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1, num_gpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    yield cluster, nodes
    ray.shutdown()
    cluster.shutdown()


def servers(store):
    """The processes of nodes that run the cells of sweeps into a store, by the raylet of their node."""
    found = {}
    for p in psutil.process_iter(["cmdline"]):
        *code, settings = p.info["cmdline"] or ("",)
        if any("bench.engine.cluster.node" in word for word in code) and str(store) in settings:
            found[json.loads(settings)[2]] = p
    return found


def begun_on(node, sandbox):
    """The processes of the cells that began on a node and are still there, by the log of the stub."""
    log = sandbox.folder / "log"
    pids = [int(line.split()[2]) for line in log.read_text().splitlines()] if log.exists() else []
    raylet = node.all_processes["raylet"][0].process.pid
    server = servers(sandbox.store_folder).get(raylet)
    try:
        below = {p.pid for p in server.children(recursive=True)} if server else set()
    except psutil.NoSuchProcess:  # what started the server has the same words, and ends at once
        below = set()
    return [pid for pid in pids if pid in below]


def test_a_node_that_goes_away_costs_an_attempt_and_no_cell(sandbox, cluster):
    made, nodes = cluster
    log, go = sandbox.folder / "log", sandbox.folder / "go"
    sandbox.use("slow").of(
        "slow",
        grid={"cells": 6},
        run={"seconds": 0.0, "log": str(log), "until": str(go)},
        needs={"half": {"cpu": 0.5}},
    )
    hit = []

    def remove_it():
        try:
            hit.extend(wait_for(lambda: len(cells := begun_on(nodes[1], sandbox)) == 2 and cells))
            made.remove_node(nodes[1], allow_graceful=False)
            wait_for(lambda: not any(psutil.pid_exists(pid) for pid in hit), "a cell dies with its node")
        finally:
            go.touch()  # no cell has ended before

    with beside(remove_it):
        sweep = sandbox.run("half", local=False, address=made.address)
    assert not sweep.stopped
    records = sandbox.records()
    assert len(records) == 6
    assert Counter(r.status for r in records) == {"ok": 6}
    assert sorted(r.attempts for r in records) == [1, 1, 1, 1, 2, 2], "two cells were on that node"
    assert {json.dumps(dict(r.limits)) for r in records} == {
        json.dumps({"cpu": 0.5, "gpu": 0.5, "gpu_mem_gb": None, "mem_gb": 4.0, "minutes": 10.0})
    }
    assert {r.where["device"] for r in records} == {"cuda"}
    assert any("torch sees none" in line for r in records for line in r.log)


@pytest.mark.nightly
def test_a_node_that_is_drained_ends_its_cells_and_gets_no_more(sandbox, cluster):
    import ray
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    made, nodes = cluster
    log = sandbox.folder / "log"
    seen = []  # the sweep, which says what nodes it leaves out
    sandbox.use("slow").of(
        "slow",
        grid={"cells": 6},
        run={"seconds": 0.0, "log": str(log), "until": str(sandbox.folder / "go-{i}")},
        needs={"half": {"cpu": 0.5}},
    )

    def said(word):
        """Process -> number of each cell that has said it."""
        lines = [line.split() for line in log.read_text().splitlines()]
        return {int(pid): i for what, i, pid in lines if what == word}

    def release(cells):
        for i in cells:
            (sandbox.folder / f"go-{i}").touch()

    def drain_it():
        try:
            on_it = wait_for(lambda: len(pids := begun_on(nodes[1], sandbox)) == 2 and pids)
            wait_for(lambda: len(said("start")) == 4, "both nodes are full")
            in_an_hour = int(1000 * (time.time() + 3600))
            why = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
            head = ray._raylet.GcsClient(address=made.address)
            assert head.drain_node(nodes[1].node_id, why, "a test", in_an_hour) == (True, "")
            wait_for(lambda: "is about to take it away" in seen[0].left_out.get(nodes[1].node_id, ""))
            assert begun_on(nodes[1], sandbox) == on_it, "cells go on while the node is there"
            first = said("start")
            wait_for(
                lambda: set(seen[0].nodes.values()) == {f"{platform.node()} ({n.node_id[:6]})" for n in nodes}
            )
            release(first[pid] for pid in on_it)
            wait_for(lambda: set(said("end")) == set(on_it))
            release(first.values())
            wait_for(lambda: len(said("start")) == 6)
            assert begun_on(nodes[1], sandbox) == [], "the last two began on the other node"
        finally:
            release(range(6))

    with beside(drain_it):
        sweep = sandbox.run("half", local=False, address=made.address, on_change=seen.append)
    assert not sweep.stopped
    assert [(r.status, r.attempts) for r in sandbox.records()] == [("ok", 1)] * 6


@pytest.mark.nightly
def test_a_node_that_cannot_end_a_cell_well_gets_none_and_the_others_go_on(sandbox, cluster):
    made, _ = cluster
    made.add_node(num_cpus=8, num_gpus=2, env_vars={"BENCH_CACHE": "/proc/nowhere"})
    made.wait_for_nodes()
    log, go = sandbox.folder / "log", sandbox.folder / "go"
    sandbox.use("slow").of(
        "slow",
        grid={"cells": 8},
        run={"seconds": 0.0, "log": str(log), "until": str(go)},
        needs={"half": {"cpu": 0.5}},
    )
    seen = []

    def count():
        """Both good nodes run cells at once."""
        try:
            wait_for(lambda: len(servers(sandbox.store_folder)) == 2, seconds=600)
            seen.extend(log.read_text().splitlines() if log.exists() else [])
        finally:
            go.touch()

    with beside(count):
        sweep = sandbox.run("half", "sleeps", local=False, address=made.address, max_pending=3)
    assert not sweep.stopped
    assert Counter(e.status for e in sweep.ended) == {"ok": 16}
    assert len(sandbox.records()) == 16
    (why,) = sweep.left_out.values()
    assert "0.00 GB are free in /proc/nowhere" in why
    assert "BENCH_CACHE" in why
    assert len(seen) <= 4, "more cannot run on two nodes"
    assert not list((sandbox.store_folder / "tmp").iterdir())


def test_where_no_node_can_run_cells_the_command_ends_at_once(sandbox, cluster, bench):
    made, nodes = cluster
    for node in nodes:
        made.remove_node(node)
    made.add_node(num_cpus=2, num_gpus=1, env_vars={"BENCH_CACHE": "/proc/nowhere"})
    made.wait_for_nodes()
    sandbox.use("slow").of(
        "slow", grid={"cells": 2}, run={"seconds": 0.0, "log": str(sandbox.folder / "log")}
    )
    said = bench(*sandbox.arguments("run", "-m", "half", "--address", made.address))
    assert said.code == 2
    assert "no node of the cluster can run cells" in said.err
    assert "0.00 GB are free in /proc/nowhere" in " ".join(said.err.split())
    assert sandbox.records() == []
