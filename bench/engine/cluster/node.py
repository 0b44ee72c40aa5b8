"""The one process on a node that runs the cells of all its actors: one fork server and one open store.

Ray starts an actor for each shape of resources, so that a change of shape replaces the actor. If each had a
fork server of its own, that would cost two seconds of processor and 0.4 GB each time. So actors hand their
cells to a process of their node, over a Unix socket. It is no actor of Ray, since an actor ends with the one
that made it, or keeps its node from being given back to the cloud while nothing runs there.

The first actor starts it, and it ends by itself once no actor has been connected for `LINGER_S`, or when the
raylet is gone. An actor is connected from its first cell to its end, however that comes; then the cell that
it has under way is ended. If this process dies, the kernel closes its pipe to the fork server, which ends all
cells.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import process
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from bench.contract import BenchError, Record
from bench.engine import processes
from bench.engine.cluster.packing import Measured
from bench.engine.forkserver import ForkServer
from bench.engine.job import Unit
from bench.engine.worker import CrowdedError, NoRoomError, run_unit
from bench.store.records import Store

#: How long the process waits for another actor after the last one has left: longer than Ray takes to put one
#: actor in the place of another (two seconds, on a busy machine up to forty).
LINGER_S = 60.0
#: The longest path of the folder with the sockets: the kernel takes 107 bytes for theirs.
SOCKET_PATH = 80
#: What an actor sends when the cluster is about to take the machine away.
LEAVING = "leaving"
#: How often it looks whether it is still needed.
LOOK_S = 0.5
#: How long cells may take to end once the process is to end.
STOP_WITHIN_S = 3.0


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a unit. ``ended`` of its record, "" if there is none because it was cancelled; ``file``:
    where the record lies in the store; ``measured``: what it took.
    """

    status: str = ""
    reason: str = ""
    ended: str = ""
    measured: Measured | None = None
    file: str = ""

    @staticmethod
    def of(record: Record, file: str) -> Ended:
        """The end that a record tells of, which lies in that file."""
        return Ended(record.status, record.reason, record.ended, Measured.of(record), file)


#: What a unit may raise on which the sweep goes on.
_RAISED: dict[str, type[BenchError]] = {e.__name__: e for e in (NoRoomError, CrowdedError)}


class NodeGoneError(Exception):
    """The process of the node died while it ran a unit."""


@dataclass(frozen=True, slots=True)
class Parent:
    """The process with which the node's process ends: the raylet. ``started`` tells it from a later one with
    the same number.
    """

    pid: int
    started: int | None

    @staticmethod
    def of(pid: int) -> Parent:
        """The process that has this number now."""
        return Parent(pid, processes.started(pid))

    def alive(self) -> bool:
        """Whether it still runs."""
        return not processes.has_ended(self.pid) and processes.started(self.pid) == self.started


def folder_for(*names: str) -> Path:
    """The folder of the process that serves the actors of one driver on one node; ``names`` name both."""
    mark = hashlib.sha256("\0".join(names).encode()).hexdigest()[:16]
    name = f"bench-node-{os.getuid()}-{mark}"
    usual = Path(tempfile.gettempdir()) / name
    # A batch job's folder for temporary files may lie deeper than the path of a socket can be long.
    return usual if len(os.fsencode(usual)) < SOCKET_PATH else Path("/tmp") / name


class Node:
    """An actor's connection to the process of its node, which is started if there is none."""

    def __init__(
        self, folder: Path, store: str, preload: Sequence[str], parent: Parent, linger_s: float = LINGER_S
    ) -> None:
        self._folder = folder
        self._settings = [store, list(preload), parent.pid, parent.started, linger_s]
        self._connection: Connection | None = None
        self._sending, self._leaving = threading.Lock(), False

    def leave(self) -> None:
        """The machine is about to be taken away: have each checkpoint of its cells copied at once."""
        with self._sending:
            self._leaving = True
            if self._connection is not None:
                with suppress(OSError):  # it is gone, as whoever runs a unit finds out
                    self._connection.send(LEAVING)

    def run(self, unit: Unit, visible: str | None) -> Ended:
        """Run a unit to its end.

        Args:
            unit: what to run.
            visible: the GPUs that it may use, as ``CUDA_VISIBLE_DEVICES`` says it; None: it is not set.

        Raises:
            NoRoomError: a folder of this node is full that every cell needs.
            CrowdedError: other cells on its GPU may have ended it.
            BenchError: the unit cannot run on this node, or the store cannot be read or written.
            NodeGoneError: the process died; the next call starts another.
        """
        if self._connection is None:
            self._connection = self._connect()
        try:
            with self._sending:
                if self._leaving:
                    self._connection.send(LEAVING)
                self._connection.send((unit, visible))
            kind, value = self._connection.recv()
        except (EOFError, OSError) as error:
            self.close()
            raise NodeGoneError("the process that runs the cells of its node is gone") from error
        if kind == "ended":
            ended: Ended = value
            return ended
        raise _RAISED.get(kind, BenchError)(value)

    def close(self) -> None:
        """Leave; a unit that runs is ended."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> Connection:
        with _locked(self._folder):
            try:
                return self._greet()
            except (FileNotFoundError, ConnectionError, EOFError):
                self._start()
                return self._greet()

    def _greet(self) -> Connection:
        """Connect, and wait until the process has counted this actor: from then on it does not end."""
        connection = Client(str(self._folder / "socket"), "AF_UNIX")
        try:
            connection.recv()
        except BaseException:
            connection.close()
            raise
        return connection

    def _start(self) -> None:
        read, write = os.pipe()
        # Ray gives each actor GPUs by this variable; each unit brings its own.
        environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
        environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
        code = "from bench.engine.cluster.node import main; main()"
        argv = [sys.executable, "-c", code, str(self._folder), str(write), json.dumps(self._settings)]
        with open(self._folder / "log.txt", "ab") as log, open(read, encoding="utf-8") as answer:
            try:
                launcher = subprocess.Popen(
                    argv, env=environment, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    pass_fds=[write],
                )  # fmt: skip
            finally:
                os.close(write)
            launcher.wait()  # it forks the process of the node and ends
            said = answer.read()
        if said != "ready":
            last = (self._folder / "log.txt").read_text("utf-8", "replace").strip().splitlines()[-3:]
            raise BenchError(said or f"the process for cells does not start: {' / '.join(last)}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder, made if there is none, under an exclusive lock: one actor starts the process, and it does
    not end while an actor connects.
    """
    while True:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            found = os.fstat(file)
            if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
                raise BenchError(f"{folder} is not a folder of this user alone: remove it")
            fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):  # the process that ended meanwhile has removed it
                if os.path.samestat(os.stat(folder), found):
                    yield
                    return
        finally:
            os.close(file)


# ------------------------------------------------------------------------------------ the process of the node


def main() -> None:
    """Entry point of the process: folder, file descriptor to answer on, settings."""
    folder, answer = Path(sys.argv[1]), int(sys.argv[2])
    # A child of the actor would be ended by Ray with the actor.
    if os.fork():
        os._exit(0)
    os.setsid()
    process.current_process()._config["tempdir"] = str(folder)  # type: ignore[attr-defined]  # its sockets
    store, preload, pid, started, linger_s = json.loads(sys.argv[3])
    code = 1
    try:
        server = _Server(folder, store, preload, Parent(pid, started), linger_s)
        os.write(answer, b"ready")
        os.close(answer)
        server.serve()
        code = 0
    except BenchError as error:
        os.write(answer, str(error).encode())
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)  # threads of cells that hang in the kernel must not keep it


class _Server:
    """The fork server, the store, and the actors that are connected."""

    def __init__(
        self, folder: Path, store: str, preload: Sequence[str], parent: Parent, linger_s: float
    ) -> None:
        self.folder, self.parent, self.linger_s = folder, parent, linger_s
        self.store, self.cells = Store.open(store), ForkServer(preload)
        self.cells.start()
        with suppress(FileNotFoundError):
            (folder / "socket").unlink()  # of a process that was killed
        self.listener = Listener(str(folder / "socket"), "AF_UNIX", backlog=256)
        self.lock, self.actors, self.running = threading.Lock(), 0, set[threading.Thread]()
        self.ending, self.alone_since = threading.Event(), time.monotonic()
        self.leaving = threading.Event()

    def serve(self) -> None:
        """Serve actors until it is needed no more."""
        threading.Thread(target=self._accept, daemon=True).start()
        while self.parent.alive():
            if self._alone() and self._closed():
                return
            time.sleep(LOOK_S)
        self.ending.set()
        until = time.monotonic() + STOP_WITHIN_S
        for thread in list(self.running):
            thread.join(max(0.0, until - time.monotonic()))
        shutil.rmtree(self.folder, ignore_errors=True)

    def _alone(self) -> bool:
        with self.lock:
            busy = self.actors or self.running
            return not busy and time.monotonic() - self.alone_since > self.linger_s

    def _closed(self) -> bool:
        """Remove the folder, unless an actor is connecting at this moment."""
        file = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self._alone():
                return False
            shutil.rmtree(self.folder, ignore_errors=True)
            return True
        except BlockingIOError:
            return False
        finally:
            os.close(file)

    def _accept(self) -> None:
        while True:
            with suppress(OSError):  # an actor that left at once
                connection = self.listener.accept()
                with self.lock:
                    self.actors += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        """Run the units of one actor. While one runs, this thread waits for the next, or for the actor's
        end.
        """
        gone = threading.Event()
        try:
            connection.send("counted")
            while True:
                received = connection.recv()
                if received == LEAVING:
                    self.leaving.set()
                    continue
                unit, visible = received
                run = (connection, unit, visible, gone)
                thread = threading.Thread(target=self._run, args=run, daemon=True)
                with self.lock:
                    self.running.add(thread)
                thread.start()
        except (EOFError, OSError):
            pass
        finally:
            gone.set()
            with self.lock:
                self.actors, self.alone_since = self.actors - 1, time.monotonic()

    def _run(self, connection: Connection, unit: Unit, visible: str | None, gone: threading.Event) -> None:
        answer: tuple[str, Any]
        try:
            cancel = _Either(gone, self.ending)
            files = list[str]()
            record = run_unit(
                unit, self.cells, self.store, cancel=cancel, visible=visible, leaving=self.leaving,
                wrote=files.append,
            )  # fmt: skip
            answer = "ended", Ended() if record is None else Ended.of(record, files[-1])
        except (NoRoomError, CrowdedError) as error:
            answer = type(error).__name__, str(error)
        except BenchError as error:
            answer = "stop", str(error)
        except BaseException as error:
            answer = "stop", f"fault in the engine: {type(error).__name__}: {error}"
        with self.lock:
            self.running.discard(threading.current_thread())
            self.alone_since = time.monotonic()
        with suppress(OSError):  # the actor is gone
            connection.send(answer)


class _Either(threading.Event):
    """Set when one of two events is."""

    def __init__(self, *events: threading.Event) -> None:
        super().__init__()
        self.events = events

    def is_set(self) -> bool:
        """Whether one of them is set."""
        return any(e.is_set() for e in self.events)
