"""Launched sweeps as jobs: what is sent, how one is found, followed and stopped (by a made-up client)."""

import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.cluster import jobs
from bench.contract import BenchError

ROOT = Path(__file__).resolve().parents[2]


def job(key, status="RUNNING", start=0, ours=True, message="", code=None):
    return SimpleNamespace(
        submission_id=key, status=status, start_time=start, end_time=None, message=message,
        metadata={jobs.MARK: "0.1.0"} if ours else {}, driver_exit_code=code, entrypoint="",
    )  # fmt: skip


class Client:
    """A job server that was asked ``calls`` and whose jobs go through the states that a test gives."""

    def __init__(self, *found, states=(), pieces=()):
        self.found, self.states, self.pieces, self.calls = list(found), list(states), list(pieces), []

    def list_jobs(self):
        return self.found

    def get_job_info(self, key):
        if self.states:
            return self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return next(j for j in self.found if j.submission_id == key)

    def submit_job(self, **what):
        self.calls.append(what)
        return what["submission_id"]

    def stop_job(self, key):
        self.calls.append(key)
        return True

    async def tail_job_logs(self, key):
        for piece in self.pieces.pop(0):
            if isinstance(piece, Exception):
                raise piece
            yield piece


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(jobs, "POLL_S", 0.0)


# ----------------------------------------------------------------------------------------------- what is sent


def test_requirements_are_ours_in_the_tested_versions_and_leave_ray_to_the_cluster():
    wanted = jobs.requirements(ROOT, "paper", "s3://bucket/x")
    names = {w.partition(">")[0].partition("[")[0].partition("=")[0].strip() for w in wanted}
    assert {"torch", "pydantic", "torch-fidelity", "s3fs", "pyarrow"} <= names
    assert "ray" not in names
    assert "s3fs" not in " ".join(jobs.requirements(ROOT, "paper", "/shared/store"))
    assert "mlxtend>=0.24" in jobs.requirements(ROOT, "laptop", "/shared/store")
    assert wanted[-1] == "-c ${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/constraints.txt"
    assert len(set(wanted)) == len(wanted)


@pytest.mark.parametrize("installer", ["", "pip", "uv"])
def test_ray_takes_the_environment(installer, tmp_path):
    ray_env = pytest.importorskip("ray.runtime_env")
    env = jobs.runtime_env(None, installer=installer, wanted=["torch>=2.9", "-c ${X}/constraints.txt"])
    assert ray_env.RuntimeEnv(**env)
    assert jobs.runtime_env(tmp_path / "x.zip")["working_dir"] == str(tmp_path / "x.zip")
    image = jobs.runtime_env(None, image="me/gridbench:1")
    assert ray_env.RuntimeEnv(**image)["image_uri"] == "me/gridbench:1"


def test_nothing_is_sent_but_what_the_job_needs(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very secret")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "very secret")
    client = Client()
    jobs.submit(client, "bench-x-1", ["-p", "paper"], jobs.runtime_env(None), {"profile": "paper"})
    (sent,) = client.calls
    assert "very secret" not in str(sent)
    assert sent["metadata"] == {jobs.MARK: "", "profile": "paper"}


def test_the_command_says_in_one_line_if_the_cluster_has_no_gridbench(tmp_path):
    command = jobs.entrypoint("bench-x-1", ["-p", "paper", "-k", "a b|c"])
    assert shlex.split(command.rpartition("exec ")[2]) == [
        "python", "-m", "bench.cluster.start", "bench-x-1", "run", "-p", "paper", "-k", "a b|c",
    ]  # fmt: skip
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    ran = subprocess.run(
        ["/bin/sh", "-c", command], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("error there is no gridbench for the Python of this cluster")
    assert ran.stderr.count("\n") == 1


# ------------------------------------------------------------------------------------------- found again


def test_a_sweep_is_found_by_its_key_or_because_it_runs():
    old, runs = job("bench-paper-aa11", "SUCCEEDED", 1), job("bench-paper-bb22", "RUNNING", 2)
    client = Client(old, runs, job("somebody", ours=False, start=3))
    assert jobs.ours(client) == [runs, old]
    assert jobs.find(client, "", "URL") is runs
    assert jobs.find(client, "bench-paper-a", "URL") is old
    assert jobs.find(Client(old), "", "URL") is old
    for found, start, said in (
        (client, "bench-paper-bb23", "did you mean 'bench-paper-bb22'?"),
        (client, "bench-paper", "several sweeps start with"),
        (client, "somebody", "no sweep at URL has key"),
        (Client(), "", "no sweep was launched at URL"),
        (Client(runs, job("bench-paper-cc33")), "", "name one: "),
    ):
        with pytest.raises(BenchError) as e:
            jobs.find(found, start, "URL")
        assert said in str(e.value)


def test_a_log_is_followed_over_a_broken_connection_and_nothing_is_shown_twice():
    key = "bench-x-1"
    states = [
        *[job(key, "PENDING", message="making the environment")] * 2,
        job(key), job(key), job(key, "SUCCEEDED", code=0),
    ]  # fmt: skip
    client = Client(states=states, pieces=[["one\n", "two", RuntimeError("gone")], ["one\ntwo\nthr", "ee\n"]])
    shown, waited = [], []
    ended = jobs.follow(client, key, shown.append, waited.append)
    assert ended.status == "SUCCEEDED"
    assert "".join(shown) == "one\ntwo\nthree\n"
    assert waited == ["making the environment"]


def test_a_server_that_is_gone_ends_the_following():
    class Gone(Client):
        def get_job_info(self, key):
            raise ConnectionError("refused\nwith a long tail")

    with pytest.raises(BenchError, match=r"the cluster does not say how bench-x-1 is: refused$"):
        jobs.follow(Gone(), "bench-x-1", print, print)


# ----------------------------------------------------------------------------------------------------- stop


def test_stop_sends_a_signal_by_a_job_of_its_own():
    runs = job("bench-x-1")
    client = Client(runs, states=[runs, job("m", "RUNNING"), job("m", "SUCCEEDED")])
    assert jobs.stop(client, runs, now=False)
    (sent,) = client.calls
    assert sent["entrypoint"] == 'kill -USR1 $(cat "${TMPDIR:-/tmp}"/gridbench-bench-x-1.pid)'
    assert sent["submission_id"].startswith("bench-x-1-stop-")
    assert jobs.MARK not in sent.get("metadata", {}), "it is no sweep"
    with pytest.raises(BenchError, match="no such process"):
        jobs.stop(Client(runs, states=[runs, job("m", "FAILED", message="no such process")]), runs, now=False)


def test_stop_at_once_is_rays_own_and_an_ended_sweep_is_told():
    runs, ended = job("bench-x-1"), job("bench-x-2", "FAILED")
    client = Client(runs, ended)
    assert jobs.stop(client, runs, now=True)
    assert client.calls == ["bench-x-1"]
    assert not jobs.stop(client, ended, now=True)
    assert not jobs.stop(client, ended, now=False)
