"""A head of `ray start` for tests: on the loopback, with an own temporary folder, ended by process id."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from polling import wait_for

#: Seconds for a head to be there, on a machine that is busy with other things.
START_S = 600.0
#: Ray gives up on what does not start within 30 s, which on a busy machine is often.
PATIENCE = {
    "RAY_raylet_start_wait_time_s": "600", "RAY_agent_register_timeout_ms": "600000",
    "RAY_worker_register_timeout_seconds": "600", "RAY_gcs_server_request_timeout_seconds": "300",
    "RAY_health_check_timeout_ms": "120000", "RAY_health_check_initial_delay_ms": "120000",
    "RAY_JOB_START_TIMEOUT_SECONDS": "900", "RAY_worker_niceness": "0",
}  # fmt: skip


@dataclass
class Head:
    """A head that runs: the URL of its job server, the address of its cluster, and its token."""

    url: str
    address: str
    token: str
    folder: Path


def _free(n: int) -> list[int]:
    """Ports that nobody uses."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


@contextmanager
def head(cpus: int = 2, *, token: bool = True) -> Iterator[Head]:
    """A head with a job server, with token authentication or without."""
    folder = Path(tempfile.mkdtemp(prefix="bh-"))  # short: Ray's sockets lie below it
    gcs, jobs, client, manager, objects, agent, agent_grpc, runtime, metrics = _free(9)
    secret = secrets.token_hex(16) if token else ""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHONPATH"))} | {
        "RAY_AUTH_MODE": "token" if token else "disabled",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        **PATIENCE,
    }
    if token:
        environment["RAY_AUTH_TOKEN"] = secret
    options = {
        "port": gcs, "dashboard-port": jobs, "ray-client-server-port": client, "node-manager-port": manager,
        "object-manager-port": objects, "dashboard-agent-listen-port": agent, "num-cpus": cpus,
        "dashboard-agent-grpc-port": agent_grpc, "runtime-env-agent-port": runtime,
        "metrics-export-port": metrics, "temp-dir": folder, "node-ip-address": "127.0.0.1",
        "dashboard-host": "127.0.0.1", "object-store-memory": 80 * 2**20, "memory": 8 * 2**30,
    }  # fmt: skip
    line = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--block",
        "--disable-usage-stats",
    ]
    log = (folder / "start.log").open("wb")
    process = subprocess.Popen(
        [*line, *(f"--{k}={v}" for k, v in options.items())],
        env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd=folder,
    )  # fmt: skip
    url = f"http://127.0.0.1:{jobs}"
    try:
        wait_for(lambda: _answers(url, secret, process, folder), "the head answers", START_S)
        yield Head(url, f"127.0.0.1:{gcs}", secret, folder)
    finally:
        log.close()
        _end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _answers(url: str, token: str, process: subprocess.Popen[bytes], folder: Path) -> bool:
    started = (folder / "start.log").read_text(errors="replace")
    assert process.poll() is None, started
    if "Ray runtime started" not in started:
        return False
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        # Jobs are taken once the head's agent is there too.
        with urllib.request.urlopen(
            urllib.request.Request(f"{url}/api/jobs/", headers=headers), timeout=5
        ) as a:
            return isinstance(json.loads(a.read()), list)
    except (OSError, ValueError):
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End `ray start --block` and everything that it started."""
    try:
        below = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        below = []
    for each in (psutil.Process(process.pid), *below) if process.poll() is None else below:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait(30)
