"""Click logs made ready once: from the raw file to memory-mapped integers, in memory that rows do not grow.

Three passes over spill files of 8 or 4 bytes a value, each block by block:

1. *read*: text to keys (`bench.data.tables.ctr_text`), one spill file a field;
2. *index*: per field, keys are counted into runs that are partitioned by key, so that each partition can be
   summed on its own; the frequent ones get indices, and keys are replaced by indices;
3. *order*: rows are scattered to the stretch of the split in which they belong, then put in order there.

Beside the blocks, drawing the permutation takes 8 bytes a row for a moment: it has to be torch's own.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import numpy as np

from bench.contract import BenchError
from bench.data.catalog import CATALOG
from bench.data.preparing import Progress, silent
from bench.data.source import DataSource
from bench.data.tables import ctr_logs, ctr_text
from bench.data.tables.ctr_logs import FOLDER, LAYOUTS, MANIFEST, SHARES, SPLIT_SEED, Layout, Manifest
from bench.file_digest import read_digest

T = TypeVar("T")

#: Memory follows from these and not from the file: keys counted at once, entries of runs summed at once, rows
#: of one stretch, rows scattered at once (few, to stay in the cache: 131,072 take six times as long a row).
KEYS, SUMMED, STRETCH, SCATTERED = 1 << 19, 1 << 20, 1 << 18, 1 << 14
#: Fields indexed side by side, at most: each has its own blocks in memory.
_WORKERS = 4
_PART_BITS = 6
#: Fibonacci hashing: odd, so that distinct keys stay distinct; spreads them over the partitions.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_WORK = "preparing"


@dataclass(frozen=True, slots=True)
class ClickLog:
    """A click log as an entry of the catalogue."""

    name: str

    def missing(self) -> str | None:
        """See `DataSource.missing`."""
        return ctr_logs.missing(self.name)

    def fingerprint(self) -> str:
        """See `DataSource.fingerprint`."""
        return ctr_logs.fingerprint(self.name)

    def prepare(self, progress: Progress = silent, *, partial: bool = False, again: bool = False) -> Manifest:
        """See `prepare`."""
        return prepare(self.name, partial=partial, again=again, progress=progress)

    def verify(self, progress: Progress = silent) -> Manifest:
        """See `verify`."""
        return verify(self.name, progress)


def data_source(name: str) -> DataSource:
    """A click log as an entry of the catalogue."""
    return ClickLog(name)


def prepare(
    name: str, *, partial: bool = False, again: bool = False, progress: Progress = silent
) -> Manifest:
    """Prepare a click log into the folder ``prepared`` beside its raw file, whole or not at all.

    Args:
        name: a key of `LAYOUTS`.
        partial: accept a file with another number of rows than the published data set.
        again: prepare although it has been done.
        progress: is called with how far each pass is.

    Raises:
        BenchError: there is no raw file, a line or value does not fit the layout (named with its line), the
            file is cut off or compressed, another process is at it, or there is no space. Nothing half-made
            is left.
    """
    if not again and ctr_logs.missing(name) is None:
        done = ctr_logs.read(name).manifest
        if done.complete or partial:
            return done
    raw, folder = ctr_logs.raw_file(name), CATALOG[name].folder
    with _trouble_said(name, folder), _alone(name, folder):
        work = folder / _WORK
        shutil.rmtree(work, ignore_errors=True)  # of a killed process
        ctr_text.check_whole(raw)
        ctr_text.check_header(raw, LAYOUTS[name])
        _check_space(raw, LAYOUTS[name], folder)
        try:
            work.mkdir()
            manifest = _Job(name, raw, work, progress).run(partial)
            # The old one goes first: for a moment there is none, never a mixture.
            if (place := folder / FOLDER).exists():
                place.rename(work / "old")
            (work / FOLDER).rename(place)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return manifest


def verify(name: str, progress: Progress = silent) -> Manifest:
    """Read a prepared log whole and compare it with its manifest.

    Raises:
        BenchError: it is not prepared, or a file has changed.
    """
    manifest = ctr_logs.read(name).manifest
    for file, sha256 in (("x.npy", manifest.x_sha256), ("y.npy", manifest.y_sha256)):
        path = CATALOG[name].folder / FOLDER / file
        if read_digest(path, functools.partial(progress, f"checking {path.name}")) != sha256:
            raise BenchError(
                f"{path}: its bytes are not those that were written: bench data prepare {name} --again"
            )
    return manifest


class _Job:
    """One preparation: its files lie in ``work``, its passes run in order."""

    def __init__(self, name: str, raw: Path, work: Path, progress: Progress) -> None:
        self.name, self.raw, self.work, self.progress = name, raw, work, progress
        self.layout = LAYOUTS[name]

    def run(self, partial: bool) -> Manifest:
        """Run all passes; what they make lies in ``work/prepared``."""
        sha256, clicks, rows = self.read()
        expected = CATALOG[self.name].expected
        complete = expected is None or rows == expected.rows
        if expected is not None and not complete and not partial:
            raise BenchError(
                f"{self.raw}: {rows:,} rows, the published data set has {expected.rows:,}: is it cut off?"
                " --partial prepares it all the same"
            )
        train, val = (int(share * rows) for share in SHARES)
        self.check_classes(clicks, rows)
        sizes = self.index_all()
        made = self.work / FOLDER
        made.mkdir()
        x_sha256, y_sha256 = self.order(rows, made)
        y = np.load(made / "y.npy", mmap_mode="r")
        for part, of_part in zip(
            ("training", "validation", "test"), np.split(y, [train, train + val]), strict=True
        ):
            self.check_classes(int(of_part.sum(dtype=np.int64)), len(of_part), f" of its {part} part")
        manifest = Manifest(
            version=ctr_logs.VERSION, dataset=self.name, rows=rows, clicks=clicks, fields=self.layout.fields,
            cardinalities=sizes, parts=(train, val, rows - train - val), complete=complete,
            source_bytes=self.raw.stat().st_size, source_sha256=sha256, x_sha256=x_sha256, y_sha256=y_sha256,
        )  # fmt: skip
        manifest.write(made / MANIFEST)
        return manifest

    def keys(self, field: str) -> Path:
        """Spill file of a field's keys, uint64 a row."""
        return self.work / f"{field}.keys"

    def indices(self, field: str) -> Path:
        """Spill file of a field's indices, int32 a row."""
        return self.work / f"{field}.indices"

    def read(self) -> tuple[str, int, int]:
        """Turn text into keys and labels; returns the raw file's digest, its clicks and its rows."""
        size, clicks, rows = self.raw.stat().st_size, 0, 0
        with ExitStack() as files:
            source = files.enter_context(open(self.raw, "rb"))
            text = ctr_text.Tee(source, lambda done: self.progress("reading", done, size))
            labels = files.enter_context(open(self.work / "labels", "wb"))
            spill = {f: files.enter_context(open(self.keys(f), "wb")) for f in self.layout.fields}
            for batch in _ahead(ctr_text.batches(self.raw, text, self.layout)):
                where = ctr_text.Where(self.raw, rows + 1 + self.layout.header)
                y = ctr_text.labels(batch.column(self.layout.label), self.layout.label, where)
                labels.write(y.data)
                for f in self.layout.integers:
                    tokens = ctr_text.tokens(batch.column(f)).view(np.uint64)
                    spill[f].write((tokens * _SPREAD).data)
                for f in self.layout.values:
                    spill[f].write((ctr_text.packed(batch.column(f), f, where) * _SPREAD).data)
                clicks, rows = clicks + int(y.sum()), rows + len(y)
        if rows < 10:
            raise BenchError(f"{self.raw}: {rows} rows, too few for a split in 8:1:1")
        return text.sha256.hexdigest(), clicks, rows

    def check_classes(self, clicks: int, rows: int, part: str = "") -> None:
        """Refuse labels of one class: no method could learn from them, nor be ranked by them."""
        if clicks in (0, rows):
            raise BenchError(
                f"{self.raw}: column {self.layout.label}: all {rows:,} rows{part} are {int(clicks > 0)},"
                " expected some of 0 and some of 1 (is it sorted by label and cut off, or without labels?)"
            )

    def index_all(self) -> tuple[int, ...]:
        """Run `index` for every field, several side by side: counting and looking up release the GIL."""
        fields, sizes = self.layout.fields, list[int]()
        pool = ThreadPoolExecutor(min(_WORKERS, len(os.sched_getaffinity(0))))
        try:
            for size in pool.map(self.index, fields):
                sizes.append(size)
                self.progress("indexing", len(sizes), len(fields))
        finally:
            pool.shutdown(cancel_futures=True)
        return tuple(sizes)

    def index(self, field: str) -> int:
        """Turn the keys of one field into indices; returns the number of indices, the shared one included."""
        import pandas as pd

        keys = self.keys(field)
        frequent = pd.Index(_frequent(keys, self.work / f"{field}.runs", self.layout.rare))
        with open(self.indices(field), "wb") as out:
            for block in _blocks(keys, np.uint64, KEYS):
                # -1, not found, becomes 0, the index that rare values share.
                out.write((frequent.get_indexer(pd.Index(block)) + 1).astype(np.int32).data)
        keys.unlink()
        return len(frequent) + 1

    def order(self, rows: int, made: Path) -> tuple[str, str]:
        """Write indices and labels as ``x.npy`` and ``y.npy`` in the split's order; returns their digests."""
        _positions(rows, self.work / "positions")
        stretches = [self.work / f"{i}.stretch" for i in range(-(-rows // STRETCH))]
        self.scatter(rows, stretches)
        for field in self.layout.fields:
            self.indices(field).unlink()
        width = len(self.layout.fields)
        with _Npy(made / "x.npy", "<i4", (rows, width)) as x, _Npy(made / "y.npy", "|u1", (rows,)) as y:
            for i, path in enumerate(stretches):
                scattered = np.fromfile(path, np.int32).reshape(-1, width + 2)
                place = np.argsort(scattered[:, 0])
                y.write(scattered[place, 1].astype(np.uint8).data)
                x.write(scattered[place, 2:].data)
                path.unlink()
                self.progress("ordering", rows + min(rows, (i + 1) * STRETCH), 2 * rows)
        return x.sha256.hexdigest(), y.sha256.hexdigest()

    def scatter(self, rows: int, stretches: list[Path]) -> None:
        """Write each row as (position, label, indices) into the file of its stretch."""
        columns = [_blocks(self.indices(f), np.int32, SCATTERED) for f in self.layout.fields]
        labels = _blocks(self.work / "labels", np.uint8, SCATTERED)
        positions = _blocks(self.work / "positions", np.int32, SCATTERED)
        with ExitStack() as opened:
            files = [opened.enter_context(open(p, "wb")) for p in stretches]
            for done, (position, y, *x) in enumerate(zip(positions, labels, *columns, strict=True)):
                stretch = position // STRETCH
                together = np.argsort(stretch, kind="stable")
                block = np.stack([position, y.astype(np.int32), *x], axis=1)[together]
                cuts = np.searchsorted(stretch[together], np.arange(len(files) + 1))
                for file, a, b in zip(files, cuts[:-1], cuts[1:], strict=True):
                    file.write(block[a:b].data)
                self.progress("ordering", min(rows, (done + 1) * SCATTERED), 2 * rows)


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield the items, each made in a thread while the one before is worked on."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield cast(T, item)


# -------------------------------------------------------------------------------------------- keys to indices


def _frequent(path: Path, scratch: Path, rare: int) -> np.ndarray:
    """The keys that stand at least ``rare`` times in a spill file, ascending, (m,) uint64.

    Each block is counted into a run, laid out by part: the key's highest bits. A part is then summed over all
    runs, as many parts at once as `SUMMED` allows.
    """
    import pandas as pd

    pair = np.dtype([("key", np.uint64), ("count", np.int64)])
    sizes: list[np.ndarray] = []
    with open(scratch, "wb") as out:
        for block in _blocks(path, np.uint64, KEYS):
            # By hashing: most fields repeat few values, which sorting is several times slower to count.
            counted = pd.Series(block).value_counts(sort=False)
            run = np.empty(len(counted), pair)
            run["key"], run["count"] = counted.index.to_numpy(), counted.to_numpy()
            part = (run["key"] >> np.uint64(64 - _PART_BITS)).astype(np.uint8)
            out.write(run[np.argsort(part, kind="stable")].data)
            sizes.append(np.bincount(part, minlength=1 << _PART_BITS))
    parts = 1 << _PART_BITS
    ends = np.cumsum(sizes).reshape(-1, parts)  # where in the file each part of each run ends
    begins = np.column_stack([np.roll(ends[:, -1], 1), ends])
    begins[0, 0] = 0
    frequent = []
    with open(scratch, "rb") as runs:
        for a, b in _groups(np.sum(sizes, axis=0)):
            found = np.concatenate([_slice(runs, pair, run[a], run[b]) for run in begins])
            keys, which = np.unique(found["key"], return_inverse=True)
            frequent.append(keys[np.bincount(which, found["count"]) >= rare])
    scratch.unlink()
    return np.concatenate(frequent)


def _groups(sizes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield neighbouring parts [a, b) that together stay within `SUMMED`, at least one part each."""
    a, total = 0, 0
    for b, size in enumerate(sizes):
        if b > a and total + size > SUMMED:
            yield a, b
            a, total = b, 0
        total += size
    yield a, len(sizes)


def _slice(file: IO[bytes], dtype: np.dtype[Any], start: int, stop: int) -> np.ndarray:
    file.seek(int(start) * dtype.itemsize)
    return np.frombuffer(file.read(int(stop - start) * dtype.itemsize), dtype)


def _blocks(path: Path, dtype: Any, n: int) -> Iterator[np.ndarray]:
    """Yield a spill file in blocks of ``n`` values."""
    with open(path, "rb") as file:
        while data := file.read(n * np.dtype(dtype).itemsize):
            yield np.frombuffer(data, dtype)


# ---------------------------------------------------------------------------------------------- order of rows


def _positions(rows: int, path: Path) -> None:
    """Write the place of each row of the raw file in the order of the split, int32.

    The order is the permutation that torch's ``random_split`` draws from a generator with the same seed.
    """
    import torch

    generator = torch.Generator().manual_seed(SPLIT_SEED)
    order = torch.randperm(rows, generator=generator, dtype=torch.int32).numpy()
    position = np.empty(rows, np.int32)
    for a in range(0, rows, KEYS):
        part = order[a : a + KEYS]
        position[part] = np.arange(a, a + len(part), dtype=np.int32)
    with open(path, "wb") as out:
        out.write(position.data)


class _Npy:
    """A .npy file written piece by piece, with its digest."""

    def __init__(self, path: Path, descr: str, shape: tuple[int, ...]) -> None:
        self.path, self.sha256 = path, hashlib.sha256()
        self.header = {"descr": descr, "fortran_order": False, "shape": shape}

    def __enter__(self) -> _Npy:
        self.file = open(self.path, "wb")
        np.lib.format.write_array_header_1_0(self, self.header)
        return self

    def __exit__(self, *_: object) -> None:
        with self.file:
            self.file.flush()
            os.fsync(self.file.fileno())

    def write(self, data: bytes | memoryview) -> None:
        """Append an array to the file."""
        self.sha256.update(data)
        self.file.write(data)


# ------------------------------------------------------------------------------------------------- the folder


def _check_space(raw: Path, layout: Layout, folder: Path) -> None:
    """Refuse before the work what cannot fit: at most 8 bytes a value lie there at once."""
    with open(raw, "rb") as file:
        sample = file.read(1 << 20)
    rows = raw.stat().st_size / len(sample) * max(1, sample.count(b"\n"))
    need, free = rows * 8 * (len(layout.fields) + 3), shutil.disk_usage(folder).free
    if need > free:
        raise BenchError(
            f"{folder}: preparing {raw.name} takes about {need / 2**30:.3g} GiB,"
            f" {free / 2**30:.3g} GiB are free"
        )


@contextmanager
def _alone(name: str, folder: Path) -> Iterator[None]:
    """Hold the lock of the folder: it falls when the process ends, however that happens."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise BenchError(f"{name}: another process is preparing it in {folder}") from e
        yield
    finally:
        os.close(fd)


@contextmanager
def _trouble_said(name: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        at = e.filename or folder
        raise BenchError(f"{name}: not prepared: {at}: {e.strerror or e}; nothing half-made is left") from e
