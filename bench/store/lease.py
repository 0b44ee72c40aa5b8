"""Leases: locks that expire, for work that several drivers could do. A dead driver blocks its work only for a
short time.
"""

from __future__ import annotations

import errno
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from bench.contract import BenchError
from bench.store.files import Files, StoreError

#: The errors of a file system without advisory locks (Lustre as many clusters mount it, NFS without a lock
#: daemon).
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


class Lease:
    """A lock on one piece of work that expires after ``seconds`` unless its holder renews it.

    As a context manager it is tried once, and renewed until the block ends::

        with store.artifacts.lease(stage.address) as lease:
            if lease.held: ...build...

    In a folder the lock file is read and written under an advisory lock, so at most one process holds a
    lease. An object store makes the lock file in one step where it can (a conditional put). On other object
    stores, on a file system without advisory locks, and when the lease of a dead holder is taken over, two
    processes that try at the same moment may both hold it. Work that is done twice is harmless: the first of
    two builds of a stage counts, and one of two records of a cell.

    On an object store each request costs time and money. So a lock that nobody can have taken over since it
    was last written is renewed and removed without being read first.

    Clocks of two machines are never compared. A holder rewrites its lock file every third of ``seconds``;
    another process takes the lease over once it has seen the file unchanged for ``seconds`` by its own
    monotonic clock. So a host whose clock is wrong neither loses its leases nor takes those of others, and a
    crashed machine blocks its work for ``seconds`` from the first attempt to take it over. That a holder on
    this machine has died (same boot, same process namespace) is detected at once.
    """

    def __init__(self, files: Files, name: str, seconds: float) -> None:
        if seconds <= 0:
            raise BenchError(f"a lease of {seconds} s: expected more than 0")
        self._files, self._path, self.seconds = files, f"locks/{name}.json", seconds
        self._token, self._beat = secrets.token_hex(8), 0
        self._written, self._refused, self._lock = 0.0, False, threading.Lock()
        self.held = False

    def acquire(self) -> bool:
        """Take the lease if nobody holds it, if it expired or if it is ours; returns whether we hold it now.

        Raises:
            StoreError: the store cannot be written.
        """
        if self._files.root is None and not (self.held or self._refused):
            self.held = self._files.create(self._path, orjson.dumps(self._claim()))
            if self.held:
                return True
        with self._exchange(make=True) as lock:
            if self._available(lock.content):
                lock.update = self._claim()
        self.held = lock.update is not None and self._settled()
        self._refused = not self.held
        if self.held:
            _observed.forget(self._where())
        return self.held

    def hold(self) -> bool:
        """Take the lease as `acquire` does; a thread renews it until `release`."""
        if self.acquire():
            _renewals.add(self)
        return self.held

    def renew(self) -> bool:
        """Extend a lease that we hold; False if another process took it over meanwhile."""
        with self._lock:
            return self._renew()

    def _renew(self) -> bool:
        if self._still_ours():
            self._files.write(self._path, orjson.dumps(self._claim()))
            return True
        with self._exchange() as lock:
            if lock.content is not None and lock.content["token"] == self._token:
                lock.update = self._claim()
        self.held = lock.update is not None
        return self.held

    def release(self) -> None:
        """Give up the lease, if it is still ours, and remove its file."""
        _renewals.remove(self)
        with self._lock:  # a renewal that is under way would write the file again
            self._release()

    def _release(self) -> None:
        if self._still_ours():
            self.held = False
            self._remove()
            return
        with self._exchange() as lock:
            if lock.content is not None and lock.content["token"] == self._token:
                lock.update = {}
        self.held = False

    def holder(self) -> dict[str, Any] | None:
        """The holder of the lease (``host, pid, started, seconds, token, beat``), None if there is none."""
        try:
            now = _read(self._files.read(self._path))
        except FileNotFoundError:
            return None
        return None if self._available(now) else now

    def __enter__(self) -> Lease:
        self.hold()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self.held:
            self.release()

    def _still_ours(self) -> bool:
        """Whether a lock on an object store cannot have been taken over since it was last written: that takes
        another process ``seconds`` from then on. The clock goes on while the machine sleeps.
        """
        since = time.clock_gettime(time.CLOCK_BOOTTIME) - self._written
        return self.held and self._files.root is None and since < self.seconds / 2

    def _claim(self) -> dict[str, Any]:
        self._beat += 1
        self._written = time.clock_gettime(time.CLOCK_BOOTTIME)
        me = {"host": _host(), "pid": os.getpid(), "started": _started(os.getpid())}
        return {**me, "seconds": self.seconds, "token": self._token, "beat": self._beat}

    def _available(self, now: dict[str, Any] | None) -> bool:
        if now is None or now["token"] == self._token:
            return True
        if now["host"] == _host() and _dead(now["pid"], now["started"]):
            return True
        return _observed.unchanged_s(self._where(), now) >= float(now["seconds"])

    def _where(self) -> str:
        return f"{self._files.url}/{self._path}"

    def _settled(self) -> bool:
        """Whether the lease is ours once the last of several writers has won (needed where nothing is
        locked).
        """
        if self._locks():
            return True
        try:
            return (_read(self._files.read(self._path)) or {}).get("token") == self._token
        except FileNotFoundError:
            return False

    def _locks(self) -> bool:
        """Whether lock files lie where a process can lock them against all others."""
        return self._files.root is not None and self._files.url not in _without_locks

    @contextmanager
    def _exchange(self, *, make: bool = False) -> Iterator[_Lock]:
        """Read the lock file, let the caller set `_Lock.update`, and write it, all under one advisory lock.
        ``make``: make the file if there is none.
        """
        if self._files.root is not None and self._locks():
            try:
                with _locked(self._files.root / self._path, make) as file:
                    lock = _Lock(_read(os.read(file, 4096)))
                    yield lock
                    if lock.update:
                        # Padded, so that renewing needs no more space: on a full disk the lease must not be
                        # lost.
                        os.pwrite(file, orjson.dumps(lock.update).ljust(512), 0)
                    elif lock.update is not None:
                        os.unlink(self._files.root / self._path)
                return
            except FileNotFoundError:
                yield _Lock(None)  # nobody holds it, and the caller does not want it
                return
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise StoreError(f"cannot write {self._where()}: {error.strerror or error}") from error
                _without_locks.add(self._files.url)
        with self._unlocked() as lock:
            yield lock

    @contextmanager
    def _unlocked(self) -> Iterator[_Lock]:
        """The same without an advisory lock."""
        try:
            lock = _Lock(_read(self._files.read(self._path)))
        except FileNotFoundError:
            lock = _Lock(None)
        except OSError as error:
            raise StoreError(f"cannot read {self._where()}: {error}") from error
        yield lock
        if lock.update:
            self._files.write(self._path, orjson.dumps(lock.update))
        elif lock.update is not None:
            self._remove()

    def _remove(self) -> None:
        try:
            self._files.remove([self._path])
        except OSError as error:
            raise StoreError(f"cannot remove {self._where()}: {error}") from error


class _Lock:
    """The ``content`` of a lock file (None: there is none) and its ``update`` ({}: remove the file; None: no
    change).
    """

    def __init__(self, content: dict[str, Any] | None) -> None:
        self.content = content
        self.update: dict[str, Any] | None = None


class _Observed:
    """Since when this process has seen each lock file unchanged."""

    def __init__(self) -> None:
        self._lock, self._seen = threading.Lock(), dict[str, tuple[dict[str, Any], float]]()

    def unchanged_s(self, path: str, now: dict[str, Any]) -> float:
        """Seconds since this process first saw that lock with that content."""
        with self._lock:
            content, since = self._seen.get(path, (None, 0.0))
            if content != now:
                since = time.monotonic()
                self._seen[path] = now, since
            return time.monotonic() - since

    def forget(self, path: str) -> None:
        """Forget a lock that no other process holds any more."""
        with self._lock:
            self._seen.pop(path, None)


class _Renewals:
    """Renews all leases that this process holds, from one thread that lives as long as there are any."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[Lease, float] = {}
        self._thread: threading.Thread | None = None

    def add(self, lease: Lease) -> None:
        """Renew a lease every third of its time from now on."""
        with self._changed:
            self._due[lease] = time.monotonic() + lease.seconds / 3
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
                self._thread.start()
            self._changed.notify()

    def remove(self, lease: Lease) -> None:
        """Renew it no more; nothing happens if it was not renewed."""
        with self._changed:
            self._due.pop(lease, None)
            self._changed.notify()

    def _run(self) -> None:
        # On an object store a renewal is a round trip: a few hundred leases are renewed side by side.
        with ThreadPoolExecutor(16, thread_name_prefix="leases") as pool:
            while (due := self._wait()) is not None:
                lost = [lease for lease, ours in zip(due, pool.map(_renewed, due), strict=True) if not ours]
                with self._changed:
                    for lease in due:
                        if lease in lost:
                            self._due.pop(lease, None)
                        elif lease in self._due:
                            self._due[lease] = time.monotonic() + lease.seconds / 3

    def _wait(self) -> list[Lease] | None:
        """Wait for leases that are to be renewed, and return them; None once there are no leases at all."""
        with self._changed:
            while self._due:
                now = time.monotonic()
                if due := [lease for lease, at in self._due.items() if at <= now]:
                    return due
                self._changed.wait(min(self._due.values()) - now)
            self._thread = None
            return None


def _renewed(lease: Lease) -> bool:
    try:
        return lease.renew()
    except StoreError:
        return True  # a moment without network or space: it is tried again before the lease ends


_observed, _renewals = _Observed(), _Renewals()
_without_locks: set[str] = set()


@contextmanager
def _locked(path: Path, make: bool) -> Iterator[int]:
    """An open lock file under an exclusive advisory lock; closing it unlocks it.

    A lease is given up by removing the file under its lock. A process that waited for that lock then holds a
    file without a name: so it checks that the name still leads to the file it locked, and tries again if not.
    """
    import fcntl

    while True:
        file = _opened(path, make)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _leads_to(path, file):
                yield file
                return
        finally:
            os.close(file)


def _opened(path: Path, make: bool) -> int:
    # Readable and writable as far as the user's mask allows: a store may belong to a group.
    flags, mode = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if make else 0), 0o666
    try:
        return os.open(path, flags, mode)
    except FileNotFoundError:
        if not make:
            raise
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, mode)


def _leads_to(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESTALE):  # the second on NFS: another host removed it
            raise
        return False


def _read(data: bytes) -> dict[str, Any] | None:
    """The holder that a lock file names, None if it is empty or damaged."""
    try:
        found = orjson.loads(data)
        return {
            "host": str(found["host"]), "pid": int(found["pid"]), "started": int(found["started"]),
            "seconds": float(found["seconds"]), "token": str(found["token"]), "beat": int(found["beat"]),
        }  # fmt: skip
    except (ValueError, KeyError, TypeError):
        return None


@lru_cache(maxsize=1)
def _host() -> str:
    """Names this machine as long as its pids mean the same: host name, boot and process namespace (two
    containers of one machine may share its name, but not its pids).
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{platform.node()}/{boot}/{os.stat('/proc/self/ns/pid').st_ino}"


def _started(pid: int) -> int | None:
    """When a process of this machine started, in clock ticks since boot; -1: it has ended; None: that cannot
    be seen (some machines hide the processes of other users).
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, fields = text.rpartition(")")[2].split(maxsplit=1)  # the name before it may hold anything
    return -1 if state in "ZX" else int(fields.split()[18])


def _dead(pid: int, started: int) -> bool:
    """Whether a process of this machine has ended, also if another has its number by now."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass  # another user's
    return _started(pid) not in (None, started)
