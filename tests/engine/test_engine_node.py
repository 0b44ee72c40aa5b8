"""The process of a node, without Ray: actors share it, and it outlives none of what it belongs to."""

import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest
from polling import wait_for

from bench.contract import BenchError
from bench.engine.cluster.node import Node, NodeGoneError, Parent, folder_for
from bench.engine.execute import units
from bench.engine.processes import has_ended

pytestmark = pytest.mark.slow


@pytest.fixture
def raylet():
    """A process that stands for the raylet."""
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def nodes(sandbox, raylet, tmp_path):
    """Makes connections of actors to one node, and units whose cells wait for the file ``go``."""
    log, go = sandbox.folder / "log", sandbox.folder / "go"
    sandbox.use("slow").of(
        "slow", grid={"cells": 4}, run={"seconds": 0.0, "log": str(log), "until": str(go)}, seeds=1
    )
    plan = sandbox.plan("sleeps")
    sandbox.units, _ = units(plan, plan.to_run(), sandbox.registry(), failed=False)
    sandbox.log, sandbox.go, sandbox.node_folder = log, go, folder_for("session", "job", str(tmp_path))
    made = []

    def connect(preload=(), linger_s=0.0):
        made.append(Node(sandbox.node_folder, sandbox.store().url, preload, Parent.of(raylet.pid), linger_s))
        return made[-1]

    sandbox.connect = connect
    yield sandbox
    for node in made:
        node.close()
    wait_for(lambda: not servers(sandbox))


def servers(sandbox):
    """The processes of the node, and the fork servers below them."""
    return [
        p.pid
        for p in psutil.process_iter(["cmdline"])
        if str(sandbox.node_folder) in (p.info["cmdline"] or ())
    ]


def cells(sandbox):
    lines = sandbox.log.read_text().splitlines() if sandbox.log.exists() else []
    return [int(line.split()[2]) for line in lines if line.startswith("start")]


def alive(pids):
    return [p for p in pids if not has_ended(p)]


def beginning(sandbox, node, unit, visible=None):
    """Run a unit in a thread; returns the thread and the list that gets its end."""
    out, before = [], len(cells(sandbox))

    def run():
        try:
            out.append(node.run(unit, visible))
        except (BenchError, NodeGoneError) as error:
            out.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    wait_for(lambda: len(cells(sandbox)) > before or out, seconds=900)  # a fork server has to start
    return thread, out


def test_actors_share_it_and_each_takes_only_its_own_cell_with_it(nodes, raylet):
    first, second = nodes.connect(), nodes.connect()
    one, lost = beginning(nodes, first, nodes.units[0], "")
    two, ended = beginning(nodes, second, nodes.units[1], "7")
    (server,) = servers(nodes)
    assert os.getsid(server) == server != os.getsid(0), "a signal to the actor's group does not reach it"
    assert len(psutil.Process(server).children()) == 1 + 1, "one fork server, and its resource tracker"
    a, b = cells(nodes)
    with socket.socket(fileno=os.dup(first._connection.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)  # as when an actor is killed
    one.join()
    assert isinstance(lost[0], NodeGoneError)
    wait_for(lambda: not alive([a]))
    assert alive([b])
    nodes.go.touch()
    two.join()
    assert (ended[0].status, ended[0].reason) == ("ok", "")
    assert nodes.store().holds(nodes.units[1].key, ended[0].ended)
    assert nodes.store().read(nodes.units[1].key).where["threads"] == 1

    # Killed, it takes its cells with it, and the next cell gets another.
    nodes.go.unlink()
    killed, how = beginning(nodes, second, nodes.units[2])
    os.kill(server, signal.SIGKILL)
    killed.join()
    assert isinstance(how[0], NodeGoneError)
    wait_for(lambda: not alive(cells(nodes)))
    _, _ = beginning(nodes, second, nodes.units[2])
    (other,) = servers(nodes)
    assert other != server
    assert len(alive(cells(nodes))) == 1

    # It ends with the raylet, and its cells with it.
    raylet.kill()
    wait_for(lambda: not alive(cells(nodes)) and not alive([other]))
    assert not nodes.node_folder.exists()
    assert set(nodes.store().summaries()) == {nodes.units[1].key}


def test_it_waits_a_while_for_the_next_actor(nodes):
    nodes.go.touch()
    first = nodes.connect(linger_s=600.0)
    assert first.run(nodes.units[0], None).status == "ok"
    first.close()
    time.sleep(1.0)
    (server,) = servers(nodes)
    again = nodes.connect()
    assert again.run(nodes.units[1], None).status == "ok"
    assert servers(nodes) == [server]
    os.kill(server, signal.SIGTERM)


def test_a_deep_folder_for_temporary_files_is_too_long_for_a_socket(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", f"/{'deep/' * 20}")
    assert folder_for("a", "b").parent == Path("/tmp")
    assert folder_for("a", "b") != folder_for("a", "c")


def test_what_cannot_be_loaded_is_said(nodes, sandbox, monkeypatch):
    (sandbox.folder / "broken_preload.py").write_text("raise ImportError('no')")
    monkeypatch.syspath_prepend(sandbox.folder)
    node = nodes.connect(["broken_preload"])
    with pytest.raises(BenchError, match="could not preload broken_preload: python -c 'import broken_pre"):
        node.run(nodes.units[0], None)
    assert not servers(nodes)
