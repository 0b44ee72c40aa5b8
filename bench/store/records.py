"""The store: one record per cell, loose or sealed, in a folder or behind an fsspec URL.

::

    store.json                     the schema of the store
    records/<key>.<stamp>.json     loose records, one file each
    segments/<number>-<digest>.jsonl   sealed records, one a line; named by their content
    artifacts/  stages/            see `bench.store.artifacts`
    searches/                      see `bench.store.draws`
    aside/                         damaged and foreign files: never read, never deleted
    tmp/  locks/  checkpoints/     work in progress

No file is ever written twice: a record that is written again gets another stamp, and `RecordSummary.rank`
says which one counts. So several processes can write and seal one store at the same time without a lock, on
an object store too, and a file that was read once is not read again. No record that holds a number is ever
deleted (`bench.store.segments.SegmentBuilder`).
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Self, TypeVar

import orjson

from bench.contract import BenchError, Record
from bench.store.artifacts import Artifacts
from bench.store.draws import Draw, Draws
from bench.store.encoding import SCHEMA, NewerError, check_shape, dump, named, no_gc, parse, record_of
from bench.store.files import KEY, Files, LocalFiles, StoreError, check_key, open_files, printable
from bench.store.segments import SEALED, compact, many_small, seal, write_segment
from bench.store.shape import ShapeError
from bench.store.summaries import RecordSummary, StringTable, match_key, summary_of

_LOOSE = re.compile(rf"(?P<key>{KEY.pattern})(?:\.(?P<stamp>[0-9a-f]{{20}}))?\.json")
_SCRATCH_AGE_S = 3 * 24 * 3600.0
_ATTEMPTS = 50
#: How old the listing of segments may be that `Store.fresh` goes by, if nothing says that there are others.
_SEGMENTS_S = 60.0
_T = TypeVar("_T")
_NO_FILE = "a folder, a pipe or a link to nothing"


class Store:
    """Records and artifacts of sweeps.

    ``problems``: what was set aside or left out while reading, one sentence each. The index in memory is
    refreshed by `summaries`; records that this process writes are in it at once.
    """

    def __init__(self, files: Files, cache: Path | None = None) -> None:
        self._files = files
        self.url = files.url
        self.artifacts = Artifacts(files, cache)
        self._draws = Draws(files)
        self.problems: list[str] = []
        self._lock = threading.RLock()
        self._made = False
        self._reset_index()

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

    def write(self, record: Record) -> str:
        """Write a record, whole or not at all, and return its file; `RecordSummary.rank` says which record of
        a key counts.

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
            raise StoreError(
                f"{record.kind} {record.key} ({named(record)}) is not recorded and stays new: {error}"
            ) from error
        with self._lock:
            if self._loaded:
                self._add(summary_of(raw, self._table, path, 0, len(line)))
                self._read.add(path)
        return path

    def full(self) -> bool:
        """Whether the store is a folder whose disk is full."""
        return self._files.full()

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
        """Key -> summary of the record that counts. Files that were read before are not read again.

        Damaged and foreign files are set aside, records of a newer schema are left where they are;
        ``problems`` names both.

        Raises:
            StoreError: the store cannot be reached.
        """
        with self._lock, no_gc():
            self._refresh()
            return dict(self._index)

    def read(self, key: str) -> Record | None:
        """The whole record of a key as of the last `summaries` (or this process's last `write`), None if
        there is none.

        Raises:
            BenchError: the key is not one.
            StoreError: the store cannot be reached.
        """
        check_key(key)

        def find() -> Record | None:
            if key not in self._index:
                self._refresh()
            return self._whole(summary) if (summary := self._index.get(key)) is not None else None

        return self._retry(find)

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
            known = [self._index[key], *self._others.get(key, ())] if key in self._index else []
            records = map(self._whole, sorted(known, key=RecordSummary.age))
            return list({dump(r): r for r in records}.values())  # some are there twice

        return self._retry(find)

    def _retry(self, find: Callable[[], _T]) -> _T:
        """The result of ``find``, called again as long as other processes remove the files that it reads."""
        with self._lock, no_gc():
            for _ in range(_ATTEMPTS):
                try:
                    return find()
                except FileNotFoundError:  # sealed or compacted by another process since
                    self._refresh()
                except _UnsoundError as error:
                    self._remove_unsound(error.summary, str(error))
                except OSError as error:
                    raise StoreError(f"cannot read store {self.url}: {error}") from error
        raise StoreError(f"{self.url} changes faster than it can be read")

    def _whole(self, summary: RecordSummary) -> Record:
        """The whole record of a summary. Of a sealed record only the fields of its summary were checked
        before.
        """
        raw = self._files.read(summary.file, summary.offset, summary.size)
        try:
            record = parse(raw)
            check_shape(record, summary.key)
        except (ShapeError, NewerError) as error:
            raise _UnsoundError(summary, error) from error
        return record_of(record)

    def _remove_unsound(self, summary: RecordSummary, why: str) -> None:
        """Set aside what turned out not to be a record (damaged since, or sealed by code that
        checked less).
        """
        self._drop(summary)
        try:
            if summary.file.startswith("records/"):
                self._set_aside(summary.file, why)
            else:
                self._salvage(summary.file)
            self._refresh()
        except OSError as error:
            raise StoreError(f"cannot read {self.url}/{summary.file}: {error}") from error

    def draws(self) -> list[Draw]:
        """The draws of searches, see `bench.store.draws.Draws.all`."""
        found = self._draws.all()
        for problem in self._draws.problems:
            self._report(problem)
        return found

    def write_draw(self, draw: Draw) -> None:
        """Write a draw of a search; `StoreError` if it cannot be written."""
        self._make()
        self._draws.write(draw)

    def fresh(self) -> dict[str, RecordSummary]:
        """`summaries`, with what other machines wrote until this moment (a network folder may
        show it late).

        It is called for each cell, so the segments are listed again only if somebody may have sealed records
        since: then loose ones that were read are gone.
        """
        try:
            self._files.refresh("records")
        except OSError as error:
            raise StoreError(f"cannot write store {self.url}: {error}") from error
        with self._lock, no_gc():
            self._refresh(segments=False)
            return dict(self._index)

    def holds(self, key: str, ended: str, file: str = "") -> bool:
        """Whether the record of a key that ended at that time is here, whether or not it is the one that
        counts. ``file``: where its writer says that it lies, which is looked at first.
        """
        named_so = file.startswith(f"records/{check_key(key)}.")
        with self._lock:
            try:
                if named_so and (file in self._read or self._read_loose([file])):
                    known = (self._index.get(key), *self._others.get(key, ()))
                    if any(s is not None and s.ended == ended for s in known):
                        return True
                summary = self.fresh().get(key)
                if summary is not None and summary.ended == ended:
                    return True
                names = [f"records/{n}" for n in self._files.names("records") if n.partition(".")[0] == key]
                found = [parse(data) for _, data in self._files.read_many(names) if data is not None]
            except OSError as error:
                raise StoreError(f"cannot read store {self.url}: {error}") from error
            except (ShapeError, NewerError):
                return False  # reported and set aside when it is read
        return any(raw.get("ended") == ended for raw in found)

    def match(self, start: str) -> str:
        """The one key that starts with ``start``; `BenchError` with the nearest keys if there is none or
        several.
        """
        return match_key(self.summaries(), start, self.url)

    def _reset_index(self) -> None:
        self._index: dict[str, RecordSummary] = {}
        self._others: dict[str, list[RecordSummary]] = {}  # of the keys that have several records
        self._read: set[str] = set()
        self._newer: set[str] = set()  # segments that hold records of a newer schema
        self._table = StringTable()
        self._segments: dict[str, int] = {}  # as they were last listed
        self._listed = -inf  # and when
        self._loaded = False

    def _refresh(self, *, segments: bool = True) -> None:
        """Bring the index up to date. Loose names are listed before sealed ones: whoever seals a record
        writes the segment before it removes the loose file, so a record is in one of the two listings.
        ``segments``: list these whether or not something says that there are others.
        """
        try:
            for attempt in range(_ATTEMPTS):
                if self._scan(segments or attempt > 0):
                    self._loaded = True
                    return
        except OSError as error:
            raise StoreError(f"cannot read store {self.url}: {error}") from error
        raise StoreError(f"{self.url} changes faster than it can be read")

    def _scan(self, segments: bool) -> bool:
        """Read new files; False if files were removed meanwhile and the folders have to be listed again."""
        present = self._names("records")
        loose = {p for p in self._read if p.startswith("records/")}
        sealed = not loose or not loose <= present.keys()
        if segments or sealed or time.monotonic() - self._listed > _SEGMENTS_S:
            self._listed = time.monotonic()
            self._segments = self._names("segments")
        present |= self._segments
        gone = self._read.difference(present)
        orphans = [h for h in self._index.values() if h.file in gone] if gone else []
        if gone:
            self._read -= gone
            left = {k: [s for s in others if s.file not in gone] for k, others in self._others.items()}
            self._others = {k: others for k, others in left.items() if others}
        for summary in orphans:
            self._drop(summary)
        new = [p for p in present if p not in self._read]
        for path in [p for p in new if present[p] < 0]:
            self._set_aside(path, _NO_FILE)
        new = [p for p in new if present[p] >= 0]
        settled = self._read_loose([p for p in new if p.startswith("records/")])
        for path in new:
            if path.startswith("segments/"):
                settled &= self._read_sealed(path)
        if not all(h.key in self._index and self._index[h.key].standing() >= h.standing() for h in orphans):
            # Somebody removed the record that counted by hand, or it moved to a file that the listing just
            # missed: the other records of its key are known only if all files are read again.
            self._reset_index()
            return False
        return settled

    def _names(self, folder: str) -> dict[str, int]:
        """Paths of the files in a folder with their sizes. Hidden ones belong to the file system."""
        names = self._files.names(folder).items()
        return {f"{folder}/{name}": size for name, size in names if not name.startswith(".")}

    def _add(self, summary: RecordSummary) -> None:
        """Add a record to the index, unless it is there already (a damaged segment is read a second time)."""
        best = self._index.setdefault(summary.key, summary)
        if best is summary or best.place == summary.place:
            return
        others = self._others.setdefault(summary.key, [])
        if any(o.place == summary.place for o in others):
            return
        if summary.rank() > best.rank():
            self._index[summary.key], summary = summary, best
        others.append(summary)

    def _drop(self, summary: RecordSummary) -> None:
        """Remove a record from the index; the best other record of its key counts from now on."""
        rest = [h for h in self._others.pop(summary.key, ()) if h.place != summary.place]
        if self._index[summary.key].place != summary.place:
            rest.append(self._index[summary.key])
        del self._index[summary.key]
        for other in rest:
            self._add(other)

    def _report(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def _read_loose(self, paths: list[str]) -> bool:
        keys = {p: m["key"] for p in paths if (m := _LOOSE.fullmatch(p.rpartition("/")[2]))}
        for path in paths:
            if path not in keys:
                self._set_aside(path, "not a record's name")
        settled = True
        for path, data in self._files.read_many(list(keys)):
            if data is None:
                settled = False
                continue
            self._read.add(path)
            try:
                raw = parse(data)
                check_shape(raw, keys[path])
                self._add(summary_of(raw, self._table, path, 0, len(data)))
            except NewerError as error:
                self._report(f"{path} is left out: {error}")
            except ShapeError as error:
                self._set_aside(path, str(error))
        return settled

    def _set_aside(self, path: str, why: str) -> None:
        shown = printable(path)
        try:
            to = self._files.set_aside(path)
        except FileNotFoundError:
            return  # another process did it first
        except (OSError, BenchError) as error:
            self._read.add(path)
            self._report(
                f"{shown} is not a record ({why}); it cannot be moved to aside/: {printable(str(error))}"
            )
        else:
            self._read.discard(path)
            self._report(f"{shown} is not a record ({why}); moved to {to}")

    def _read_sealed(self, path: str) -> bool:
        """Read a segment and check its digest. Of its records only the fields of the summaries are checked:
        the others were checked when they were sealed, and are again when a record is read whole.
        """
        name = path.rpartition("/")[2]
        if not name.endswith(".jsonl"):
            self._set_aside(path, "not a segment's name")
            return True
        content, found, newer, offset = hashlib.sha256(), [], 0, 0
        try:
            for line in self._files.lines(path):
                content.update(line)
                try:
                    found.append(summary_of(parse(line), self._table, path, offset, len(line)))
                except NewerError:
                    newer += 1
                offset += len(line)
        except FileNotFoundError:
            return False  # compacted meanwhile
        except ShapeError:
            return self._salvage(path)
        if (match := SEALED.fullmatch(name)) is None or match["digest"] != content.hexdigest()[:16]:
            return self._salvage(path)
        if newer:
            self._newer.add(path)
            self._report(f"{path}: {newer} records of a newer schema are left out: update gridbench")
        for summary in found:
            self._add(summary)
        self._read.add(path)
        return True

    def _salvage(self, path: str) -> bool:
        """Write the sound lines of a damaged or foreign segment into a new one and set the old file aside."""
        sound: list[bytes] = []
        found: list[RecordSummary] = []
        torn: list[str] = []
        offset = 0
        for number, line in enumerate(self._files.lines(path), 1):
            try:
                raw = parse(line)
                check_shape(raw)
                found.append(summary_of(raw, self._table, path, offset, len(line)))
                sound.append(line.rstrip(b"\r\n"))
            except NewerError:
                sound.append(line.rstrip(b"\r\n"))
            except ShapeError as error:
                torn.append(f"line {number}: {error}")
            offset += len(line)
        problem = f"{path} is not as it should be: {len(torn)} damaged lines, {len(sound)} sound records"
        problem += f" (the first damaged line is {torn[0]})" if torn else ""
        match = SEALED.fullmatch(path.rpartition("/")[2])
        try:
            if sound:
                write_segment(self._files, int(match["number"]) if match else 0, sound)
            to = self._files.set_aside(path)
        except FileNotFoundError:
            return False
        except (OSError, BenchError) as error:
            for summary in found:
                self._add(summary)
            self._read.add(path)
            self._report(f"{problem}; it cannot be moved to aside/: {error}")
            return True
        self._report(f"{problem}, which are in a new segment; the file moved to {to}")
        return False

    # ------------------------------------------------------------------------------------------------ sealing

    def seal(self, minimum: int = 256) -> int:
        """Seal loose records into a new segment if there are at least ``minimum``; returns how many were
        sealed.

        A crash at any point loses nothing: the segment is there before the first loose file is removed, and
        duplicates are harmless. Many small segments are compacted into one.

        Raises:
            StoreError: the segment cannot be written; the loose records stay.
        """
        with self._lock, no_gc():
            try:
                there = self._files.names("records")
                names = [n for n, size in there.items() if size >= 0 and _LOOSE.fullmatch(n)]
                if len(names) < max(minimum, 1):
                    return 0
                self._make()
                ordered = sorted(names, key=lambda n: (n.partition(".")[2], n))
                sealed = seal(self._files, ordered, self._table)
                if small := many_small(self._files):
                    self._refresh()
                    # Only sound segments with records of a schema that this code can read.
                    compact(self._files, small & (self._read - self._newer), self._table)
                if isinstance(self._files, LocalFiles):
                    self._files.sweep_scratch(_SCRATCH_AGE_S, time.time())
            except OSError as error:
                raise StoreError(f"cannot seal store {self.url}: {error}") from error
            return sealed


class _UnsoundError(Exception):
    """A record of the index that turns out not to be one when it is read whole."""

    def __init__(self, summary: RecordSummary, why: Exception) -> None:
        super().__init__(str(why))
        self.summary = summary
