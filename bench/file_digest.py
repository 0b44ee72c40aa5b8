"""The sha-256 of a file: what a file holds is known by its content and never by its time.

`read_digest` always reads the file, to verify it. `file_digest` reads it once and remembers the result for as
long as the file has the same size and time; of a large file also on disk, beside the file as
``.<name>.sha256.json`` or, where that folder cannot be written, in the user's cache. An entry that is damaged
does not count, nor does one of a file that changed so lately that a further change could leave its time as it
is.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.cache import cache_folder

#: Seconds in which two changes of a file may leave it with one time: the coarsest clock of a file system.
_CLOCK = 2.0
#: Bytes read at a time; bytes from which on a log says that a file is being read, and how far it got.
_CHUNK, _LARGE = 1 << 24, 1 << 28
_LOG = logging.getLogger("bench.data")
#: (path, size, time) -> digest of the files that this process has asked for.
_KNOWN: dict[tuple[str, int, int], str] = {}


def content(path: Path) -> str | Mapping[str, str]:
    """What a file or a folder holds: a file's digest, or that of each file in a folder by its path there.

    Hidden files and folders are left out: they are entries of this module, and what a download left behind.
    """
    if path.is_file():
        return file_digest(path)
    below = ((p.relative_to(path), p) for p in sorted(path.rglob("*")))
    return {
        name.as_posix(): file_digest(p)
        for name, p in below
        if p.is_file() and not any(part.startswith(".") for part in name.parts)
    }


def file_digest(path: Path, *, on_disk: bool = True) -> str:
    """The sha-256 of a file, 64 hexadecimal digits; the file is read only if its digest is not remembered.

    Args:
        path: the file.
        on_disk: remember the digest on disk too, so that other processes need not read the file. Not for
            files that belong to an installed package or to this repository: entries would lie between them.

    Raises:
        OSError: the file cannot be read.
    """
    found = path.stat()
    key = os.path.abspath(path), found.st_size, found.st_mtime_ns
    settled = abs(time.time() - found.st_mtime) >= _CLOCK
    if settled and key in _KNOWN:
        return _KNOWN[key]
    places = _places(path) if on_disk else ()
    for place in places if settled else ():
        if known := _entry(place, found):
            return _KNOWN.setdefault(key, known)
    sha256, after = _read(path)
    if (after.st_size, after.st_mtime_ns) != key[1:]:
        return sha256  # of a file that is being written: of no use to anybody later
    if not on_disk:
        return _KNOWN.setdefault(key, sha256) if settled else sha256
    if not any(_write_entry(place, sha256, after) for place in places) and found.st_size >= _LARGE:
        _LOG.warning("%s: its digest cannot be written to %s nor to %s", path, *(p.parent for p in places))
    return sha256


def read_digest(path: Path, progress: Callable[[int, int], None] | None = None) -> str:
    """The sha-256 of a file, 64 hexadecimal digits, of the bytes that are there now.

    Args:
        path: the file.
        progress: called with the number of bytes that are read and the file's size.

    Raises:
        OSError: the file cannot be read.
    """
    return _read(path, progress)[0]


def _places(path: Path) -> tuple[Path, Path]:
    """Where a file's digest is remembered: beside it, else in the user's cache."""
    name = hashlib.sha256(os.path.abspath(path).encode()).hexdigest()
    return path.with_name(f".{path.name}.sha256.json"), cache_folder() / "digests" / f"{name}.json"


def _entry(place: Path, of: os.stat_result) -> str | None:
    """The digest in an entry, if there is one, whole, and of a file with that size and time."""
    try:
        entry = json.loads(place.read_bytes())
        sha256 = entry.pop("sha256")
        int(sha256, 16)
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None  # not there, torn, or not ours: the file is read
    same = entry == {"size": of.st_size, "mtime_ns": of.st_mtime_ns}
    return str(sha256) if same and len(sha256) == 64 else None


def _write_entry(place: Path, sha256: str, of: os.stat_result) -> bool:
    """Write an entry, whole or not at all; False if it cannot be written there."""
    entry = {"size": of.st_size, "mtime_ns": of.st_mtime_ns, "sha256": sha256}
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, new = tempfile.mkstemp(prefix=".", dir=place.parent)
    except OSError:
        return False
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(entry, file)
        # By the clock of the place itself, where the file lies too: this machine's may be ahead of it.
        if abs(os.stat(new).st_mtime - of.st_mtime) >= _CLOCK:
            os.chmod(new, 0o644)
            os.replace(new, place)
    except OSError:
        return False
    finally:
        Path(new).unlink(missing_ok=True)
    return True


def _read(path: Path, progress: Callable[[int, int], None] | None = None) -> tuple[str, os.stat_result]:
    """The digest, and the size and time that the file had after it was read."""
    progress, found, done = progress or _logged(path), hashlib.sha256(), 0
    with path.open("rb") as file:
        total = os.fstat(file.fileno()).st_size
        progress(0, total)
        while chunk := file.read(_CHUNK):
            found.update(chunk)
            done += len(chunk)
            progress(done, total)
        return found.hexdigest(), os.fstat(file.fileno())


def _logged(path: Path) -> Callable[[int, int], None]:
    """Progress of a large file as lines of a log, one a gigabyte."""

    def progress(done: int, total: int) -> None:
        if done == 0 and total >= _LARGE:
            _LOG.warning("%s: reading %.1f GB once, to know it by its content", path, total / 1e9)
        elif done >= 1 << 30 and (done % (1 << 30) < _CHUNK or done == total):
            _LOG.warning("%s: %.1f of %.1f GB read", path, done / 1e9, total / 1e9)

    return progress
