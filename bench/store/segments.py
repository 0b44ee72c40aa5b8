"""Loose records into sealed segments, and many small segments into one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

import orjson

from bench.store.files import Files
from bench.store.summaries import RecordSummary, StringTable, summary_of
from bench.store.encoding import NewerError, check_shape, parse
from bench.store.shape import ShapeError

#: The name of a segment.
SEALED = re.compile(r"(?P<number>[0-9]{6})-(?P<digest>[0-9a-f]{16})\.jsonl")
_SEGMENT_BYTES = 64 << 20
_SMALL_BYTES = 8 << 20
_MANY_SMALL = 16


class Fold:
    """Records on their way into one segment.

    Of each key the one that counts is kept, and every other that holds metrics: a later record may count for
    more, and yet the number that it replaces was measured and is nowhere else. What goes are ends without a
    number that do not count, and second copies.
    """

    def __init__(self, pool: StringTable) -> None:
        self._pool = pool
        self._best: dict[str, tuple[RecordSummary, bytes]] = {}
        self._others: dict[str, list[tuple[RecordSummary, bytes]]] = {}

    def take(self, data: bytes, path: str, offset: int = 0, *, key: str | None = None) -> None:
        """Take a record (of ``key``, if given); raises `ShapeError` or `NewerError` if it cannot be read."""
        raw = parse(data)
        check_shape(raw, key)
        one = summary_of(raw, self._pool, path, offset, len(data)), _line(raw)
        key = one[0].key
        best = self._best.setdefault(key, one)
        if best is not one:
            if one[0].rank() > best[0].rank():
                self._best[key], one = one, best
            if one[0].metrics:
                self._others.setdefault(key, []).append(one)

    def lines(self) -> list[bytes]:
        """The lines of the segment; of one key the one that counts is the last."""
        out: dict[bytes, None] = {}
        for key, best in self._best.items():
            ordered = sorted(self._others.get(key, ()), key=lambda one: one[0].rank())
            for _, line in (*ordered, best):
                out.pop(line, None)  # of two copies the one that ranks higher
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


def fold(files: Files, names: list[str], pool: StringTable) -> int:
    """Seal these loose files, in the order in which they were written, and remove them; how many they
    were.
    """
    folded, held = 0, 0
    records, taken = Fold(pool), list[str]()
    for path, data in files.read_many([f"records/{n}" for n in names]):
        if data is None:
            continue
        try:
            records.take(data, path, key=path.rpartition("/")[2].partition(".")[0])
        except (ShapeError, NewerError):
            continue  # told and set aside when it is read
        taken.append(path)
        held += len(data)
        if held >= _SEGMENT_BYTES:
            folded += _close(files, records, taken)
            records, taken, held = Fold(pool), [], 0
    return folded + _close(files, records, taken)


def _close(files: Files, records: Fold, taken: list[str]) -> int:
    if taken:
        numbers = [int(m["number"]) for n in files.names("segments") if (m := SEALED.fullmatch(n))]
        write_segment(files, max(numbers, default=0) + 1, records.lines())
        files.remove(taken)
    return len(taken)


def many_small(files: Files) -> set[str]:
    """The small segments, if there are so many that they are to become one."""
    sizes = files.names("segments")
    small = {f"segments/{n}" for n, size in sizes.items() if SEALED.fullmatch(n) and size < _SMALL_BYTES}
    return small if len(small) >= _MANY_SMALL else set()


def compact(files: Files, small: Iterable[str], pool: StringTable) -> None:
    """Fold segments into one.

    Of each key the best record *in these segments* is kept, even where another file holds a better one: a
    second process may be folding that file away at this moment, and would in turn rely on this one.
    """
    records, paths = Fold(pool), sorted(small)
    try:
        for path in paths:
            offset = 0
            for line in files.lines(path):
                records.take(line, path, offset)
                offset += len(line)
    except (FileNotFoundError, ShapeError):
        return  # another process compacts; or not sound, which the next reading of it sets aside
    if lines := records.lines():
        made = write_segment(files, max(int(p[9:15]) for p in paths), lines)
        files.remove([p for p in paths if p != made])
