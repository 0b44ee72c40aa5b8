"""Runs each cell in a process of its own, with limits, and reports how it ended. Knows nothing of Ray or of
stores.

Processes are forked from a fork server that has loaded the heavy libraries (0.03 s a process instead of
several seconds). The parent limits time by its own clock, and memory by polling the proportional set size of
the cell's processes; an address-space limit would count gigabytes that torch only maps. All processes that a
cell started end with it, see `processes.py`.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import multiprocessing as mp
import os
import platform
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from bench.contract import BenchError, Needs, Status
from bench.engine import processes
from bench.engine.child import main
from bench.engine.job import Job

#: How often limits are checked.
POLL_S = 0.1
#: Why a cell is ``oom`` to which its GPU gave no more memory.
DEVICE_MEMORY = "device memory"
#: What the system says of a full disk, and of a user's part of one.
FULL = (errno.ENOSPC, errno.EDQUOT)
#: How long messages are read that a cell left in the pipe when it ended.
DRAIN_S = 10.0
#: The proportional set size is read again once the resident set size has grown by this factor.
GROWTH = 1.02
#: How many of the last lines of a cell's output are returned.
LOG_LINES = 40
#: Limit of loading and of scoring, which are the work of the track and not of the method.
TRACK_MINUTES = 15
#: When the machine runs out of memory the kernel kills cells first, whoever used the memory. A killed cell
#: counts as ``oom`` if it was measured to use more than this share of its limit (it may have doubled since),
#: else as ``lost``.
OOM_SHARE = 0.5
_FOLDERS = "bench-cell-"
_starting = threading.Lock()
#: What the fork server of this process has preloaded.
_preloaded: list[str] = []
#: Cells of this process that run, and processes that hang in the kernel: every other child of the fork server
#: was left behind by a cell that has ended.
_running: set[int] = set()
_stuck: set[int] = set()


@dataclass(slots=True)
class Outcome:
    """How a cell ended. ``status`` None: it was cancelled, and nothing is recorded. ``no_room``: a full disk
    may be the cause.
    """

    status: Status | None
    reason: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    peak_mem_mb: float = 0.0
    wall_s: float = 0.0
    folder: Path | None = None
    no_room: bool = False


class ForkServer:
    """The fork server of this process, one for all threads. It runs as many cells at a time as its callers
    start.
    """

    def __init__(self, preload: Sequence[str] = ()) -> None:
        needs_linux()
        wanted = ["bench.engine.child", "numpy", "pydantic", "torch", *preload]
        if "torch" in preload:
            # torch.optim imports it when an optimiser is first used: 1.2 s in every cell that trains.
            wanted.append("torch._dynamo")
        wanted.append("bench.engine.forkserver_init")
        self.preload = [m for m in dict.fromkeys(wanted) if importlib.util.find_spec(m.partition(".")[0])]
        # Importing diffusers asks for CUDA devices; asked for through NVML, they do not spoil forked
        # processes.
        os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
        self._context = mp.get_context("forkserver")
        with _starting:
            if not set(self.preload) <= set(_preloaded):
                # A process has one fork server, and a running one preloads nothing more.
                forkserver._forkserver._stop()  # type: ignore[attr-defined]
                _preloaded[:] = self.preload
                self._context.set_forkserver_preload(self.preload)

    def start(self) -> None:
        """Start the server and check that everything is preloaded, since a failed preload is silent.

        Raises:
            BenchError: the server does not start, or a library cannot be imported.
        """
        _remove_orphaned_folders()
        for _ in range(2):
            receive, send = self._context.Pipe(False)
            with receive:
                with send:
                    process, _ = self._fork(_probe, (self.preload, send))
                try:
                    missing, bad_fork = receive.recv()
                except EOFError:
                    raise BenchError("the fork server does not start: see its error above") from None
            _reap(process)
            if bad_fork and not isinstance(self._context, mp.context.SpawnContext):
                self._context = mp.get_context("spawn")  # type: ignore[assignment]
                continue
            break
        if missing and not isinstance(self._context, mp.context.SpawnContext):
            raise BenchError(
                f"could not preload {', '.join(missing)}: python -c 'import {missing[0]}' says why"
            )

    def run(self, job: Job, *, cancel: threading.Event | None = None) -> Outcome:
        """Run a job to its end, whatever that is. The caller removes the outcome's folder with `remove`."""
        folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDERS}{_host()}-{_boot()}-{os.getpid()}-"))
        receive, send = self._context.Pipe(False)
        # Opened before the method runs, which may remove the file or put another in its place.
        with receive, (folder / "log.txt").open("w+b") as log:
            with send:
                process, server = self._fork(main, (job, str(folder), send))
            monitor = _Monitor(process, server, receive, job.needs, cancel)
            try:
                outcome = monitor.wait()
            finally:
                stuck = monitor.end()
            outcome.log = _tail(log)
        if stuck:
            outcome.log.append(f"processes {stuck} of this cell hang in the kernel and cannot be ended")
        outcome.folder = folder
        if outcome.error and not outcome.error.get("last_lines"):
            outcome.error["last_lines"] = outcome.log[-15:]
        return outcome

    def _fork(self, target: Callable[..., None], args: tuple[Any, ...]) -> tuple[BaseProcess, int | None]:
        """Start a process; returns it and the pid of its fork server (one that was killed is replaced by
        another).
        """
        process = self._context.Process(target=target, args=args, daemon=False)
        with _starting, _without_main():
            try:
                process.start()
            except (EOFError, ConnectionError):
                # The server was killed and had not ended yet when it was asked. One that does not start at
                # all fails the second time too.
                if not _gone(_server()):
                    raise
                process.start()
            _running.add(process.pid or 0)
            return process, _server()


def _server() -> int | None:
    pid: int | None = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    return pid


def needs_linux() -> None:
    """Raise `BenchError` unless this is Linux, before the first cell fails for that reason."""
    if sys.platform != "linux":
        raise BenchError(
            f"cells run on Linux only, and this is {sys.platform}: their limits rest on /proc and on signals "
            "of the kernel. Plans, boards and reports work here; run cells on Linux, or in a container"
        )


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _host() -> str:
    """Names this machine, or this container on it, among those that share a folder for temporary files: all
    that have the same name have the same processes under the same pids.
    """
    known = Path("/etc/machine-id")
    machine = known.read_text(errors="replace") if known.is_file() else ""
    return _short(f"{platform.node()} {machine} {os.readlink('/proc/self/ns/pid')}")


def _boot() -> str:
    return _short(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))


def _remove_orphaned_folders() -> None:
    """Remove the folders of cells whose driver on this machine was killed, or ran before the last boot.
    Whether a driver of another machine lives cannot be known here.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDERS}{_host()}-*-*-*"):
        boot, pid = folder.name.removeprefix(_FOLDERS).split("-")[1:3]
        if boot != _boot() or (pid.isdigit() and not Path(f"/proc/{pid}").exists()):
            shutil.rmtree(folder, ignore_errors=True)


def _probe(preload: list[str], send: Connection) -> None:
    missing = [m for m in preload if m not in sys.modules]
    torch = sys.modules.get("torch")
    send.send((missing, bool(torch and torch.cuda._is_in_bad_fork() and _has_driver(torch))))


def _has_driver(torch: Any) -> bool:
    """Whether a GPU driver is installed. Without one, asking for devices before a fork does no harm (the
    import of diffusers does so where NVML is missing too).
    """
    count = torch.cuda._device_count_amdsmi if torch.version.hip else torch.cuda._device_count_nvml
    return bool(count() >= 0)


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the file of ``__main__``, which multiprocessing would run again in every process (in a Ray actor
    that is Ray's worker script: 0.17 s and an import of ray each time).
    """
    module = sys.modules["__main__"]
    hidden = {k: getattr(module, k) for k in ("__file__", "__spec__") if hasattr(module, k)}
    for k in hidden:
        delattr(module, k)
    module.__spec__ = None
    try:
        yield
    finally:
        for k, v in hidden.items():
            setattr(module, k, v)


class _Monitor:
    """Monitors one running cell: reads its messages, enforces its limits, and ends it."""

    def __init__(
        self,
        process: BaseProcess,
        server: int | None,
        receive: Connection,
        needs: Needs,
        cancel: threading.Event | None,
    ) -> None:
        self.process, self.receive, self.needs, self.cancel = process, receive, needs, cancel
        self.server = server
        self.phase, self.since, self.spent = "load", time.monotonic(), {"run": 0.0}
        self.started, self.peak, self.resident, self.open = time.monotonic(), 0.0, 0.0, True
        self.last: Outcome | None = None
        self.kills = _oom_kills()
        self.seen: dict[int, int | None] = {}

    def wait(self) -> Outcome:
        """Wait until the cell has ended, is cancelled or passes a limit."""
        while True:
            waiting: list[Any] = [self.process.sentinel, *([self.receive] if self.open else [])]
            wait(waiting, timeout=POLL_S)
            self._read(POLL_S)
            if self.last is not None:
                return self._done(self.last)
            if not self.process.is_alive():
                self._read(DRAIN_S)
                return self._done(self.last or self._died())
            if self.cancel is not None and self.cancel.is_set():
                return self._done(Outcome(None, "cancelled"))
            if (over := self._over()) is not None:
                return self._done(over)

    def _read(self, within: float) -> None:
        """Read the messages of the cell, for at most ``within`` seconds, since its limits are to be checked
        too.
        """
        until = time.monotonic() + within
        while self.open and self.last is None and time.monotonic() < until and self.receive.poll():
            try:
                kind, value = self.receive.recv()
            except (EOFError, OSError):
                self.open = False
            except Exception as e:  # made of classes that only the cell's process knows
                text = f"its answer cannot be read: {type(e).__name__}: {str(e)[:200]}"
                self.last = Outcome(
                    "failed", error={"type": "AnswerError", "message": text, "last_lines": []}
                )
            else:
                self._take(kind, value)

    def _take(self, kind: str, value: Any) -> None:
        if kind == "phase":
            self.spent[self.phase] = self._in_phase()
            self.phase, self.since = value, time.monotonic()
        elif kind == "result":
            bad = value.get("diverged")
            self.last = Outcome("diverged" if bad else "ok", "; ".join(bad or ()), result=value)
        elif kind == "error":
            oom, no_room = value.pop("oom"), value.pop("no_room")
            status: Status = "oom" if oom else "lost" if no_room else "failed"
            memory = {"device": DEVICE_MEMORY, "host": "host memory"}
            why = memory[oom] if oom else "no room was left on a disk" if no_room else ""
            self.last = Outcome(status, why, error=value, no_room=no_room)

    def _in_phase(self) -> float:
        return self.spent.get(self.phase, 0.0) + time.monotonic() - self.since

    def _over(self) -> Outcome | None:
        minutes = self.needs.minutes if self.phase == "run" else max(TRACK_MINUTES, self.needs.minutes)
        if self._in_phase() > minutes * 60:
            return self._limit("timeout", f"{self.phase} took more than {minutes:g} minutes")
        used = self._memory()
        if used > self.needs.mem_gb * 1024:
            return self._limit(
                "oom", f"{used / 1024:.1f} GB of host memory, over its limit of {self.needs.mem_gb:g} GB"
            )
        return None

    def _memory(self) -> float:
        """Memory in use, in MB. Reading the proportional size of a process of 1 GB takes 10 ms, so it is read
        only when the resident size, which costs nothing and is never smaller, has grown or is over the limit.
        """
        pid = self.process.pid or 0
        pids = [pid, *processes.descendants(pid)]
        self.seen = {p: self.seen.get(p) or processes.started(p) for p in pids}
        resident = processes.mb(pids, processes.rss_kb)
        if resident <= self.resident * GROWTH and resident <= self.needs.mem_gb * 1024:
            return 0.0
        self.resident = max(self.resident, resident)
        used = processes.mb(pids, processes.pss_kb)
        self.peak = max(self.peak, used)
        return used

    def _limit(self, status: Status, text: str) -> Outcome:
        return Outcome(status, text, error={"type": status, "message": text, "last_lines": []})

    def _died(self) -> Outcome:
        self.process.join()
        code = self.process.exitcode or 0
        # A scheduler's SIGTERM goes to every process of a job. Without the fork server nobody knows how its
        # children ended; multiprocessing then reports 255.
        orphaned = code == 255 and _gone(self.server)
        if orphaned or code in (-signal.SIGKILL, -signal.SIGTERM):
            text = (
                f"killed from outside by {signal.Signals(-code).name}" if code < 0 else "the fork server died"
            )
            if self.cancel is not None and self.cancel.is_set():
                return Outcome(None, "cancelled")
            if code == -signal.SIGKILL and _oom_kills() > self.kills:
                return self._killed_for_memory()
            return self._limit("lost", text)
        how = (
            f"crashed with {signal.Signals(-code).name}"
            if code < 0
            else f"left with exit code {code} and no answer"
        )
        error = {"type": "ProcessDied", "message": how, "last_lines": []}
        # The kernel ends so who writes to a file in memory that a full disk has no room for.
        return Outcome("failed", how, error=error, no_room=code == -signal.SIGBUS)

    def _killed_for_memory(self) -> Outcome:
        """The end of a cell that the kernel killed: ``oom`` or ``lost``, by what the cell itself used at
        last.
        """
        used, limit = self.peak / 1024, self.needs.mem_gb
        text = "the kernel ran out of memory and killed it"
        if used > OOM_SHARE * limit:
            return self._limit("oom", f"{text} at {used:.1f} GB or more of its {limit:g} GB")
        return self._limit("lost", f"{text} although it used only {used:.1f} GB of its {limit:g} GB")

    def end(self) -> list[int]:
        """End the cell and all processes that it started; returns the pids that cannot be ended."""
        stuck = list[int]()
        if self.process.is_alive() and self.process.pid is not None:
            processes.send(self.process.pid, signal.SIGSTOP)  # so that it starts no more processes
            stuck = processes.end_descendants(self.process.pid)
            self.process.kill()
        _reap(self.process)
        for (
            p,
            started,
        ) in self.seen.items():  # those that no process adopted: the fork server is dead, or there is none
            if started is not None and processes.started(p) == started:
                processes.send(p, signal.SIGKILL)
        return [*stuck, *_end_orphans(self.server)]

    def _done(self, outcome: Outcome) -> Outcome:
        outcome.peak_mem_mb, outcome.wall_s = self.peak, time.monotonic() - self.started
        return outcome


def _reap(process: BaseProcess) -> None:
    pid = process.pid or 0
    process.join()
    process.close()
    with _starting:
        _running.discard(pid)


def _end_orphans(server: int | None) -> list[int]:
    """End the processes that ended cells have left behind; returns the pids that cannot be ended."""
    if server is None:
        return []
    with _starting:
        stuck = processes.end_descendants(server, but=_running | _stuck)
        _stuck.update(stuck)
    return stuck


def _gone(server: int | None, within: float = 2.0) -> bool:
    """Whether a fork server has ended, waiting for it: its pipes close some time before."""
    until = time.monotonic() + within
    while server is not None and time.monotonic() < until:
        try:
            if psutil.Process(server).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return server is None


def _oom_kills() -> int:
    with open("/proc/vmstat", encoding="ascii") as f:
        return next((int(line.split()[1]) for line in f if line.startswith("oom_kill ")), 0)


def _tail(log: BinaryIO) -> list[str]:
    log.seek(max(0, os.fstat(log.fileno()).st_size - 20_000))
    return [line[:500] for line in log.read(20_000).decode("utf-8", "replace").splitlines()[-LOG_LINES:]]


def remove(outcome: Outcome) -> None:
    """Remove the folder of an outcome."""
    if outcome.folder is not None:
        shutil.rmtree(outcome.folder, ignore_errors=True)
