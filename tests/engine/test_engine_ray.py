"""On Ray: the same records as without it; fractions of pretended GPUs; a node that goes away."""

import json
import threading
import time
from collections import Counter
from contextlib import suppress

import psutil
import pytest
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


def test_every_status_as_without_ray(lab):
    lab.use("faults").of("faults", run={"flag": "same"})
    lab.run(*ENDS)
    local = lab.by_row()
    lab.store_folder.rename(lab.folder / "other")
    sweep = lab.run(*ENDS, local=False, address="local", cpus=2)
    assert not sweep.stopped
    records = lab.by_row()
    check_ends(records)
    assert left_over() == []
    assert told(records) == told(local)
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


def test_a_node_that_goes_away_costs_an_attempt_and_no_cell(lab, cluster):
    made, nodes = cluster
    log = lab.folder / "log"
    lab.use("slow").of(
        "slow",
        grid={"cells": 8},
        run={"seconds": 1.0, "log": str(log)},
        needs={"half": {"cpu": 0.5}},
    )

    raylet = nodes[1].all_processes["raylet"][0].process.pid
    hit = []

    def remove():
        """The second node, as soon as a cell runs on it."""
        until = time.time() + 120
        while not hit and time.time() < until:
            time.sleep(0.1)
            for line in log.read_text().splitlines() if log.exists() else []:
                word, _, pid = line.split()
                with suppress(psutil.NoSuchProcess):
                    if word == "start" and raylet in {p.pid for p in psutil.Process(int(pid)).parents()}:
                        hit.append(int(pid))
        made.remove_node(nodes[1], allow_graceful=False)

    thread = threading.Thread(target=remove, daemon=True)
    thread.start()
    sweep = lab.run("half", local=False, address=made.address)
    thread.join()
    assert hit, "both nodes have work"
    assert not sweep.stopped
    records = lab.records()
    assert len(records) == 8
    assert Counter(r.status for r in records) == {"ok": 8}
    again = [r for r in records if r.attempts > 1]
    assert 1 <= len(again) <= 2, "the two cells of the node that went away"
    assert {json.dumps(dict(r.limits)) for r in records} == {
        json.dumps({"cpu": 0.5, "gpu": 0.5, "gpu_mem_gb": None, "mem_gb": 4.0, "minutes": 10.0})
    }
    assert {r.where["device"] for r in records} == {"cuda"}
    assert any("torch sees none" in line for r in records for line in r.log)
    assert not psutil.pid_exists(hit[0]), "a cell dies with its node"
