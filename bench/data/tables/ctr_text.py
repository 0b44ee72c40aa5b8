"""The text of a click log: whole or not, parsed block by block, every value as a 64-bit key.

pyarrow parses. Of the streaming readers it alone refuses a line with too few columns (polars fills it up with
nulls, in silence) and knows its number.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from bench.contract import BenchError
from bench.data.tables.ctr_logs import Layout

if TYPE_CHECKING:
    import pyarrow as pa

#: Bytes of text parsed at once: what a processor's cache holds (with 16 MiB parsing takes twice as long).
BLOCK = 2 << 20
#: The token of an empty integer: no bucket has it.
NULL = 1 << 40
#: Longest value in bytes: a 32-bit hash in hexadecimal, or ``YYMMDDHH``.
WIDEST = 8


def check_whole(raw: Path) -> None:
    """Refuse what is not a whole text file, before anything is done."""
    size = raw.stat().st_size
    if size == 0:
        raise BenchError(f"{raw}: is empty")
    with open(raw, "rb") as file:
        start = file.read(4)
        file.seek(size - 1)
        last = file.read(1)
    if start[:2] == b"\x1f\x8b" or start == b"PK\x03\x04":
        raise BenchError(
            f"{raw}: is compressed: unpack it first, with {'gunzip' if start[0] == 31 else 'unzip'}"
        )
    if last != b"\n":
        raise BenchError(f"{raw}: truncated, its last line has no end (a whole file ends with a newline)")


def check_header(raw: Path, layout: Layout) -> None:
    """Refuse a file whose first line does not name the columns, if the layout has such a line."""
    if not layout.header:
        return
    # A byte order mark, which editors on Windows put first, is no part of the first name; pyarrow skips it.
    with open(raw, encoding="utf-8-sig", errors="replace") as file:
        found = file.readline(10_000).rstrip("\n").split(layout.delimiter)
    for want, have in zip_longest(layout.columns, found):
        if want != have:
            raise BenchError(f"{raw}:1: column {have!r} in the header, expected {want!r}")


def bucket(values: np.ndarray) -> np.ndarray:
    """Tokens of integers, (n,) int64 -> (n,) int64: floor(ln(v)^2) if v > 2, else v - 2.

    The two ranges do not meet: the first gives 1 and more, the second 0 and less. In double precision, which
    settles every v of 32 bits.
    """
    logged = np.log(np.maximum(values, 3).astype(np.float64))
    return np.where(values > 2, (logged * logged).astype(np.int64), values - 2)


class Where:
    """Says in messages in which line a row of a batch stands; ``first`` is the line of its row 0."""

    def __init__(self, path: Path, first: int) -> None:
        self.path, self.first = path, first

    def __call__(self, row: int) -> str:
        """``file:line`` of a row."""
        return f"{self.path}:{self.first + row}"


class Tee:
    """A file that is read once, and meanwhile digested and reported."""

    closed = False

    def __init__(self, file: IO[bytes], report: Callable[[int], None]) -> None:
        self.file, self.report, self.sha256 = file, report, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read as a file does."""
        data = self.file.read(size)
        self.sha256.update(data)
        self.report(self.file.tell())
        return data


def batches(path: Path, text: Tee, layout: Layout) -> Iterator[pa.RecordBatch]:
    """Yield the parsed blocks of a file, with only the label and the fields.

    ``use_threads=False`` is there because only then pyarrow knows the number of a bad line.
    """
    try:
        import pyarrow as pa
        from pyarrow import csv
    except ImportError as e:
        raise BenchError(f"preparing data takes pyarrow: pip install 'gridbench[paper]' ({e})") from e

    types = {layout.label: pa.int64(), **dict.fromkeys(layout.integers, pa.int64())}
    types |= dict.fromkeys(layout.values, pa.binary())
    try:
        yield from csv.open_csv(
            pa.PythonFile(text, mode="r"),
            read_options=csv.ReadOptions(
                column_names=layout.columns, skip_rows=int(layout.header), block_size=BLOCK, use_threads=False
            ),
            parse_options=csv.ParseOptions(
                delimiter=layout.delimiter, quote_char=False, double_quote=False, ignore_empty_lines=False
            ),
            convert_options=csv.ConvertOptions(
                column_types=types, include_columns=list(types), null_values=[""], strings_can_be_null=False
            ),
        )  # fmt: skip
    except pa.ArrowInvalid as e:
        raise BenchError(explained(path, layout.columns, layout.label, layout.delimiter, str(e))) from e


def explained(path: Path, columns: Sequence[str], label: str, delimiter: str, message: str) -> str:
    """What pyarrow says of a line that does not fit, with file, line and column; its message may hold the
    line, and bytes that are not UTF-8.
    """
    if row := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)", message, re.DOTALL):
        found, expected = f"{row[3]} columns", f"expected {row[2]} separated by {delimiter!r}"
        return f"{path}:{row[1]}: {found}, {expected}: {row[4][:80]!r}"
    if match := re.search(r"column #(\d+): Row #(\d+): CSV conversion .*invalid value '(.*)'", message):
        column = columns[int(match[1])]
        kind = "0 or 1" if column == label else "a number" if column == "rating" else "an integer"
        return f"{path}:{match[2]}: column {column}: {match[3]!r}, expected {kind}"
    return f"{path}: {message}"


def labels(column: pa.Array, name: str, where: Where) -> np.ndarray:
    """The labels of a block, (n,) uint8."""
    y = column.fill_null(-1).to_numpy()
    bad = np.flatnonzero((y != 0) & (y != 1))
    if len(bad):
        at = int(bad[0])
        found = repr(str(y[at])) if column[at].is_valid else "nothing (an empty line?)"
        raise BenchError(f"{where(at)}: column {name}: {found}, expected 0 or 1")
    out: np.ndarray = y.astype(np.uint8)
    return out


def tokens(column: pa.Array) -> np.ndarray:
    """The tokens of a column of integers, (n,) int64."""
    # Straight from the buffer: what stands there for a missing value is any number, and is replaced.
    numbers = np.frombuffer(column.buffers()[1], np.int64)[column.offset : column.offset + len(column)]
    found = bucket(numbers)
    if column.null_count:
        found[column.is_null().to_numpy(zero_copy_only=False)] = NULL
    return found


def packed(column: pa.BinaryArray, name: str, where: Where) -> np.ndarray:
    """Values of at most 8 bytes, none of them zero, as integers: equal if and only if the values are.

    Returns:
        (n,) uint64.
    """
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    text = bytes(data or b"")[bounds[0] : bounds[-1]]
    lengths = np.diff(bounds)
    if (lengths > WIDEST).any() or b"\0" in text:
        at = next(i for i, v in enumerate(column) if len(v.as_py()) > WIDEST or b"\0" in v.as_py())
        raise BenchError(
            f"{where(at)}: column {name}: {column[at].as_py()[:40]!r}, expected at most {WIDEST} bytes and no"
            " zero byte"
        )
    full = lengths == WIDEST
    if (full | (lengths == 0)).all():  # hashes and nothing: the text is an array already
        keys = np.zeros(len(lengths), np.uint64)
        keys[full] = np.frombuffer(text, "<u8")
        return keys
    # Eight bytes from where each value starts, then without what belongs to the next one.
    windows = np.ndarray((len(text) + 1,), "<u8", text + bytes(WIDEST), strides=(1,))
    keep = np.array([(1 << 8 * n) - 1 for n in range(WIDEST + 1)], np.uint64)
    packed: np.ndarray = windows[bounds[:-1] - bounds[0]] & keep[lengths]
    return packed
