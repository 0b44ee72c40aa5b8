"""The store: one record per cell, loose or sealed, in a folder or behind an fsspec URL.

::

    store.json                     the schema of the store
    records/<key>.<stamp>.json     loose records, one file each
    segments/<number>-<digest>.jsonl   sealed records, one a line; named by their content
    artifacts/  stages/            see `bench.store.artifacts`
    aside/                         torn and foreign files: never read, never deleted
    tmp/  locks/  checkpoints/     work in progress

No file is ever written twice: a record written again gets another stamp, and `RecordSummary.rank` says which counts.
So several processes may write and seal one store at once without a lock, on an object store too, and what was
read once need not be read again. Nothing that holds a number is ever deleted (`bench.store.segments.Fold`).
"""

from __future__ import annotations

import gc
import hashlib
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeVar

import orjson

from bench.contract import BenchError, Record
from bench.store.artifacts import Artifacts
from bench.store.files import KEY, Files, LocalFiles, StoreError, check_key, open_files
from bench.store.encoding import MIGRATIONS, SCHEMA, NewerError, check_shape, dump, parse, record_of
from bench.store.summaries import RecordSummary, StringTable, summary_of, match_key
from bench.store.segments import SEALED, compact, fold, many_small, write_segment
from bench.store.shape import ShapeError

__all__ = ["MIGRATIONS", "SCHEMA", "RecordSummary", "Store", "StoreError"]

_LOOSE = re.compile(rf"(?P<key>{KEY.pattern})(?:\.(?P<stamp>[0-9a-f]{{20}}))?\.json")
_SCRATCH_AGE_S = 3 * 24 * 3600.0
_ATTEMPTS = 50
_T = TypeVar("_T")
_NO_FILE = "a folder, a pipe or a link to nothing"


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
    def open(cls, url: str | Path, *, cache: Path | None = None) -> Self:
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
        except (KeyError, TypeError, ValueError) as error:
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
        """Keep a record, whole or not at all; `RecordSummary.rank` says which of one key counts.

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
                self._keep(summary_of(raw, self._pool, path, 0, len(line)))
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

    def summaries(self) -> dict[str, RecordSummary]:
        """The record that counts of each key as a `RecordSummary`, read line by line; files read before are not read
        again.

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

        def find() -> Record | None:
            if key not in self._heads:
                self._refresh()
            return self._whole(head) if (head := self._heads.get(key)) is not None else None

        return self._steadily(find)

    def history(self, key: str) -> list[Record]:
        """Every record of a key that is still there, the oldest first: the one that counts, and all that hold
        a number (an end without one goes when the store is sealed).

        Raises:
            BenchError: the key is not one.
            StoreError: the store cannot be reached.
        """
        check_key(key)

        def find() -> list[Record]:
            self._refresh()
            heads = [self._heads[key], *self._others.get(key, ())] if key in self._heads else []
            found = {
                dump(r): r for r in map(self._whole, sorted(heads, key=RecordSummary.age))
            }  # some lie there twice
            return list(found.values())

        return self._steadily(find)

    def _steadily(self, find: Callable[[], _T]) -> _T:
        """What ``find`` finds, once no other process seals or compacts the files away under it."""
        with self._lock, _no_gc():
            for _ in range(_ATTEMPTS):
                try:
                    return find()
                except FileNotFoundError:  # sealed or compacted by another process since
                    self._refresh()
                except _UnsoundError as error:
                    self._put_away(error.summary, str(error))
                except OSError as error:
                    raise StoreError(f"cannot read store {self.url}: {error}") from error
        raise StoreError(f"{self.url} changes faster than it can be read")

    def _whole(self, head: RecordSummary) -> Record:
        """The record of a head. Of a sealed one only now all is looked at, not only what a head has of it."""
        raw = self._files.read(head.file, head.offset, head.size)
        try:
            record = parse(raw)
            check_shape(record, head.key)
        except (ShapeError, NewerError) as error:
            raise _UnsoundError(head, error) from error
        return record_of(record)

    def _put_away(self, head: RecordSummary, why: str) -> None:
        """Set aside what turned out not to be a record (damaged since, or sealed by code that looked less
        closely).
        """
        self._drop(head)
        try:
            if head.file.startswith("records/"):
                self._set_aside(head.file, why)
            else:
                self._salvage(head.file)
            self._refresh()
        except OSError as error:
            raise StoreError(f"cannot read {self.url}/{head.file}: {error}") from error

    def fresh(self) -> dict[str, RecordSummary]:
        """`heads`, with what other machines wrote until this moment (a network folder may show it late)."""
        try:
            self._files.refresh("records")
        except OSError as error:
            raise StoreError(f"cannot write store {self.url}: {error}") from error
        return self.summaries()

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
        return match_key(self.summaries(), start, self.url)

    def _forget(self) -> None:
        self._heads: dict[str, RecordSummary] = {}
        self._others: dict[str, list[RecordSummary]] = {}  # of the keys that have several records
        self._read: set[str] = set()
        self._held: set[str] = set()  # segments with records of a newer schema
        self._pool = StringTable()
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
        present = {
            f"{folder}/{name}": size
            for folder in ("records", "segments")
            for name, size in self._files.names(folder).items()
            if not name.startswith(".")  # hidden files are the file system's own
        }
        gone = self._read.difference(present)
        orphans = [h for h in self._heads.values() if h.file in gone] if gone else []
        if gone:
            self._read -= gone
            kept = {k: [h for h in heads if h.file not in gone] for k, heads in self._others.items()}
            self._others = {k: heads for k, heads in kept.items() if heads}
        for head in orphans:
            self._drop(head)
        new = [p for p in present if p not in self._read]
        for path in [p for p in new if present[p] < 0]:
            self._set_aside(path, _NO_FILE)
        new = [p for p in new if present[p] >= 0]
        settled = self._take_loose([p for p in new if p.startswith("records/")])
        for path in new:
            if path.startswith("segments/"):
                settled &= self._take_sealed(path)
        if not all(h.key in self._heads and self._heads[h.key].standing() >= h.standing() for h in orphans):
            # Somebody removed by hand what counted, or it moved to a file that the listing just missed: what
            # there is besides is known only if all is read anew.
            self._forget()
            return False
        return settled

    def _keep(self, head: RecordSummary) -> None:
        """Take a record into the index. One that lies in the index already (a segment is read anew if it is
        damaged) is not taken twice.
        """
        best = self._heads.setdefault(head.key, head)
        if best is head or best.place == head.place:
            return
        others = self._others.setdefault(head.key, [])
        if any(o.place == head.place for o in others):
            return
        if head.rank() > best.rank():
            self._heads[head.key], head = head, best
        others.append(head)

    def _drop(self, head: RecordSummary) -> None:
        """Take a record out of the index; another of its key counts from now on, if there is one."""
        rest = [h for h in self._others.pop(head.key, ()) if h.place != head.place]
        if self._heads[head.key].place != head.place:
            rest.append(self._heads[head.key])
        del self._heads[head.key]
        for other in rest:
            self._keep(other)

    def _tell(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def _take_loose(self, paths: list[str]) -> bool:
        named = {p: m["key"] for p in paths if (m := _LOOSE.fullmatch(p.rpartition("/")[2]))}
        for path in paths:
            if path not in named:
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
                self._keep(summary_of(raw, self._pool, path, 0, len(data)))
            except NewerError as error:
                self._tell(f"{path} is left out: {error}")
            except ShapeError as error:
                self._set_aside(path, str(error))
        return settled

    def _set_aside(self, path: str, why: str) -> None:
        named = _printable(path)
        try:
            to = self._files.set_aside(path)
        except FileNotFoundError:
            return  # another process was quicker
        except (OSError, BenchError) as error:
            self._read.add(path)
            self._tell(
                f"{named} is not a record ({why}); it cannot be moved to aside/: {_printable(str(error))}"
            )
        else:
            self._read.discard(path)
            self._tell(f"{named} is not a record ({why}); moved to {to}")

    def _take_sealed(self, path: str) -> bool:
        """Read a segment; its digest is checked on the way. Of its records only what plan and board need is
        looked at: the rest was when they were sealed, and is again when one is read whole.
        """
        name = path.rpartition("/")[2]
        if not name.endswith(".jsonl"):
            self._set_aside(path, "not a segment's name")
            return True
        content, heads, held, offset = hashlib.sha256(), [], 0, 0
        try:
            for line in self._files.lines(path):
                content.update(line)
                try:
                    heads.append(summary_of(parse(line), self._pool, path, offset, len(line)))
                except NewerError:
                    held += 1
                offset += len(line)
        except FileNotFoundError:
            return False  # compacted meanwhile
        except ShapeError:
            return self._salvage(path)
        if (match := SEALED.fullmatch(name)) is None or match["digest"] != content.hexdigest()[:16]:
            return self._salvage(path)
        if held:
            self._held.add(path)
            self._tell(f"{path}: {held} records of a newer schema are left out: update gridbench")
        for head in heads:
            self._keep(head)
        self._read.add(path)
        return True

    def _salvage(self, path: str) -> bool:
        """Seal the sound lines of a damaged or foreign segment anew and set it aside as it was."""
        sound: list[bytes] = []
        heads: list[RecordSummary] = []
        torn: list[str] = []
        offset = 0
        for number, line in enumerate(self._files.lines(path), 1):
            try:
                raw = parse(line)
                check_shape(raw)
                heads.append(summary_of(raw, self._pool, path, offset, len(line)))
                sound.append(line.rstrip(b"\r\n"))
            except NewerError:
                sound.append(line.rstrip(b"\r\n"))
            except ShapeError as error:
                torn.append(f"line {number}: {error}")
            offset += len(line)
        said = f"{path} is not as it should be: {len(torn)} torn lines, {len(sound)} sound records"
        said += f" (the first torn one is {torn[0]})" if torn else ""
        match = SEALED.fullmatch(path.rpartition("/")[2])
        try:
            if sound:
                write_segment(self._files, int(match["number"]) if match else 0, sound)
            to = self._files.set_aside(path)
        except FileNotFoundError:
            return False
        except (OSError, BenchError) as error:
            for head in heads:
                self._keep(head)
            self._read.add(path)
            self._tell(f"{said}; it cannot be moved to aside/: {error}")
            return True
        self._tell(f"{said}, which are sealed anew; the file moved to {to}")
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
                there = self._files.names("records")
                names = [n for n, size in there.items() if size >= 0 and _LOOSE.fullmatch(n)]
                if len(names) < max(minimum, 1):
                    return 0
                self._make()
                ordered = sorted(names, key=lambda n: (n.partition(".")[2], n))
                folded = fold(self._files, ordered, self._pool)
                if small := many_small(self._files):
                    self._refresh()
                    # Only whole ones, of a schema that this code can read.
                    compact(self._files, small & (self._read - self._held), self._pool)
                if isinstance(self._files, LocalFiles):
                    self._files.sweep_scratch(_SCRATCH_AGE_S, time.time())
            except OSError as error:
                raise StoreError(f"cannot seal store {self.url}: {error}") from error
            return folded


class _UnsoundError(Exception):
    """A record in the index that is none when it is read whole."""

    def __init__(self, head: RecordSummary, why: Exception) -> None:
        super().__init__(str(why))
        self.summary = head


def _printable(text: str) -> str:
    """A file's name as it can be shown: one that is not UTF-8 cannot."""
    return text.encode(errors="backslashreplace").decode()


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
