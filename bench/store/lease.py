"""Who builds a shared stage: a lock with a lease, so that a dead builder holds nobody up for long."""

from __future__ import annotations

import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from bench.contract import BenchError
from bench.store.files import Files, StoreError


class Lease:
    """The right to build one thing, held for ``seconds`` and renewed by its holder.

    As a context manager it tries once, and renews every third of ``seconds`` until the block ends::

        with store.artifacts.lease(stage.address) as lease:
            if lease.held: ...build...

    In a folder the lock file is read and written under an advisory lock, so one process at most holds a
    lease; it is taken over when it has expired, or at once when its holder died on this host. On an object
    store it is best effort (two processes that look in the same moment may both hold it): a double build is
    harmless, the first published one counts. Hosts must agree on the time to within a fraction of
    ``seconds``.
    """

    def __init__(self, files: Files, name: str, seconds: float) -> None:
        if seconds <= 0:
            raise BenchError(f"a lease of {seconds} s: expected more than 0")
        self._files, self._path, self._seconds = files, f"locks/{name}.json", seconds
        self._token = secrets.token_hex(8)
        self._stop = threading.Event()
        self._renewer: threading.Thread | None = None
        self.held = False

    def acquire(self) -> bool:
        """Take the lease if it is free, expired or ours; says whether we hold it now.

        Raises:
            StoreError: the store cannot be written.
        """
        with self._exchange() as lock:
            if self._free(lock.now):
                lock.then = self._claim()
        self.held = lock.then is not None and self._settled()
        return self.held

    def renew(self) -> bool:
        """Extend a lease that we hold; False if somebody else took it over meanwhile."""
        with self._exchange() as lock:
            if lock.now is not None and lock.now.get("token") == self._token:
                lock.then = self._claim()
        self.held = lock.then is not None
        return self.held

    def release(self) -> None:
        """Give the lease back, if it is still ours."""
        with self._exchange() as lock:
            if lock.now is not None and lock.now.get("token") == self._token:
                lock.then = {}
        self.held = False

    def holder(self) -> dict[str, Any] | None:
        """Who holds it now (``host, pid, expires, token``), or None."""
        try:
            now = _read(self._files.read(self._path))
        except FileNotFoundError:
            return None
        return None if self._free(now) else now

    def __enter__(self) -> Lease:
        self._stop.clear()
        if self.acquire():
            self._renewer = threading.Thread(target=self._keep_renewing, name="lease", daemon=True)
            self._renewer.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop.set()
        if self._renewer is not None:
            self._renewer.join()
        if self.held:
            self.release()

    def _keep_renewing(self) -> None:
        while not self._stop.wait(self._seconds / 3):
            try:
                if not self.renew():
                    return
            except StoreError:
                continue  # a moment without network or space: try again before it expires

    def _claim(self) -> dict[str, Any]:
        host, pid, expires = platform.node(), os.getpid(), time.time() + self._seconds
        return {"host": host, "pid": pid, "expires": expires, "token": self._token}

    def _free(self, now: dict[str, Any] | None) -> bool:
        if now is None or now["token"] == self._token or now["expires"] <= time.time():
            return True
        return bool(now["host"] == platform.node() and not _alive(now["pid"]))

    def _settled(self) -> bool:
        """Whether the lease is ours once the last of several writers has won (only an object store needs to
        look).
        """
        return (
            self._files.root is not None
            or (_read(self._files.read(self._path)) or {}).get("token") == self._token
        )

    @contextmanager
    def _exchange(self) -> Iterator[_Lock]:
        """Read the lock, let the caller decide, and write what it left in ``then`` ({}: free)."""
        if self._files.root is None:
            try:
                lock = _Lock(_read(self._files.read(self._path)))
            except FileNotFoundError:
                lock = _Lock(None)
            yield lock
            if lock.then is not None:
                self._files.write(self._path, orjson.dumps(lock.then))
            return
        try:
            with _locked(self._files.root / self._path) as file:
                lock = _Lock(_read(os.read(file, 4096)))
                yield lock
                if lock.then is not None:
                    # Room is kept by padding: a lock that is renewed on a full disk must not be lost.
                    os.pwrite(file, orjson.dumps(lock.then).ljust(512), 0)
        except OSError as error:
            raise StoreError(
                f"cannot write {self._files.url}/{self._path}: {error.strerror or error}"
            ) from error


class _Lock:
    def __init__(self, now: dict[str, Any] | None) -> None:
        self.now = now
        self.then: dict[str, Any] | None = None


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """An open lock file that no other process reads or writes meanwhile; closing it lets go."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)


def _read(data: bytes) -> dict[str, Any] | None:
    """A holder, or None for a lock that is free or torn."""
    try:
        found = orjson.loads(data)
        return {
            "host": str(found["host"]), "pid": int(found["pid"]), "expires": float(found["expires"]),
            "token": str(found["token"]),
        }  # fmt: skip
    except (ValueError, KeyError, TypeError):
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
