"""Who does a piece of work that several drivers could do: a lock with a lease, so that a dead driver holds
nobody up for long.
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

#: What a file system without advisory locks answers (Lustre as many clusters mount it, NFS without a lock
#: daemon).
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


class Lease:
    """The right to do one thing, lent for ``seconds`` and renewed by its holder.

    As a context manager it tries once, and is renewed until the block ends::

        with store.artifacts.lease(stage.address) as lease:
            if lease.held: ...build...

    In a folder the lock file is read and written under an advisory lock, so one process at most holds a
    lease. On an object store, and on a file system that knows no advisory locks, it is best effort: two
    processes that look in the same moment may both hold it. Work done twice is harmless: of two stages the
    first published one counts, of two records of a cell one.

    No two clocks are compared. A holder changes its lock file every third of ``seconds``; whoever has seen a
    lock unchanged for ``seconds`` by its own steady clock takes it over. So a host whose clock is wrong
    neither loses its leases nor takes those of others, and a crashed machine holds up its work for
    ``seconds`` from when somebody first wanted it. A holder that died on this very machine (same boot, same
    process namespace) is found out at once.
    """

    def __init__(self, files: Files, name: str, seconds: float) -> None:
        if seconds <= 0:
            raise BenchError(f"a lease of {seconds} s: expected more than 0")
        self._files, self._path, self.seconds = files, f"locks/{name}.json", seconds
        self._token, self._beat = secrets.token_hex(8), 0
        self.held = False

    def acquire(self) -> bool:
        """Take the lease if it is free, abandoned or ours; says whether we hold it now.

        Raises:
            StoreError: the store cannot be written.
        """
        with self._exchange(make=True) as lock:
            if self._free(lock.now):
                lock.then = self._claim()
        self.held = lock.then is not None and self._settled()
        if self.held:
            _watched.forget(self._where())
        return self.held

    def hold(self) -> bool:
        """Take the lease as `acquire` does and have it renewed until `release`."""
        if self.acquire():
            _renewals.add(self)
        return self.held

    def renew(self) -> bool:
        """Extend a lease that we hold; False if somebody else took it over meanwhile."""
        with self._exchange() as lock:
            if lock.now is not None and lock.now["token"] == self._token:
                lock.then = self._claim()
        self.held = lock.then is not None
        return self.held

    def release(self) -> None:
        """Give the lease back, if it is still ours, and leave no file."""
        _renewals.remove(self)
        with self._exchange() as lock:
            if lock.now is not None and lock.now["token"] == self._token:
                lock.then = {}
        self.held = False

    def holder(self) -> dict[str, Any] | None:
        """Who holds it now (``host, pid, started, seconds, token, beat``), or None."""
        try:
            now = _read(self._files.read(self._path))
        except FileNotFoundError:
            return None
        return None if self._free(now) else now

    def __enter__(self) -> Lease:
        self.hold()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self.held:
            self.release()

    def _claim(self) -> dict[str, Any]:
        self._beat += 1
        me = {"host": _host(), "pid": os.getpid(), "started": _started(os.getpid())}
        return {**me, "seconds": self.seconds, "token": self._token, "beat": self._beat}

    def _free(self, now: dict[str, Any] | None) -> bool:
        if now is None or now["token"] == self._token:
            return True
        if now["host"] == _host() and _dead(now["pid"], now["started"]):
            return True
        return _watched.unchanged_s(self._where(), now) >= float(now["seconds"])

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
        """Read the lock, let the caller decide, and write what it left in ``then`` ({}: free, so removed).
        ``make``: the file is made if there is none, to be locked.
        """
        if self._files.root is not None and self._locks():
            try:
                with _locked(self._files.root / self._path, make) as file:
                    lock = _Lock(_read(os.read(file, 4096)))
                    yield lock
                    if lock.then:
                        # Room is kept by padding: a lock that is renewed on a full disk must not be lost.
                        os.pwrite(file, orjson.dumps(lock.then).ljust(512), 0)
                    elif lock.then is not None:
                        os.unlink(self._files.root / self._path)
                return
            except FileNotFoundError:
                yield _Lock(None)  # nobody has it, and it is not asked for
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
        if lock.then:
            self._files.write(self._path, orjson.dumps(lock.then))
        elif lock.then is not None:
            try:
                self._files.remove([self._path])
            except OSError as error:
                raise StoreError(f"cannot remove {self._where()}: {error}") from error


class _Lock:
    def __init__(self, now: dict[str, Any] | None) -> None:
        self.now = now
        self.then: dict[str, Any] | None = None


class _Watched:
    """Since when this process has seen each lock as it is."""

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
        """That lock is not another's any more."""
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
                lost = [lease for lease, kept in zip(due, pool.map(_renewed, due), strict=True) if not kept]
                with self._changed:
                    for lease in due:
                        if lease in lost:
                            self._due.pop(lease, None)
                        elif lease in self._due:
                            self._due[lease] = time.monotonic() + lease.seconds / 3

    def _wait(self) -> list[Lease] | None:
        """The leases that are to be renewed now, once there are some; None once there are none at all."""
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


_watched, _renewals = _Watched(), _Renewals()
_without_locks: set[str] = set()


@contextmanager
def _locked(path: Path, make: bool) -> Iterator[int]:
    """An open lock file that no other process reads or writes meanwhile; closing it lets go.

    Whoever gives a lease back removes the file under its lock. One who waited for that lock then holds a file
    that nobody else will find: it looks whether the name still leads to what it locked, and else tries anew.
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
    """A holder, or None for a lock that is free or torn."""
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
    """What names this machine as long as its process numbers mean the same: name, boot, process namespace
    (two containers of one machine may share its name, not its process numbers).
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
