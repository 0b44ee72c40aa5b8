"""Segments: files of many records. Loose records are sealed into segments, and small segments compacted into
one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

import orjson

from bench.store.encoding import NewerError, check_shape, parse
from bench.store.files import Files
from bench.store.shape import ShapeError
from bench.store.summaries import RecordSummary, StringTable, summary_of

#: The name of a segment.
SEALED = re.compile(r"(?P<number>[0-9]{6})-(?P<digest>[0-9a-f]{16})\.jsonl")
_SEGMENT_BYTES = 64 << 20
_SMALL_BYTES = 8 << 20
_MANY_SMALL = 16


class SegmentBuilder:
    """Collects the records of one segment.

    Of each key it holds the record that counts, and every other one that has metrics: a number that a later
    record replaced was measured, and is nowhere else. It drops records without metrics that do not count, and
    duplicates.
    """

    def __init__(self, table: StringTable) -> None:
        self._table = table
        self._best: dict[str, tuple[RecordSummary, bytes]] = {}
        self._others: dict[str, list[tuple[RecordSummary, bytes]]] = {}

    def add(self, data: bytes, path: str, offset: int = 0, *, key: str | None = None) -> None:
        """Add a record (of ``key``, if given); raises `ShapeError` or `NewerError` if it cannot be read."""
        raw = parse(data)
        check_shape(raw, key)
        one = summary_of(raw, self._table, path, offset, len(data)), _line(raw)
        key = one[0].key
        best = self._best.setdefault(key, one)
        if best is not one:
            if one[0].rank() > best[0].rank():
                self._best[key], one = one, best
            if one[0].metrics:
                self._others.setdefault(key, []).append(one)

    def lines(self) -> list[bytes]:
        """The lines of the segment; of one key the record that counts comes last."""
        out: dict[bytes, None] = {}
        for key, best in self._best.items():
            ordered = sorted(self._others.get(key, ()), key=lambda one: one[0].rank())
            for _, line in (*ordered, best):
                out.pop(line, None)  # of two copies the later one stays
                out[line] = None
        return list(out)


def _line(raw: dict[str, Any]) -> bytes:
    return orjson.dumps(raw, option=orjson.OPT_SORT_KEYS)


def write_segment(files: Files, number: int, lines: list[bytes]) -> str:
    """Write a segment and return its path. Two processes that write the same write one file."""
    content = b"\n".join(lines) + b"\n"
    path = f"segments/{number:06d}-{hashlib.sha256(content).hexdigest()[:16]}.jsonl"
    files.write(path, content)
    return path


def seal(files: Files, names: list[str], table: StringTable) -> int:
    """Seal loose records, given in the order in which they were written, into segments and remove their
    files; returns how many were sealed.
    """
    sealed, size = 0, 0
    records, paths = SegmentBuilder(table), list[str]()
    for path, data in files.read_many([f"records/{n}" for n in names]):
        if data is None:
            continue
        try:
            records.add(data, path, key=path.rpartition("/")[2].partition(".")[0])
        except (ShapeError, NewerError):
            continue  # reported and set aside when it is read
        paths.append(path)
        size += len(data)
        if size >= _SEGMENT_BYTES:
            sealed += _close(files, records, paths)
            records, paths, size = SegmentBuilder(table), [], 0
    return sealed + _close(files, records, paths)


def _close(files: Files, records: SegmentBuilder, paths: list[str]) -> int:
    if paths:
        numbers = [int(m["number"]) for n in files.names("segments") if (m := SEALED.fullmatch(n))]
        write_segment(files, max(numbers, default=0) + 1, records.lines())
        files.remove(paths)
    return len(paths)


def many_small(files: Files) -> set[str]:
    """The paths of all small segments if there are enough of them to compact, else an empty set."""
    sizes = files.names("segments")
    small = {f"segments/{n}" for n, size in sizes.items() if SEALED.fullmatch(n) and size < _SMALL_BYTES}
    return small if len(small) >= _MANY_SMALL else set()


def compact(files: Files, small: Iterable[str], table: StringTable) -> None:
    """Compact segments into one.

    It holds the best record *in these segments* of each key, even if another file has a better one: another
    process may be removing that file at this moment, because it relies on these.
    """
    records, paths = SegmentBuilder(table), sorted(small)
    try:
        for path in paths:
            offset = 0
            for line in files.lines(path):
                records.add(line, path, offset)
                offset += len(line)
    except (FileNotFoundError, ShapeError):
        return  # another process compacts them; or one is damaged, which is set aside when it is read next
    if lines := records.lines():
        made = write_segment(files, max(int(p[9:15]) for p in paths), lines)
        files.remove([p for p in paths if p != made])
