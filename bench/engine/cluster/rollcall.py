"""The roll call: each node of a cluster answers once before it gets a cell, so that none starts where it
cannot end well. `answer` runs on the node; `verdict` compares what it says with what the driver has.

A node that fails is left out with its cause and what helps, and the others go on. What it finds would
otherwise come out as cells that are lost or fail, which would be held against their methods, or as records
that nobody sees.
"""

from __future__ import annotations

import hashlib
import platform
import secrets
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bench
from bench.contract import BenchError, Task
from bench.declarations import settings_from
from bench.engine.job import Unit
from bench.engine.worker import lacking_room, room_gb
from bench.registry import Origin
from bench.store import provenance
from bench.store.files import open_files

#: A clock that is so many seconds off is told, and one so many is too far: a lease is renewed every 20 s.
CLOCK_TOLD_S, CLOCK_S = 5.0, 20.0


@dataclass(frozen=True, slots=True)
class Data:
    """A task whose data a node must have."""

    track: Origin
    task: Task
    run: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """What a node is asked, and what the driver has itself.

    ``files``: plugin -> digest; ``store``: its URL; ``token``: what the driver wrote into the store;
    ``data``: tasks of the sweep.
    """

    python: str
    ray: str
    packages: Mapping[str, str]
    code: str
    files: Mapping[str, str]
    store: str
    token: str
    data: Sequence[Data]

    @property
    def path(self) -> str:
        """The file in the store that holds the token. What a killed driver leaves there is swept away."""
        return f"tmp/token-{self.token}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node says. ``clock``: seconds since 1970; ``store``: why it cannot use the store; ``missing``:
    why data are missing, by task; ``gpu_gb``: memory of each GPU, none if the node cannot tell; ``room_gb``:
    folder -> what is free there.
    """

    host: str
    python: str
    ray: str
    packages: Mapping[str, str]
    code: str
    files: Mapping[str, str]
    clock: float
    store: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)
    gpu_gb: tuple[float, ...] = ()
    room_gb: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """``fault``: why a node is left out and what helps, "" if it may run cells; ``notes``: what is told of
    it.
    """

    fault: str = ""
    notes: tuple[str, ...] = ()


def question(units: Sequence[Unit], store: str, ray: str) -> Question:
    """What to ask before a sweep of these units; ``ray``: its version here."""
    origins = {o for u in units for o in (u.job.track, u.job.method)}
    data = {(u.job.track, u.job.task.name): u for u in units if u.job.kind == "cell"}
    return Question(
        python=platform.python_version(),
        ray=ray,
        packages=provenance.packages(),
        code=code_digest(),
        files={o.file: _digest(Path(o.file)) for o in origins if o.file},
        store=store,
        token=secrets.token_hex(8),
        data=[Data(track, u.job.task, u.job.cell["run"]) for (track, _), u in data.items()],
    )


def code_digest() -> str:
    """Digest of all code of ours. Methods and baselines lie in the package, or beside it in a clone."""
    package = Path(str(bench.__file__)).parent
    files = {f"bench/{f.relative_to(package).as_posix()}": f for f in package.rglob("*.py")}
    for base in map(Path, bench.__path__):
        for name in ("methods", "baselines"):
            files |= {f"bench/{f.relative_to(base).as_posix()}": f for f in (base / name).rglob("*.py")}
    found = hashlib.sha256()
    for name, file in sorted(files.items()):
        found.update(f"{name}\0{_digest(file)}\0".encode())
    return found.hexdigest()


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


# ------------------------------------------------------------------------------------------------ on the node


def answer(asked: Question, node: str, ray: str) -> Answer:
    """What this node says; ``node``: its id, ``ray``: the version of Ray there."""
    code = code_digest()
    return Answer(
        host=platform.node(),
        python=platform.python_version(),
        ray=ray,
        packages=provenance.packages(),
        code=code,
        files={f: _digest(Path(f)) for f in asked.files},
        clock=datetime.now(UTC).timestamp(),
        store=_store(asked, node),
        missing=_missing(asked) if code == asked.code else {},
        gpu_gb=gpu_gb(),
        room_gb=room_gb(),
    )


def _store(asked: Question, node: str) -> str:
    """Read the driver's token and write one back; returns what went wrong."""
    try:
        files = open_files(asked.store)
        if files.read(asked.path) != asked.token.encode():
            return "another file lies in the place of the driver's"
        files.write(token_of(asked, node), node.encode())
    except FileNotFoundError:
        return "what the driver wrote there is not there"
    except (BenchError, OSError, ImportError) as error:
        return str(error)
    return ""


def token_of(asked: Question, node: str) -> str:
    """The file by which a node shows that what it writes reaches the driver."""
    return f"{asked.path}-{node[:16]}"


def _missing(asked: Question) -> dict[str, str]:
    found = {}
    for d in asked.data:
        try:
            track = d.track.load().TRACK
            why = track.missing(d.task, settings_from(track.Run, d.run, lambda *key: ".".join(map(str, key))))
        except Exception as error:  # of a plugin
            why = f"{type(error).__name__}: {error}"
        if why:
            found[f"{d.track.source_name} {d.task.name}"] = why
    return found


def gpu_gb() -> tuple[float, ...]:
    """Memory of each GPU; by nvidia-smi, since asking CUDA takes memory on the device."""
    if shutil.which("nvidia-smi") is None:
        return ()
    listed = subprocess.run(
        ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    sizes = listed.stdout.split() if listed.returncode == 0 else []
    return tuple(int(mib) / 1024 for mib in sizes if mib.isdigit())


# ---------------------------------------------------------------------------------------------- on the driver


def verdict(asked: Question, said: Answer, sent: float, received: float, token_seen: bool) -> Verdict:
    """Whether a node may run cells.

    Args:
        asked: what it was asked.
        said: what it answered.
        sent: the driver's clock when it asked.
        received: and when the answer was there; the node's own clock was read between the two.
        token_seen: whether the driver sees the file that the node wrote into the store.
    """
    fault = _software(asked, said) or _store_fault(asked, said, token_seen) or _data(said)
    fault = fault or lacking_room(said.room_gb)
    off = max(sent - said.clock, said.clock - received, 0.0)
    if off > CLOCK_S and not fault:
        fault = f"its clock is {off:.0f} s off the driver's: run a time service (chrony, ntpd) on both"
    told = [f"the clock of node {said.host} is {off:.0f} s off"] if CLOCK_TOLD_S < off <= CLOCK_S else []
    return Verdict(fault, tuple(told))


def _software(asked: Question, said: Answer) -> str:
    mend = "install what the driver has, or let bench launch bring it along"
    for name, ours, theirs in (("Python", asked.python, said.python), ("Ray", asked.ray, said.ray)):
        if ours.rpartition(".")[0] != theirs.rpartition(".")[0]:
            return f"{name} {theirs}, the driver has {ours}: {mend}"
    # A build for other hardware has another local version (2.9.0+cpu), and is the same release.
    here = {k: v.partition("+")[0] for k, v in asked.packages.items()}
    there = {k: v.partition("+")[0] for k, v in said.packages.items()}
    other = [f"{k} {there.get(k, 'missing')} (here {v})" for k, v in here.items() if there.get(k) != v]
    if other:
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        return f"other packages: {', '.join(other[:3])}{more}: {mend}"
    if asked.code != said.code:
        return f"its gridbench has other code than the driver's: {mend}"
    for file, ours in asked.files.items():
        if said.files.get(file) != ours:
            what = "is not there" if not said.files.get(file) else "has other content there"
            return f"plugin {file} {what}: put it in a folder that all nodes share, or use bench launch"
    return ""


def _store_fault(asked: Question, said: Answer, token_seen: bool) -> str:
    mend = (
        "name a store with --store that all nodes share: a folder that is mounted everywhere, or an fsspec "
        "URL such as s3://bucket/prefix"
    )
    if said.store:
        return f"store {asked.store}: {said.store}: {mend}"
    if not token_seen:
        return f"store {asked.store}: the driver does not see what this node writes there: {mend}"
    return ""


def _data(said: Answer) -> str:
    if not said.missing:
        return ""
    name, why = next(iter(said.missing.items()))
    more = f" ({len(said.missing)} tasks lack data)" if len(said.missing) > 1 else ""
    return f"no data for {name}: {why}{more}: bench data prepare makes them, in a folder that all nodes share"


def of_error(error: BaseException) -> str:
    """Why a node could not answer at all."""
    text = " ".join(str(error).split())
    if "No module named 'bench" in text:
        return (
            "gridbench is not installed for the Python of Ray there, or in another version: install it, or "
            "let bench launch bring it along"
        )
    return f"it cannot answer: {text[-300:]}"
