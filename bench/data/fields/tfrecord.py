"""Examples in TensorFlow's TFRecord files, read without TensorFlow: framing and the message `Example`.

A file is a sequence of records: eight bytes of length, four of a checksum of the length, the record, four of
its checksum. A record is a protocol buffer, in which each named feature is a list of bytes, of floats or of
integers. The checksums are not compared: files that are compressed by gzip carry one of their own.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

#: A feature's value: a list of bytes, of floats or of integers.
Feature = list[bytes] | list[float] | list[int]
#: Longer records than this, in bytes, are taken for damage.
_LONGEST = 1 << 30


def examples(path: Path) -> Iterator[Mapping[str, Feature]]:
    """The examples of a file, one after another; a name that ends in ``.gz`` is uncompressed.

    Raises:
        ValueError: the file ends inside a record, or a record is no `Example`; says which.
        OSError, zlib.error: the file cannot be read, or not be uncompressed. EOFError: it ends too early.
    """
    with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
        number = 0
        while head := file.read(12):
            length = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else None
            if length is None or length > _LONGEST:
                raise ValueError(f"record {number}: no length of a record")
            record = file.read(length + 4)
            if len(record) < length + 4:
                raise ValueError(f"record {number}: the file ends inside it")
            try:
                yield example(record[:length])
            # Of bytes that are no message any of these, where another kind of field stands than is expected.
            except (IndexError, KeyError, TypeError, AttributeError, struct.error, UnicodeDecodeError) as e:
                raise ValueError(f"record {number}: is no Example: {type(e).__name__}: {e}") from e
            number += 1


def example(data: bytes) -> dict[str, Feature]:
    """The features of one message `Example`."""
    found: dict[str, Feature] = {}
    for _, features in _fields(data, 1):
        for _, entry in _fields(features, 1):
            parts = dict(_fields(entry, None))
            found[parts[1].decode()] = _feature(parts.get(2, b""))
    return found


def _feature(data: bytes) -> Feature:
    """The list that a message `Feature` holds: of bytes (1), of floats (2) or of integers (3)."""
    for kind, body in _fields(data, None):
        values = [value for _, value in _fields(body, 1)]
        if kind == 1:
            return values
        # Numbers are packed into one field of bytes, or have a field each.
        if kind == 2:
            return [x for v in values for x in struct.unpack(f"<{len(v) // 4}f", v)]
        numbers: list[int] = []
        for v in values:
            numbers += [v] if isinstance(v, int) else _varints(v)
        return [n - (1 << 64) if n >> 63 else n for n in numbers]
    return []


def _fields(data: bytes, only: int | None) -> Iterator[tuple[int, Any]]:
    """Number and value of the fields of a message, of those with one number if one is given."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        value: int | bytes
        if wire == 0:
            value, at = _varint(data, at)
        elif wire in (1, 2, 5):
            length, at = _varint(data, at) if wire == 2 else ((8 if wire == 1 else 4), at)
            value, at = data[at : at + length], at + length
            if at > len(data):
                raise IndexError("a field is longer than its message")
        else:
            raise IndexError(f"a field of wire type {wire}")
        if only is None or number == only:
            yield number, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where the next one begins."""
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at


def _varints(data: bytes) -> list[int]:
    found, at = [], 0
    while at < len(data):
        number, at = _varint(data, at)
        found.append(number)
    return found
