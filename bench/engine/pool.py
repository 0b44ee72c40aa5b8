"""Runs one cell in a process of its own, with limits, and says how it ended. Knows nothing of Ray or of
stores.

Children are forked from a fork server that has the heavy libraries loaded already (0.03 s a child instead of
several seconds). Time is limited by this parent's clock; memory by looking at the proportional set size of
the child and its own children, since an address-space limit would count gigabytes that torch merely maps.
"""

from __future__ import annotations

import importlib.util
import multiprocessing as mp
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

from bench.contract import BenchError, Needs, Status
from bench.engine.child import Job, main

LOOK_EVERY_S = 0.1
GROWTH = 1.02
LOG_LINES = 40
#: Loading and scoring are the track's work, not the method's: they get their own, generous limit.
OWN_WORK_MINUTES = 15
_FOLDERS = "bench-cell-"
_starting = threading.Lock()
_served: list[str] = []


@dataclass(slots=True)
class Outcome:
    """How one child ended. ``status`` None: it was cancelled, nothing is to be recorded."""

    status: Status | None
    reason: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    peak_mem_mb: float = 0.0
    wall_s: float = 0.0
    folder: Path | None = None


class Pool:
    """The fork server of this process. One for all threads; children run side by side as the caller asks."""

    def __init__(self, preload: Sequence[str] = ()) -> None:
        # torch.optim imports torch._dynamo when an optimiser is first used: 1.2 s in every cell that trains.
        wanted = ["bench.engine.child", "numpy", "pydantic", "torch", "torch._dynamo", *preload]
        self.preload = [m for m in dict.fromkeys(wanted) if importlib.util.find_spec(m.partition(".")[0])]
        # Importing diffusers asks CUDA whether it is there; asked through NVML, the children can still fork.
        os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
        self._context = mp.get_context("forkserver")
        with _starting:
            if not set(self.preload) <= set(_served):
                # A process has one fork server; one that runs already would not load anything more.
                forkserver._forkserver._stop()  # type: ignore[attr-defined]
                _served[:] = self.preload
                self._context.set_forkserver_preload(self.preload)

    def warm(self) -> None:
        """Start the server and make sure that what was to be preloaded is there (a failed preload is
        silent).
        """
        _tidy()
        for _ in range(2):
            receive, send = self._context.Pipe(False)
            with receive:
                with send:
                    process, _ = self._start(_probe, (self.preload, send))
                try:
                    missing, bad_fork = receive.recv()
                except EOFError:
                    raise BenchError("the fork server does not start: see its error above") from None
            process.join()
            if bad_fork and not isinstance(self._context, mp.context.SpawnContext):
                self._context = mp.get_context("spawn")  # type: ignore[assignment]
                continue
            break
        if missing and not isinstance(self._context, mp.context.SpawnContext):
            raise BenchError(
                f"could not preload {', '.join(missing)}: python -c 'import {missing[0]}' says why"
            )

    def run(
        self,
        job: Job,
        needs: Needs,
        *,
        cancel: threading.Event | None = None,
        tell: Callable[[str, Any], None] | None = None,
    ) -> Outcome:
        """Run a job to its end, whatever that is. The folder of the outcome is the caller's to remove."""
        folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDERS}{os.getpid()}-"))
        receive, send = self._context.Pipe(False)
        kills = _oom_kills()
        with receive:
            with send:
                process, server = self._start(main, (job, str(folder), send))
            watch = _Watch(process, server, receive, needs, cancel, tell)
            try:
                outcome = watch.until_end()
            finally:
                _kill(process)
        if outcome.status == "lost" and _oom_kills() > kills:
            outcome.status, outcome.reason = "oom", "the kernel ran out of memory and killed it"
        outcome.folder, outcome.log = folder, _tail(folder / "log.txt")
        if outcome.error and not outcome.error.get("last_lines"):
            outcome.error["last_lines"] = outcome.log[-15:]
        return outcome

    def _start(self, target: Callable[..., None], args: tuple[Any, ...]) -> tuple[BaseProcess, int | None]:
        """A started child and the fork server its fork server (killed, that one is followed by another)."""
        process = self._context.Process(target=target, args=args, daemon=False)
        with _starting, _without_main():
            try:
                process.start()
            except (EOFError, ConnectionError):
                # The server was killed and not yet gone when it was asked; one that does not come up at all
                # fails the second time too.
                if not _gone(_server()):
                    raise
                process.start()
            return process, _server()


def _server() -> int | None:
    pid: int | None = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    return pid


def _tidy() -> None:
    """Remove the folders of cells whose driver was killed before it could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDERS}*-*"):
        pid = folder.name.removeprefix(_FOLDERS).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _probe(preload: list[str], send: Connection) -> None:
    missing = [m for m in preload if m not in sys.modules]
    torch = sys.modules.get("torch")
    send.send((missing, bool(torch and torch.cuda._is_in_bad_fork() and _has_driver(torch))))


def _has_driver(torch: Any) -> bool:
    """Whether there is a GPU's driver: without one, having asked for devices (as the import of diffusers
    does where NVML is missing too) spoils nothing.
    """
    count = torch.cuda._device_count_amdsmi if torch.version.hip else torch.cuda._device_count_nvml
    return bool(count() >= 0)


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide where ``__main__`` came from: multiprocessing would run it again in every child (in a Ray actor
    that is Ray's worker script, 0.17 s and an import of ray each time).
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


class _Watch:
    """One child under watch: its messages, its clock, its memory."""

    def __init__(
        self,
        process: BaseProcess,
        server: int | None,
        receive: Connection,
        needs: Needs,
        cancel: threading.Event | None,
        tell: Callable[[str, Any], None] | None,
    ) -> None:
        self.process, self.receive, self.needs, self.cancel, self.tell = process, receive, needs, cancel, tell
        self.server = server
        self.phase, self.since, self.spent = "load", time.monotonic(), {"run": 0.0}
        self.started, self.peak, self.resident, self.open = time.monotonic(), 0.0, 0.0, True
        self.last: Outcome | None = None

    def until_end(self) -> Outcome:
        """Watch until the child is gone or a limit is passed."""
        while True:
            waiting: list[Any] = [self.process.sentinel, *([self.receive] if self.open else [])]
            wait(waiting, timeout=LOOK_EVERY_S)
            self._listen()
            if self.last is not None and self.last.status in ("ok", "diverged"):
                return self._done(self.last)
            if not self.process.is_alive():
                self._listen()
                return self._done(self.last or self._died())
            if self.cancel is not None and self.cancel.is_set():
                return self._done(Outcome(None, "cancelled"))
            if (over := self._over()) is not None:
                return self._done(over)

    def _listen(self) -> None:
        try:
            while self.open and self.receive.poll():
                kind, value = self.receive.recv()
                if kind == "phase":
                    self.spent[self.phase] = self._in_phase()
                    self.phase, self.since = value, time.monotonic()
                elif kind == "result":
                    bad = value.get("diverged")
                    self.last = Outcome("diverged" if bad else "ok", "; ".join(bad or ()), result=value)
                elif kind == "error":
                    oom = value.pop("oom")
                    status: Status = "oom" if oom else "failed"
                    self.last = Outcome(status, f"{oom} memory" if oom else "", error=value)
                if self.tell is not None:
                    self.tell(kind, value)
        except (EOFError, ConnectionResetError):
            self.open = False

    def _in_phase(self) -> float:
        return self.spent.get(self.phase, 0.0) + time.monotonic() - self.since

    def _over(self) -> Outcome | None:
        minutes = self.needs.minutes if self.phase == "run" else max(OWN_WORK_MINUTES, self.needs.minutes)
        if self._in_phase() > minutes * 60:
            return self._limit("timeout", f"{self.phase} took more than {minutes:g} minutes")
        used = self._memory()
        if used > self.needs.mem_gb * 1024:
            return self._limit(
                "oom", f"{used / 1024:.1f} GB of host memory, over its limit of {self.needs.mem_gb:g} GB"
            )
        return None

    def _memory(self) -> float:
        """Memory in use, MB. The proportional size costs 10 ms to read of a process of 1 GB, so it is read
        only when the resident size, which is free and never smaller, has grown or is over the limit.
        """
        pid = self.process.pid or 0
        resident = tree_mb(pid, _rss_kb)
        if resident <= self.resident * GROWTH and resident <= self.needs.mem_gb * 1024:
            return 0.0
        self.resident = max(self.resident, resident)
        used = tree_mb(pid, _pss_kb)
        self.peak = max(self.peak, used)
        return used

    def _limit(self, status: Status, text: str) -> Outcome:
        return Outcome(status, text, error={"type": status, "message": text, "last_lines": []})

    def _died(self) -> Outcome:
        self.process.join()
        code = self.process.exitcode or 0
        # A scheduler's SIGTERM goes to every process of a job, and with the fork server goes all word of how
        # its children ended: multiprocessing then says 255.
        orphaned = code == 255 and _gone(self.server)
        if orphaned or code in (-signal.SIGKILL, -signal.SIGTERM):
            text = (
                f"killed from outside by {signal.Signals(-code).name}" if code < 0 else "the fork server died"
            )
            if self.cancel is not None and self.cancel.is_set():
                return Outcome(None, "cancelled")
            return Outcome("lost", text, error={"type": "lost", "message": text, "last_lines": []})
        how = (
            f"crashed with {signal.Signals(-code).name}"
            if code < 0
            else f"left with exit code {code} and no answer"
        )
        return Outcome("failed", how, error={"type": "ProcessDied", "message": how, "last_lines": []})

    def _done(self, outcome: Outcome) -> Outcome:
        outcome.peak_mem_mb, outcome.wall_s = self.peak, time.monotonic() - self.started
        return outcome


def _gone(server: int | None, within: float = 2.0) -> bool:
    """Whether a fork server has ended: its pipes close before it is seen to be gone."""
    until = time.monotonic() + within
    while server is not None and time.monotonic() < until:
        try:
            if psutil.Process(server).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return server is None


def _kill(process: BaseProcess) -> None:
    """End the child and whatever it started (it leads a session of its own), and reap it."""
    if process.pid is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            process.kill()
    process.join()
    process.close()


def tree_mb(pid: int, read: Callable[[int], int]) -> float:
    """Sum of a size (kB) over a process and all below it, in MB; what is gone counts 0."""
    total, todo = 0, [pid]
    while todo:
        p = todo.pop()
        try:
            total += read(p)
            with open(f"/proc/{p}/task/{p}/children", encoding="ascii") as f:
                todo += [int(c) for c in f.read().split()]
        except (OSError, StopIteration):  # it ended while being looked at
            continue
    return total / 1024


def _pss_kb(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:"))


def _rss_kb(pid: int) -> int:
    with open(f"/proc/{pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * (os.sysconf("SC_PAGE_SIZE") // 1024)


def _oom_kills() -> int:
    with open("/proc/vmstat", encoding="ascii") as f:
        return next((int(line.split()[1]) for line in f if line.startswith("oom_kill ")), 0)


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as f:
            f.seek(max(0, path.stat().st_size - 20_000))
            return [line[:500] for line in f.read().decode("utf-8", "replace").splitlines()[-LOG_LINES:]]
    except FileNotFoundError:
        return []


def remove(outcome: Outcome) -> None:
    """Remove the folder of an outcome."""
    if outcome.folder is not None:
        shutil.rmtree(outcome.folder, ignore_errors=True)
