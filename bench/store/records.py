"""The store: one record per cell, loose or sealed, in a folder or behind an fsspec URL.

::

    store.json                     the schema of the store
    records/<key>.<stamp>.json     loose records, one file each
    segments/<number>-<digest>.jsonl   sealed records, one a line; named by their content
    artifacts/  stages/            see `bench.store.artifacts`
    aside/                         torn and foreign files: never read, never deleted
    tmp/  locks/  checkpoints/     work in progress

No file is ever written twice: a record written again gets another stamp, and the newest counts. So several
processes may write and seal one store at once without a lock, on an object store too, and what was read once
need not be read again.
"""

from __future__ import annotations

import gc
import hashlib
import re
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

import orjson

from bench.contract import BenchError, Record
from bench.store.artifacts import Artifacts
from bench.store.files import KEY, Files, LocalFiles, StoreError, check_key, open_files
from bench.store.heads import (
    MIGRATIONS,
    SCHEMA,
    Head,
    NewerError,
    Pool,
    ShapeError,
    check_shape,
    dump,
    head_of,
    parse,
    record_of,
)

__all__ = ["MIGRATIONS", "SCHEMA", "Head", "Store", "StoreError"]

_LOOSE = re.compile(rf"(?P<key>{KEY.pattern})(?:\.(?P<stamp>[0-9a-f]{{20}}))?\.json")
_SEALED = re.compile(r"(?P<number>[0-9]{6})-(?P<digest>[0-9a-f]{16})\.jsonl")
_SEGMENT_BYTES = 64 << 20
_SMALL_BYTES = 8 << 20
_MANY_SMALL = 16
_SCRATCH_AGE_S = 3 * 24 * 3600.0
_ATTEMPTS = 50
# What a segment of the right digest may still hold if somebody made it by hand.
_MISSHAPEN = (KeyError, TypeError, AttributeError, ValueError)


class Store:
    """Records and artifacts of sweeps.

    ``problems``: what was set aside or left out while reading, each said once. One process's view is
    refreshed by `heads`; what this process writes is seen at once.
    """

    def __init__(self, files: Files, cache: Path | None = None) -> None:
        self._files = files
        self.url = files.url
        self.artifacts = Artifacts(files, cache)
        self.problems: list[str] = []
        self._lock = threading.RLock()
        self._made = False
        self._forget()

    @classmethod
    def open(cls, url: str | Path, *, cache: Path | None = None) -> Store:
        """The store in a folder or at an fsspec URL; nothing is written before the first record.

        Args:
            url: a path, ``file://``, ``memory://x``, ``s3://bucket/prefix`` (options from the environment), …
            cache: local folder for what an object store's stages and checkpoints need on disk; default
                ``$BENCH_CACHE``, else the user's cache folder.

        Raises:
            BenchError: a file instead of a folder, an unknown protocol, or a store of a newer schema.
            StoreError: it cannot be reached.
        """
        store = cls(open_files(url), cache)
        try:
            header = orjson.loads(store._files.read("store.json"))
            schema = header["schema"]
        except FileNotFoundError:
            return store
        except OSError as error:
            raise StoreError(f"cannot read store {store.url}: {error}") from error
        except _MISSHAPEN as error:
            raise BenchError(f"{store.url}/store.json is not the header of a store: {error}") from error
        if type(schema) is not int or schema > SCHEMA:
            raise BenchError(
                f"store {store.url} has schema {schema}, this version of gridbench reads up to {SCHEMA}"
            )
        store._made = True
        return store

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    # ------------------------------------------------------------------------------------------------ writing

    def write(self, record: Record) -> None:
        """Keep a record, whole or not at all; of several of one key the newest counts (see `Head.rank`).

        Raises:
            StoreError: it cannot be written (full disk, read-only, no network); the cell stays new.
            BenchError: it is not plain JSON of a record's shape, or its key is not that of its cell.
        """
        line = dump(record)
        raw = orjson.loads(line)
        try:
            check_shape(raw, check_key(record.key))
        except ShapeError as error:
            raise BenchError(f"record {record.key} is not written: {error}") from error
        path = f"records/{record.key}.{time.time_ns():016x}{secrets.token_hex(2)}.json"
        try:
            self._make()
            self._files.write(path, line)
        except StoreError as error:
            named = " · ".join(
                str(v) for k in ("track", "task", "row", "seed") if (v := record.cell.get(k)) is not None
            )
            raise StoreError(
                f"{record.kind} {record.key} ({named}) is not recorded and stays new: {error}"
            ) from error
        with self._lock:
            if self._loaded:
                self._keep(head_of(raw, self._pool, path, 0, len(line)))
                self._read.add(path)

    def _make(self) -> None:
        """Write the header, once; two processes that do so write the same."""
        if self._made:
            return
        try:
            self._files.read("store.json")
        except FileNotFoundError:
            self._files.write("store.json", orjson.dumps({"schema": SCHEMA}) + b"\n")
        except OSError as error:
            raise StoreError(f"cannot read store {self.url}: {error}") from error
        self._made = True

    # ------------------------------------------------------------------------------------------------ reading

    def heads(self) -> dict[str, Head]:
        """The newest record of each key as a `Head`, read line by line; files read before are not read again.

        Torn and foreign files are set aside and told in ``problems``; records of a newer schema are told and
        left.

        Raises:
            StoreError: the store cannot be reached.
        """
        with self._lock, _no_gc():
            self._refresh()
            return dict(self._heads)

    def read(self, key: str) -> Record | None:
        """The whole record of a key as of the last `heads` (or this process's last `write`), None if there is
        none.

        Raises:
            BenchError: the key is not one.
            StoreError: the store cannot be reached.
        """
        check_key(key)
        with self._lock:
            for _ in range(_ATTEMPTS):
                if key not in self._heads:
                    self._refresh()
                if (head := self._heads.get(key)) is None:
                    return None
                try:
                    return record_of(parse(self._files.read(head.file, head.offset, head.size)))
                except FileNotFoundError:  # sealed or compacted by another process since
                    self._refresh()
                except ShapeError:  # damaged since: reading all anew sets it aside
                    self._forget()
                except OSError as error:
                    raise StoreError(f"cannot read {self.url}/{head.file}: {error}") from error
        raise StoreError(f"{self.url} changes faster than it can be read")

    def fresh(self) -> dict[str, Head]:
        """`heads`, with what other machines wrote until this moment (a network folder may show it late)."""
        try:
            self._files.refresh("records")
        except OSError as error:
            raise StoreError(f"cannot write store {self.url}: {error}") from error
        return self.heads()

    def holds(self, key: str, ended: str) -> bool:
        """Whether the record of a key that ended at that moment is here, be it the one that counts or not."""
        head = self.fresh().get(check_key(key))
        if head is not None and head.ended == ended:
            return True
        try:
            names = [f"records/{n}" for n in self._files.names("records") if n.partition(".")[0] == key]
            found = [parse(data) for _, data in self._files.read_many(names) if data is not None]
        except OSError as error:
            raise StoreError(f"cannot read store {self.url}: {error}") from error
        except (ShapeError, NewerError):
            return False  # told and set aside when it is read
        return any(raw.get("ended") == ended for raw in found)

    def match(self, start: str) -> str:
        """The one key that starts with ``start``; `BenchError` with the nearest keys if there is none or
        several.
        """
        keys = self.heads()
        found = [k for k in keys if k.startswith(start)] if start else []
        if len(found) == 1 or start in keys:
            return start if start in keys else found[0]
        near = found[:5] or get_close_matches(start, keys, n=3, cutoff=0.5)
        what = (
            f"{len(found)} records of {self.url} start with" if found else f"no record of {self.url} has key"
        )
        raise BenchError(f"{what} {start!r}" + (f": {', '.join(near)}" if near else ""))

    def _forget(self) -> None:
        self._heads: dict[str, Head] = {}
        self._read: set[str] = set()
        self._held: set[str] = set()  # segments with records of a newer schema
        self._pool = Pool()
        self._loaded = False

    def _refresh(self) -> None:
        """Bring the index up to date. Loose names are listed before sealed ones: whoever seals a record
        writes the segment before it removes the loose file, so a record is in one of the two listings."""
        try:
            for _ in range(_ATTEMPTS):
                if self._look():
                    self._loaded = True
                    return
        except OSError as error:
            raise StoreError(f"cannot read store {self.url}: {error}") from error
        raise StoreError(f"{self.url} changes faster than it can be read")

    def _look(self) -> bool:
        """Read what is new; False if files vanished meanwhile and the listing has to be made again."""
        present = [
            f"{folder}/{name}" for folder in ("records", "segments") for name in self._files.names(folder)
        ]
        gone = self._read.difference(present)
        orphans = [k for k, h in self._heads.items() if h.file in gone] if gone else []
        for key in orphans:
            del self._heads[key]
        self._read -= gone
        new = [p for p in present if p not in self._read]
        settled = self._take_loose([p for p in new if p.startswith("records/")])
        for path in new:
            if path.startswith("segments/"):
                settled &= self._take_sealed(path)
        if not all(key in self._heads for key in orphans):
            # What was read before and counted for less (a copy in another segment, an older record of the key
            # once somebody removed the newer by hand) counts again; it is known only if all is read anew.
            self._forget()
            return False
        return settled

    def _keep(self, head: Head) -> None:
        other = self._heads.get(head.key)
        if other is None or head.rank() > other.rank():
            self._heads[head.key] = head

    def _take_loose(self, paths: list[str]) -> bool:
        named = {p: m["key"] for p in paths if (m := _LOOSE.fullmatch(p.rpartition("/")[2]))}
        for path in paths:
            if path not in named and not path.startswith(
                "records/."
            ):  # hidden files are the file system's own
                self._set_aside(path, "not a record's name")
        settled = True
        for path, data in self._files.read_many(list(named)):
            if data is None:
                settled = False
                continue
            self._read.add(path)
            try:
                raw = parse(data)
                check_shape(raw, named[path])
                self._keep(head_of(raw, self._pool, path, 0, len(data)))
            except NewerError as error:
                self.problems.append(f"{path} is left out: {error}")
            except ShapeError as error:
                self._set_aside(path, str(error))
        return settled

    def _set_aside(self, path: str, why: str) -> None:
        try:
            to = self._files.set_aside(path)
        except FileNotFoundError:
            return  # another process was quicker
        except OSError as error:
            self._read.add(path)
            self.problems.append(f"{path} is not a record ({why}); it cannot be moved to aside/: {error}")
        else:
            self._read.discard(path)
            self.problems.append(f"{path} is not a record ({why}); moved to {to}")

    def _take_sealed(self, path: str) -> bool:
        """Read a segment; its digest is checked on the way, and vouches for what was checked before it was
        sealed.
        """
        name = path.rpartition("/")[2]
        if not name.endswith(".jsonl"):
            if not name.startswith("."):
                self._set_aside(path, "not a segment's name")
            return True
        content, heads, held, offset = hashlib.sha256(), [], 0, 0
        try:
            for line in self._files.lines(path):
                content.update(line)
                try:
                    heads.append(head_of(parse(line), self._pool, path, offset, len(line)))
                except NewerError:
                    held += 1
                offset += len(line)
        except FileNotFoundError:
            return False  # compacted meanwhile
        except _MISSHAPEN:
            return self._salvage(path)
        if (match := _SEALED.fullmatch(name)) is None or match["digest"] != content.hexdigest()[:16]:
            return self._salvage(path)
        if held:
            self._held.add(path)
            self.problems.append(f"{path}: {held} records of a newer schema are left out: update gridbench")
        for head in heads:
            self._keep(head)
        self._read.add(path)
        return True

    def _salvage(self, path: str) -> bool:
        """Seal the sound lines of a damaged or foreign segment anew and set it aside as it was."""
        sound: list[bytes] = []
        heads: list[Head] = []
        torn = offset = 0
        for line in self._files.lines(path):
            try:
                raw = parse(line)
                check_shape(raw)
                heads.append(head_of(raw, self._pool, path, offset, len(line)))
                sound.append(line.rstrip(b"\r\n"))
            except NewerError:
                sound.append(line.rstrip(b"\r\n"))
            except ShapeError:
                torn += 1
            offset += len(line)
        said = f"{path} is not as it was sealed: {torn} torn lines, {len(sound)} sound records"
        match = _SEALED.fullmatch(path.rpartition("/")[2])
        try:
            if sound:
                self._write_segment(int(match["number"]) if match else 0, sound)
            to = self._files.set_aside(path)
        except FileNotFoundError:
            return False
        except (OSError, StoreError) as error:
            for head in heads:
                self._keep(head)
            self._read.add(path)
            self.problems.append(f"{said}; it cannot be moved to aside/: {error}")
            return True
        self.problems.append(f"{said}, which are sealed anew; the file moved to {to}")
        return False

    # ------------------------------------------------------------------------------------------------ sealing

    def seal(self, minimum: int = 256) -> int:
        """Fold loose records into a new segment, if there are at least ``minimum``; returns how many were
        folded.

        A crash at any point loses nothing: the segment is there before the first loose file is removed, and
        duplicates are harmless. Many small segments are folded into one.

        Raises:
            StoreError: the segment cannot be written; the loose records stay.
        """
        with self._lock, _no_gc():
            try:
                names = [n for n in self._files.names("records") if _LOOSE.fullmatch(n)]
                if len(names) < max(minimum, 1):
                    return 0
                self._make()
                folded = self._fold(sorted(names, key=lambda n: (n.partition(".")[2], n)))
                self._compact()
                if isinstance(self._files, LocalFiles):
                    self._files.sweep_scratch(_SCRATCH_AGE_S, time.time())
            except OSError as error:
                raise StoreError(f"cannot seal store {self.url}: {error}") from error
            return folded

    def _fold(self, names: list[str]) -> int:
        """Seal these loose files, in the order in which they were written, and remove them."""
        folded, held = 0, 0
        newest: dict[str, tuple[Head, bytes]] = {}
        taken: list[str] = []
        for path, data in self._files.read_many([f"records/{n}" for n in names]):
            if data is None:
                continue
            try:
                self._count(newest, data, path)
            except (ShapeError, NewerError):
                continue  # told and set aside when it is read
            taken.append(path)
            held += len(data)
            if held >= _SEGMENT_BYTES:
                folded += self._close(newest.values(), taken)
                newest, taken, held = {}, [], 0
        return folded + self._close(newest.values(), taken)

    def _close(self, lines: Iterable[tuple[Head, bytes]], taken: list[str]) -> int:
        if not taken:
            return 0
        numbers = [int(m["number"]) for n in self._files.names("segments") if (m := _SEALED.fullmatch(n))]
        self._write_segment(max(numbers, default=0) + 1, [line for _, line in lines])
        self._files.remove(taken)
        return len(taken)

    def _write_segment(self, number: int, lines: list[bytes]) -> str:
        content = b"\n".join(lines) + b"\n"
        path = f"segments/{number:06d}-{hashlib.sha256(content).hexdigest()[:16]}.jsonl"
        self._files.write(path, content)
        return path

    def _compact(self) -> None:
        """Fold many small segments into one.

        Of each key the newest record *in these segments* is kept, even where another file holds a newer one:
        a second process may be folding that file away at this moment, and would in turn rely on this one.
        """
        sizes = self._files.names("segments")
        small = {f"segments/{n}" for n, size in sizes.items() if _SEALED.fullmatch(n) and size < _SMALL_BYTES}
        if len(small) < _MANY_SMALL:
            return
        self._refresh()
        small &= self._read - self._held  # whole, and of a schema that this code can read
        newest: dict[str, tuple[Head, bytes]] = {}
        try:
            for path in sorted(small):
                for line in self._files.lines(path):
                    self._count(newest, line, path)
        except (FileNotFoundError, ShapeError):
            return  # another process compacts; or damaged since, which the next reading from anew sets aside
        if not newest:
            return
        made = self._write_segment(max(int(p[9:15]) for p in small), [x for _, x in newest.values()])
        self._files.remove(sorted(small - {made}))

    def _count(self, newest: dict[str, tuple[Head, bytes]], data: bytes, path: str) -> None:
        """Take a record into ``newest`` unless one of its key there counts for more."""
        raw = parse(data)
        check_shape(raw, path.rpartition("/")[2].partition(".")[0] if path.startswith("records/") else None)
        head = head_of(raw, self._pool, path, 0, len(data))
        if head.key not in newest or head.rank() > newest[head.key][0].rank():
            newest[head.key] = head, orjson.dumps(raw)


@contextmanager
def _no_gc() -> Iterator[None]:
    """Keep the cycle collector out while many small objects are made: it would walk all of them again and
    again.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
