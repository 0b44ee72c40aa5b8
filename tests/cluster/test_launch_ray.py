"""A sweep launched on a head with a token: followed, left, found again from another client, and stopped."""

import os
import re
import signal
import subprocess
import sys

import pytest
from polling import wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1500)]
pytest.importorskip("aiohttp_cors", reason="needs ray[default]: pip install 'gridbench[cluster]'")

CELLS = 3
#: Seconds in which a job gets its environment and its driver, on a machine that is busy with other things.
JOB_S = 400.0


@pytest.fixture(scope="module")
def cluster():
    from ray_head import head

    with head(cpus=1) as found:
        yield found


@pytest.fixture
def client(cluster, sandbox):
    """Runs a command of bench as a client of the cluster, in a process of its own."""

    def start(*words, token=cluster.token, **how):
        own = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        return subprocess.Popen(
            [sys.executable, "-m", "bench.cli", *words, "--address", cluster.url],
            cwd=sandbox.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=own | {"RAY_AUTH_TOKEN": token, "COLUMNS": "200", "HOME": str(sandbox.folder)}, **how,
        )  # fmt: skip

    def run(*words, **how):
        process = start(*words, **how)
        out, _ = process.communicate(timeout=JOB_S)
        return process.returncode, out

    run.start = start
    return run


def launch(client, sandbox, *words):
    code, out = client("launch", *sandbox.arguments("-m", "sleeps"), *words, "--detach")
    assert code == 0, out
    return re.search(r"bench-laptop-[0-9a-f]{8}", out)[0]


def slow_cells(sandbox):
    log, go = sandbox.folder / "log", sandbox.folder / "go"
    run = {"seconds": 0.0, "log": str(log), "until": f"{go}{{i}}"}
    sandbox.use("slow").of("slow", grid={"cells": CELLS}, run=run)
    return log, lambda i: (sandbox.folder / f"go{i}").touch()


def started(log):
    return (
        [line.split()[1] for line in log.read_text().splitlines() if line.startswith("start")]
        if log.exists()
        else []
    )


def test_a_client_that_goes_ends_nothing_and_another_one_follows(cluster, client, sandbox):
    log, release = slow_cells(sandbox)
    for token, said in (("", "asks for a token and none was sent"), ("0" * 32, "does not take this token")):
        code, out = client("status", token=token)
        assert (code, said in out, "Traceback" in out) == (2, True, False), out
    run = ["run", *sandbox.arguments("-m", "sleeps"), "--address", cluster.address]
    own = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"HOME": str(sandbox.folder)}
    for environment in (
        {"RAY_AUTH_MODE": "disabled"},
        {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 32},
    ):
        done = subprocess.run(
            [sys.executable, "-m", "bench.cli", *run], env=own | environment, cwd=sandbox.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        said = f"the cluster at {cluster.address} does not take the token of this process, or none was given"
        assert (done.returncode, said in done.stdout) == (2, True), done.stdout
        assert "gcs_client" not in done.stdout, "none of Ray's own words"
    key = launch(client, sandbox)
    wait_for(lambda: len(started(log)) == 1, "the first cell runs", JOB_S)

    following = client.start("logs", key, "-f", start_new_session=True)
    assert wait_for(following.stdout.readline, "the log is followed", JOB_S)
    following.send_signal(signal.SIGINT)
    out, _ = following.communicate(timeout=JOB_S)
    assert following.returncode == 130, out
    assert f"{key} goes on. Come back with bench logs {key} -f --address {cluster.url}" in out

    code, out = client("status")
    assert code == 0, out
    assert re.search(rf"{key} +running", out)
    assert cluster.token not in out

    for i in range(CELLS):
        release(i)
    code, out = client("logs", key, "-f")
    assert code == 0, out
    assert f"{key}: succeeded" in out
    assert f"{CELLS} cells and stages ended" in out
    records = sandbox.records()
    assert [(r.status, r.metrics) for r in sorted(records, key=lambda r: r.cell["task"])] == [
        ("ok", {"value": float(i)}) for i in range(CELLS)
    ]
    assert {r.provenance["commit"] for r in records} != {"v0.1.0"}, "the commit that was sent"
    assert (sandbox.store_folder / "live" / "status.html").is_file()


@pytest.mark.nightly
def test_a_stopped_sweep_lets_its_cells_end_and_goes_on_later(client, sandbox):
    log, release = slow_cells(sandbox)
    key = launch(client, sandbox)
    wait_for(lambda: len(started(log)) == 1, "the first cell runs", JOB_S)
    code, out = client("stop", key)
    assert (code, f"{key} starts no more cells" in out) == (0, True), out
    for i in range(CELLS):
        release(i)
    code, out = client("logs", key, "-f")
    assert code == 0, out
    assert "stopped: asked to stop" in out
    assert "ok" in {r.status for r in sandbox.records()}
    code, out = client("stop", key)
    assert (code, f"{key} has ended already" in out) == (0, True), out


@pytest.mark.nightly
def test_a_sweep_is_stopped_at_once(client, sandbox):
    log, _ = slow_cells(sandbox)
    key = launch(client, sandbox)
    wait_for(lambda: len(started(log)) == 1, "the first cell runs", JOB_S)
    code, out = client("stop", key[:-2], "--now")
    assert (code, f"{key} is stopped" in out) == (0, True), out
    code, out = client("logs", key, "-f")
    assert code == 130, out
    assert f"{key}: stopped" in out
    assert sandbox.records() == [], "what ran stays new"
    code, out = client("logs", "bench-laptop-zz")
    assert (code, "no sweep at" in out) == (2, True), out
