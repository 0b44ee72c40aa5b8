"""A record as bytes and back: one line of JSON with the number of its schema, older schemas migrated on
reading.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from numbers import Real
from typing import Any

import orjson

from bench.contract import BenchError, Record, digest
from bench.store.shape import RecordShape, ShapeError, check, check_declared

#: The schema of records that this code writes.
SCHEMA = 1
#: ``schema -> function`` that turns a record of that schema into one of the next; applied whenever a record
#: is read.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


class NewerError(ValueError):
    """A record written by a newer version of this code."""


def record_of(raw: dict[str, Any]) -> Record:
    """A record from plain values of today's schema."""
    return Record(**raw)


def parse(data: bytes) -> dict[str, Any]:
    """The bytes of one record as plain values of today's schema.

    Raises:
        ShapeError: not JSON, or not an object with a schema that is known.
        NewerError: its schema is newer than this code's.
    """
    try:
        found: Any = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ShapeError(f"not JSON: {error}" if data.strip() else "empty") from error
    raw: dict[str, Any] = found
    if not isinstance(found, dict) or type(schema := raw.get("schema")) is not int:
        raise ShapeError("not an object with a schema number")
    if schema == SCHEMA:
        return raw
    if schema > SCHEMA:
        raise NewerError(f"its schema is {schema}, this version of gridbench reads up to {SCHEMA}")
    while schema < SCHEMA:
        if schema not in MIGRATIONS:
            raise ShapeError(f"no migration from schema {schema}")
        try:
            raw = MIGRATIONS[schema](raw)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ShapeError(
                f"its migration from schema {schema} failed: {type(error).__name__}: {error}"
            ) from error
        schema += 1
        raw["schema"] = schema
    return raw


def check_shape(raw: dict[str, Any], key: str | None = None) -> None:
    """Raise `ShapeError` unless ``raw`` is a record (of ``key``, if given) whose key is that of its cell."""
    try:
        orjson.dumps(raw)
    except TypeError as error:  # what orjson reads and does not write: nothing but depth
        raise ShapeError(f"it is nested too deeply: {error}") from error
    check(RecordShape, raw)
    if key is not None and raw["key"] != key:
        raise ShapeError(f"it is named {key}, its key is {raw['key']}")
    check_declared(raw)
    if raw["kind"] == "cell" and (own := digest(raw["cell"])) != raw["key"]:
        raise ShapeError(f"its key {raw['key']} is not that of its cell, {own}")


def dump(record: Record) -> bytes:
    """A record as one line of JSON without its newline, mappings in sorted order.

    Numbers of numpy are written as plain ones. A number that is not finite becomes null in a curve, a history
    or a series, and is an error in ``metrics`` (the status ``diverged`` says so).

    Raises:
        BenchError: the record holds what JSON cannot express, or its key is not that of its cell.
    """
    for name, value in record.metrics.items():
        number = value.get("bound") if isinstance(value, Mapping) else value
        if isinstance(number, Real) and not math.isfinite(number):
            raise BenchError(
                f"record {record.key}: metric {name} is {number}: leave it out, the status says diverged"
            )
    plain = {f.name: getattr(record, f.name) for f in fields(record)}
    if not record.generation:
        del plain["generation"]
    try:
        return orjson.dumps(plain, default=_plain, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise BenchError(f"record {record.key} ({named(record)}) is not plain JSON: {error}") from error


def named(record: Record) -> str:
    """The cell of a record, named for a message."""
    named = ("track", "task", "row", "seed")
    return " · ".join(str(record.cell[k]) for k in named if k in record.cell) or record.kind


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r:.80}")


@contextmanager
def no_gc() -> Iterator[None]:
    """Stop the cycle collector while many small objects are made, since it would visit all of them
    repeatedly.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
