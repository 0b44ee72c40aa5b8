"""Text as people bring it: one way of opening a file of text for all readers of data."""

from __future__ import annotations

from pathlib import Path

from bench.errors import BenchError

#: UTF-8, without the byte order mark that editors on Windows put first: it is no part of the first word.
ENCODING = "utf-8-sig"


def read_text(path: Path) -> str:
    """The whole text of a file.

    Raises:
        BenchError: it cannot be read, or it is not UTF-8; names the line.
    """
    try:
        data = path.read_bytes()
    except OSError as e:
        raise BenchError(f"{path}: cannot be read: {e.strerror}") from e
    try:
        return data.decode(ENCODING)
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        found = f"byte {e.start} is {data[e.start]:#04x}"
        raise BenchError(f"{path}:{line}: cannot be read: not UTF-8 ({found}): save it as UTF-8") from e
