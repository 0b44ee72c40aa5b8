"""The files of a store, in a local folder or in an object store behind fsspec. Both write a file whole or not
at all.
"""

# ruff: noqa: D102 (what a method of `Files` does is said once, there)

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

from bench.contract import BenchError

#: A record's key, a stage's address, a lease's name: what may become part of a path.
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
_BATCH = 128
#: Bytes that are free on a disk that counts as full.
_LITTLE = 1 << 24
#: Bytes that are copied at a time.
_PIECE = 1 << 22


class StoreError(BenchError):
    """A store that cannot be written or reached (full disk, read-only, no network)."""


def check_key(key: str) -> str:
    """``key`` itself; raises `BenchError` if it could not be a part of a path inside a store."""
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise BenchError(f"{key!r} is not a key: expected letters, digits, '-' and '_', at most 80")
    return key


def check_parts(path: str) -> str:
    """``path`` itself, relative with ``/``; raises `BenchError` if it would leave the folder it is joined
    to.
    """
    if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in path.split("/")):
        raise BenchError(f"{path!r} leaves its folder: a path in a store is relative and holds no '..'")
    return path


def printable(text: str) -> str:
    """A file name that can be printed: what is not UTF-8 in it is escaped."""
    return text.encode(errors="backslashreplace").decode()


def open_files(url: str | Path) -> Files:
    """The files of a store: a folder (a path or ``file://``), or any other fsspec URL.

    Raises:
        BenchError: the path is a file or no path, or the URL's protocol is unknown, lacks its library, or is
            of an archive or of what is only read.
    """
    text = os.fspath(url)
    if "://" in text and not text.startswith("file://"):
        return RemoteFiles(text)
    try:
        root = Path(_path_of(text)).expanduser().absolute()
        if "\0" in text:
            raise ValueError("a path holds no zero byte")
        above = next(p for p in (root, *root.parents) if p.exists())
        usable = above.is_dir()
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a home of nobody, ~x
        raise BenchError(f"store {text!r:.200}: {getattr(error, 'strerror', None) or error}") from error
    if not usable:
        raise BenchError(f"{above} is a file: a store is a folder or a URL such as s3://bucket/prefix")
    return LocalFiles(root)


def _path_of(text: str) -> str:
    """The path that is meant: of a URL what follows ``file://``, in which ``%20`` stands for a space."""
    if not text.startswith("file://"):
        return text
    path = text.removeprefix("file://").removeprefix("localhost")
    if not path.startswith("/"):
        raise BenchError(f"store {text}: expected file:///absolute/path, since a host follows file://")
    return unquote(path)


#: File systems of fsspec in which no file can be put beside others: archives, which are written as a whole,
#: and what is only read.
_CLOSED = frozenset(
    {"zip", "tar", "libarchive", "reference", "data", "http", "https", "github", "gist", "git", "dvc", "jlab"}
)


def _check_written(url: str) -> None:
    """Refuse URLs at which no store can be: it writes file by file, from several processes at once."""
    protocol = url.partition("://")[0]
    if protocol in _CLOSED or "::" in url:
        raise BenchError(
            f"store {url}: files cannot be added one by one there; a store is a folder or an object store,"
            " such as s3://bucket/prefix"
        )


class Files(ABC):
    """Files below one root; paths are relative, with ``/``. All methods but `write` and `put` let OSErrors
    through.
    """

    url: str
    #: The root as a folder, if it is one.
    root: Path | None = None

    @abstractmethod
    def names(self, folder: str) -> dict[str, int]:
        """Names in a folder with their sizes in bytes (-1: not a file, but a folder, a pipe or a link to
        nothing); empty if there is no such folder.
        """

    @abstractmethod
    def refresh(self, folder: str) -> None:
        """Make the next listing of a folder show what other machines wrote there until now."""

    @abstractmethod
    def read(self, path: str, start: int = 0, size: int | None = None) -> bytes:
        """Bytes of a file, or ``size`` of them from ``start``; FileNotFoundError if it is not there."""

    @abstractmethod
    def lines(self, path: str) -> Iterator[bytes]:
        """The lines of a file one by one, each with its newline."""

    @abstractmethod
    def read_many(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
        """Each path with its bytes, None for one that is not there any more."""

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Write a file whole or not at all; raises `StoreError` that names the place and the cause."""

    def create(self, path: str, data: bytes) -> bool:
        """Write a file unless there is one, in one step that only one of several processes can do; returns
        whether it was written. Always False where there is no such step.
        """
        return False

    @abstractmethod
    def get(self, path: str, to: Path) -> None:
        """Copy a file to ``to``, piece by piece, so that its size takes no memory; FileNotFoundError if it is
        not there. What a failure leaves at ``to`` is the caller's.
        """

    @abstractmethod
    def put(self, path: str, source: Path) -> None:
        """Write a file from ``source``, piece by piece. Who reads it checks its digest, since some object
        stores keep a part of it where the connection breaks; raises `StoreError` that names the place and the
        cause.
        """

    @abstractmethod
    def remove(self, paths: Sequence[str]) -> None:
        """Remove files; nothing happens for one that is not there."""

    @abstractmethod
    def move(self, path: str, to: str) -> None:
        """Move a file or a folder; FileNotFoundError if it is not there."""

    def full(self) -> bool:
        """Whether the disk is known to be full."""
        return False

    def set_aside(self, path: str) -> str:
        """Move a file or a folder into ``aside/`` under a new name, and return its path there."""
        plain = re.sub(r"[^A-Za-z0-9._-]", "_", path.rpartition("/")[2]).lstrip(".") or "unnamed"
        taken = self.names("aside")
        n, name = 0, plain
        while name in taken:
            n += 1
            name = f"{plain}.{n}"
        self.move(path, f"aside/{name}")
        return f"aside/{name}"


class LocalFiles(Files):
    """A folder. A file is written in ``tmp/`` of the same file system, synced, and renamed into place."""

    def __init__(self, root: Path) -> None:
        self.root: Path = root
        self.url = str(root)

    def at(self, path: str) -> Path:
        """The path on disk; raises `BenchError` if it would leave the store."""
        return self.root / check_parts(path)

    def full(self) -> bool:
        there = next(p for p in (self.root, *self.root.parents) if p.exists())
        return shutil.disk_usage(there).free < _LITTLE

    def scratch(self) -> Path:
        """A new name in ``tmp/``; what a killed process leaves there is never read."""
        folder = self.root / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{os.getpid()}-{secrets.token_hex(6)}"

    def names(self, folder: str) -> dict[str, int]:
        try:
            with os.scandir(self.at(folder)) as entries:
                return {e.name: _size(e) for e in entries}
        except FileNotFoundError:
            return {}

    def refresh(self, folder: str) -> None:
        # A network file system caches a listing for up to a minute. Changing the time of the folder makes it
        # fetch the state that the server has.
        for path in (self.root, self.at(folder)):
            with suppress(FileNotFoundError):
                os.utime(path)

    def read(self, path: str, start: int = 0, size: int | None = None) -> bytes:
        with open(self.at(path), "rb", opener=_open_file) as file:
            file.seek(start)
            return file.read() if size is None else file.read(size)

    def lines(self, path: str) -> Iterator[bytes]:
        with open(self.at(path), "rb", buffering=1 << 20, opener=_open_file) as file:
            yield from file

    def read_many(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
        for path in paths:
            try:
                yield path, self.read(path)
            except FileNotFoundError:
                yield path, None

    def write(self, path: str, data: bytes) -> None:
        self._write(path, lambda file: file.write(data))

    def get(self, path: str, to: Path) -> None:
        with open(self.at(path), "rb", opener=_open_file) as file, open(to, "wb") as target:
            shutil.copyfileobj(file, target, _PIECE)

    def put(self, path: str, source: Path) -> None:
        def copy(to: BinaryIO) -> None:
            with open(source, "rb") as file:
                shutil.copyfileobj(file, to, _PIECE)

        self._write(path, copy)

    def _write(self, path: str, fill: Callable[[BinaryIO], object]) -> None:
        target = self.at(path)
        try:
            scratch = self.scratch()
            try:
                with open(scratch, "xb") as file:
                    fill(file)
                    file.flush()
                    os.fsync(file.fileno())
                try:
                    os.replace(scratch, target)
                except FileNotFoundError:  # the folder is made when first needed, not before every write
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(scratch, target)
            except OSError:
                scratch.unlink(missing_ok=True)  # a full disk needs the space
                raise
        except OSError as error:
            raise StoreError(f"cannot write {target}: {error.strerror or error}") from error

    def remove(self, paths: Sequence[str]) -> None:
        for path in paths:
            self.at(path).unlink(missing_ok=True)

    def move(self, path: str, to: str) -> None:
        target = self.at(to)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.at(path), target)

    def sweep_scratch(self, older_than_s: float, now: float) -> None:
        """Remove what killed processes left in ``tmp/`` longer ago than that."""
        for name in self.names("tmp"):
            path = self.at(f"tmp/{name}")
            try:
                if now - path.stat().st_mtime > older_than_s:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            except FileNotFoundError:
                continue  # another process swept it


def _size(entry: os.DirEntry[str]) -> int:
    try:
        found = entry.stat()
    except OSError:  # a link to nothing or to itself; else gone since it was listed: read_many will say so
        return -1 if entry.is_symlink() else 0
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def _open_file(path: str, flags: int) -> int:
    """Open a regular file only: opening a pipe that nobody writes to would block for ever."""
    fd = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a file, but a folder or a pipe", path)
    return fd


class RemoteFiles(Files):
    """An fsspec file system. One put writes a file whole, so nothing needs a temporary name.

    Credentials and end points come from the environment, as the protocol's library reads them. Not to be used
    across a fork: open the store anew in the child.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        _check_written(url)
        self.url = url.rstrip("/")
        try:
            # A cached listing would hide what another process wrote.
            self._fs, self._root = fsspec.url_to_fs(self.url, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise BenchError(f"store {url}: {error}") from error
        self._root = self._root.rstrip("/")
        self._creates: bool | None = None

    def _at(self, path: str) -> str:
        return f"{self._root}/{check_parts(path)}"

    def names(self, folder: str) -> dict[str, int]:
        with _as_oserror():
            self._fs.invalidate_cache()
            try:
                found: list[dict[str, Any]] = self._fs.ls(self._at(folder), detail=True)
            except FileNotFoundError:
                return {}
        sizes = {
            e["name"].rstrip("/").rpartition("/")[2]: e for e in found if not _is_marker(e, self._at(folder))
        }
        return {name: -1 if e["type"] == "directory" else int(e["size"] or 0) for name, e in sizes.items()}

    def refresh(self, folder: str) -> None:
        pass  # listings are not cached

    def read(self, path: str, start: int = 0, size: int | None = None) -> bytes:
        with _as_oserror():
            end = None if size is None else start + size
            return bytes(self._fs.cat_file(self._at(path), start=start or None, end=end))

    def lines(self, path: str) -> Iterator[bytes]:
        yield from self.read(path).splitlines(
            keepends=True
        )  # a segment is bounded, and one request is quickest

    def read_many(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
        for i in range(0, len(paths), _BATCH):
            batch = {self._at(p): p for p in paths[i : i + _BATCH]}
            with _as_oserror():
                found = self._fs.cat(list(batch), on_error="return")
            if isinstance(found, bytes):  # some file systems unwrap a list of one
                found = dict.fromkeys(batch, found)
            by_name = {k.lstrip("/"): v for k, v in found.items()}
            for full, path in batch.items():
                data = by_name[full.lstrip("/")]
                if isinstance(data, FileNotFoundError):
                    yield path, None
                elif isinstance(data, Exception):
                    raise OSError(f"{path}: {type(data).__name__}: {data}") from data
                else:
                    yield path, bytes(data)

    def write(self, path: str, data: bytes) -> None:
        try:
            with _as_oserror():
                self._fs.pipe_file(self._at(path), data)
        except OSError as error:
            raise StoreError(f"cannot write {self.url}/{path}: {error}") from error

    def create(self, path: str, data: bytes) -> bool:
        if self._creates is None:
            self._creates = self._refuses_a_second()
        return self._creates and self._created(path, data)

    def _created(self, path: str, data: bytes) -> bool:
        try:
            with _as_oserror():
                self._fs.pipe_file(self._at(path), data, mode="create")
        except OSError:  # each library says in its own way that there is one
            return False
        return True

    def _refuses_a_second(self) -> bool:
        """Whether this store keeps a file that is there when another is created in its place: some servers
        and some libraries know nothing of that and overwrite it.
        """
        path = f"tmp/{secrets.token_hex(8)}"
        if not self._created(path, b""):
            return False
        refused = not self._created(path, b"")
        with suppress(OSError):
            self._remove(path)
        return refused

    def get(self, path: str, to: Path) -> None:
        with _as_oserror():
            self._fs.get_file(self._at(path), str(to))

    def put(self, path: str, source: Path) -> None:
        try:
            with _as_oserror():
                self._fs.put_file(str(source), self._at(path))
        except OSError as error:
            raise StoreError(f"cannot write {self.url}/{path}: {error}") from error

    def remove(self, paths: Sequence[str]) -> None:
        with ThreadPoolExecutor(16) as pool:  # each is a round trip
            list(pool.map(self._remove, paths))

    def _remove(self, path: str) -> None:
        with _as_oserror(), suppress(FileNotFoundError):
            self._fs.rm_file(self._at(path))

    def move(self, path: str, to: str) -> None:
        with _as_oserror():
            self._fs.mv(self._at(path), self._at(to), recursive=self._fs.isdir(self._at(path)))


def _is_marker(entry: dict[str, Any], folder: str) -> bool:
    """Whether an entry of a listing is the folder itself (object stores keep empty markers)."""
    return bool(entry["name"].strip("/") == folder.strip("/"))


@contextmanager
def _as_oserror() -> Iterator[None]:
    """Let every failure of a back end come as OSError: each protocol's library has a family of its own."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
