"""Launched sweeps: jobs of a Ray cluster whose driver is ``bench run``, by Ray's job submission client."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import shlex
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import packages
from bench.cluster.address import VARIABLE, Server, probe
from bench.contract import BenchError
from bench.errors import nearest

if TYPE_CHECKING:
    from ray.job_submission import JobDetails as JobDetails
    from ray.job_submission import JobSubmissionClient as JobSubmissionClient

#: The entry of a job's metadata by which ours are told from others; its value is our version.
MARK = "gridbench"
#: Seconds that Ray gives the driver to end its cells before it is killed.
END_S = 30
#: Seconds between two looks at a job's state, and for which a signal may take to arrive.
POLL_S, SIGNAL_S = 0.5, 60.0
#: The end states of a job.
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


def connect(address: str | None) -> tuple[JobSubmissionClient, Server]:
    """A client for the job server at an address.

    Raises:
        BenchError: the extra ``cluster`` is not installed, or see `bench.cluster.address.probe`.
    """
    if why := packages.missing("jobs on a cluster", {"aiohttp": (), "requests": ()}, "cluster"):
        raise BenchError(why)
    server = probe(address)
    from ray.job_submission import JobSubmissionClient

    for name in (JobSubmissionClient.__module__, JobSubmissionClient.__base__.__module__):
        logging.getLogger(name).setLevel(logging.ERROR)
    headers = {"Authorization": f"Bearer {server.token}"} if server.token else None
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = server.url  # for Ray a variable counts for more than what it is given
    try:
        with _said(f"{server.url} does not answer as a job server"):
            return JobSubmissionClient(server.url, headers=headers), server
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


@contextmanager
def _said(what: str) -> Iterator[None]:
    """Say what Ray's client raises in one line."""
    try:
        yield
    except BenchError:
        raise
    except (RuntimeError, OSError, ValueError) as e:
        raise BenchError(
            f"{what}: {str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__}"
        ) from e
    except Exception as e:
        if type(e).__module__.partition(".")[0] not in ("ray", "requests", "aiohttp"):
            raise
        raise BenchError(f"{what}: {type(e).__name__}: {e}") from e


def check_token(address: str) -> None:
    """Raise `BenchError` if a cluster, which listens at ``address``, does not take the token of this process.

    `ray.init` would find out after half a minute and twenty warnings.
    """
    # As `ray symmetric-run` does; Ray has no public way.
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.exceptions import AuthenticationError, RayError

    try:
        with _quiet():
            GcsClient(address=address)
    except AuthenticationError as e:
        raise BenchError(
            f"the cluster at {address} does not take the token of this process, or none was given: set "
            "RAY_AUTH_MODE=token, and the token by RAY_AUTH_TOKEN or in ~/.ray/auth_token"
        ) from e
    except RayError:
        return  # what else is wrong is found when it is joined


@contextmanager
def _quiet() -> Iterator[None]:
    """Let nothing through to stderr, to which Ray's compiled part writes warnings of its own."""
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def new_key(profile: str) -> str:
    """A key for a sweep that is to be launched."""
    return f"bench-{re.sub('[^A-Za-z0-9]+', '-', profile)}-{secrets.token_hex(4)}"


def requirements(root: Path, profile: str, store: str) -> list[str]:
    """What pip or uv has to install on a node: our dependencies in the tested versions, and Ray Tune's.

    Ray itself is the cluster's own: another version could not join it.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = ["paper" if profile == "paper" else "laptop", *(["s3"] if store.startswith("s3://") else [])]
    wanted = [*project["dependencies"], *(d for e in extras for d in project["optional-dependencies"][e])]
    tune = [
        r.partition(";")[0].strip() for r in metadata.requires("ray") or () if "'tune'" in r or '"tune"' in r
    ]
    own = [r for r in (*wanted, *tune) if not r.startswith("ray")]
    return [*dict.fromkeys(own), "-c ${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/constraints.txt"]


def runtime_env(
    working_dir: Path | None, *, image: str = "", installer: str = "", wanted: Sequence[str] = ()
) -> dict[str, Any]:
    """The environment of the driver and of all workers.

    Args:
        working_dir: the zipped working directory, None with an image.
        image: a container image that has gridbench and its dependencies.
        installer: ``pip`` or ``uv``, to install what is ``wanted`` on each node.
        wanted: see `requirements`.
    """
    env: dict[str, Any] = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(END_S)}}
    if working_dir is not None:
        env["working_dir"] = str(working_dir)
    if image:
        env["image_uri"] = image
    if installer == "pip":
        env["pip"] = {"packages": list(wanted), "pip_check": False}
    elif installer == "uv":
        env["uv"] = {"packages": list(wanted), "uv_check": False}
    return env


def entrypoint(key: str, arguments: Sequence[str]) -> str:
    """The shell command of the driver."""
    command = shlex.join(["python", "-m", "bench.cluster.start", key, "run", *arguments])
    told = (
        "error there is no gridbench for the Python of this cluster: launch from a clone, which sends it, or "
        "give an --image that has it"
    )
    return (
        f"python -c 'import bench' 2>/dev/null || {{ echo {shlex.quote(told)} >&2; exit 2; }}; exec {command}"
    )


def submit(
    client: JobSubmissionClient,
    key: str,
    arguments: Sequence[str],
    env: Mapping[str, Any],
    about: Mapping[str, str],
) -> None:
    """Start a sweep on the cluster. What is in ``about`` is shown to whoever sees the cluster's dashboard."""
    with _said("the cluster did not take the job"):
        client.submit_job(
            entrypoint=entrypoint(key, arguments),
            submission_id=key,
            runtime_env=dict(env),
            metadata={MARK: about.get("version", ""), **about},
        )


def ours(client: JobSubmissionClient) -> list[JobDetails]:
    """Launched sweeps of this cluster, the newest first."""
    with _said("the cluster does not list its jobs"):
        found = [j for j in client.list_jobs() if MARK in (j.metadata or {}) and j.submission_id]
    return sorted(found, key=lambda j: j.start_time or 0, reverse=True)


def find(client: JobSubmissionClient, start: str, url: str) -> JobDetails:
    """The sweep whose key starts with ``start``; without, the one that runs, or else the last one.

    Raises:
        BenchError: there is none, or several are meant.
    """
    jobs = ours(client)
    known = [str(j.submission_id) for j in jobs]
    if not jobs:
        raise BenchError(f"no sweep was launched at {url} since its head was started")
    if not start:
        running = [j for j in jobs if j.status not in ENDED]
        if len(running) > 1:
            raise BenchError(
                f"several sweeps run at {url}; name one: {', '.join(str(j.submission_id) for j in running)}"
            )
        return (running or jobs)[0]
    matches = [j for j in jobs if str(j.submission_id) == start] or [
        j for j in jobs if str(j.submission_id).startswith(start)
    ]
    if len(matches) != 1:
        what = "several sweeps start with" if matches else "no sweep at " + url + " has key"
        raise BenchError(f"{what} {start!r}{nearest(start, known)}")
    return matches[0]


def details(client: JobSubmissionClient, key: str) -> JobDetails:
    """What the cluster knows of a job now."""
    with _said(f"the cluster does not say how {key} is"):
        return client.get_job_info(key)


def logs(client: JobSubmissionClient, key: str) -> str:
    """All that the driver wrote so far."""
    with _said(f"the cluster does not give the log of {key}"):
        return client.get_job_logs(key)


def follow(
    client: JobSubmissionClient, key: str, write: Callable[[str], None], waiting: Callable[[str], None]
) -> JobDetails:
    """Write what the driver writes until the job has ended, and return how it ended.

    If the connection breaks, it is made anew, and what was written before is left out.

    Args:
        client: of the cluster.
        key: of the job.
        write: takes pieces of the log.
        waiting: takes what the cluster says while the job has not begun, each message once.
    """
    written, told = 0, ""
    while (job := details(client, key)).status == "PENDING":
        if job.message and job.message != told:
            told = job.message
            waiting(told)
        time.sleep(POLL_S)

    async def tail() -> None:
        nonlocal written
        seen = 0  # a new connection begins with the first line
        async for piece in client.tail_job_logs(key):
            fresh = piece[max(0, written - seen) :]
            seen += len(piece)
            if fresh:
                write(fresh)
            written = max(written, seen)

    while True:
        try:
            asyncio.run(tail())
        except (OSError, RuntimeError) as e:
            logging.getLogger(__name__).debug("the log of %s broke off: %s", key, e)
        except Exception as e:
            if type(e).__module__.partition(".")[0] != "aiohttp":
                raise
        if (job := details(client, key)).status in ENDED:
            return job
        time.sleep(POLL_S)


def stop(client: JobSubmissionClient, job: JobDetails, *, now: bool) -> bool:
    """Ask the driver of a sweep to start no more cells, or (``now``) to end at once; False if it has ended.

    The first is a signal, which a small job brings to the driver, since it runs on the head as that one does;
    Ray's own stop would kill the driver after `END_S` whatever it does.

    Raises:
        BenchError: the driver could not be reached.
    """
    key = str(job.submission_id)
    if details(client, key).status in ENDED:
        return False
    if now:
        with _said(f"{key} could not be stopped"):
            return client.stop_job(key)
    file = f'"${{TMPDIR:-/tmp}}"/gridbench-{shlex.quote(key)}.pid'
    with _said(f"{key} could not be asked to stop"):
        messenger = client.submit_job(
            entrypoint=f"kill -USR1 $(cat {file})", submission_id=f"{key}-stop-{secrets.token_hex(2)}"
        )
        until = time.monotonic() + SIGNAL_S
        while (state := client.get_job_info(messenger)).status not in ENDED and time.monotonic() < until:
            time.sleep(POLL_S)
    if state.status != "SUCCEEDED":
        raise BenchError(
            f"{key} could not be asked to stop ({state.message or state.status}); --now ends it at once"
        )
    return True
