"""One record as bytes, as a `Head` (what plan and board keep in memory), and as a whole `Record`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from numbers import Real
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from bench.contract import STATUSES, BenchError, Record, Units, digest
from bench.store.files import check_key

if TYPE_CHECKING:
    import numpy as np

#: The schema of records that this code writes.
SCHEMA = 1
#: ``schema -> function`` that turns a record of that schema into one of the next; applied whenever a record
# is read.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}

_TYPES: Mapping[str, type] = {
    "key": str, "kind": str, "cell": dict, "status": str, "reason": str, "metrics": dict, "series": dict,
    "units": dict, "views": dict, "curve": list, "history": list, "cost": dict, "limits": dict, "where": dict,
    "provenance": dict, "error": dict, "log": list, "marks": list, "attempts": int,
    "started": str, "ended": str, "schema": int,
}  # fmt: skip
_REQUIRED = ("key", "kind", "cell", "status", "schema")
_CELL = ("track", "task", "row", "seed")


class ShapeError(ValueError):
    """Bytes that are not a record; the message says why."""


class NewerError(ValueError):
    """A record written by a newer version of this code."""


#: `Head.layer` of a published record.
PUBLISHED = "published"


@dataclass(slots=True, eq=False)
class Head:
    """What plan and board need of a record, and where the whole of it lies. Read only: mappings are shared.

    ``cell`` is the record's cell mapping (for a stage: whatever names the stage). ``metrics`` and ``cost``
    are as in `bench.contract.Record`. ``hardware``: the hardware label. ``sources``: module -> AST digest,
    ``data``: fingerprint, ``stages``: name -> digest, ``commit``: of the code then. ``error``: ``Type:
    message``, one line.
    ``accepted``: when a person re-stamped it, or "". ``file``, ``offset``, ``size`` (bytes): where it lies.
    """

    key: str
    kind: str
    status: str
    reason: str
    cell: Mapping[str, Any]
    metrics: Mapping[str, Any]
    cost: Mapping[str, Any]
    limits: Mapping[str, Any]
    hardware: str
    sources: Mapping[str, str]
    data: str
    stages: Mapping[str, str]
    commit: str
    marks: tuple[str, ...]
    attempts: int
    ended: str
    accepted: str
    error: str
    file: str
    offset: int
    size: int
    #: `PUBLISHED` if it is one of the published records, "" if it is a store's own.
    layer: str = ""

    @property
    def track(self) -> str:
        """Name of the track; "" for a stage."""
        return str(self.cell.get("track", ""))

    @property
    def task(self) -> str:
        """Name of the task; "" for a stage."""
        return str(self.cell.get("task", ""))

    @property
    def row(self) -> str:
        """Name of the row; "" for a stage."""
        return str(self.cell.get("row", ""))

    @property
    def seed(self) -> int:
        """Seed of the cell; -1 for a stage."""
        return int(self.cell.get("seed", -1))

    @property
    def hp(self) -> Mapping[str, Any]:
        """Hyper-parameters of the cell."""
        return self.cell.get("hp") or {}

    @property
    def run(self) -> Mapping[str, Any]:
        """Run settings of the cell that differ from the track's defaults."""
        return self.cell.get("run") or {}

    def rank(self) -> tuple[str, str, bool, str]:
        """Orders the records of one key: ended last, then accepted last, then a loose one, then written
        last.
        """
        return self.ended, self.accepted, self.file.startswith("records/"), self.file


class Details(Protocol):
    """What is too big for a record and yet shown on a board; `BenchError` where it is absent or damaged."""

    def units(self, name: str) -> Units:
        """Per-example scores."""

    def view(self, name: str) -> np.ndarray:
        """A picture, uint8 (height, width, 3)."""


class Readable(Protocol):
    """What a board needs of a store: `bench.store.records.Store`, `bench.store.publish.Published` and, of
    both, `bench.store.layers.Layered` are such.
    """

    url: str

    @property
    def problems(self) -> list[str]:
        """What could not be read, each said once."""

    @property
    def artifacts(self) -> Details:
        """Units and views by the names that records give them."""

    def heads(self) -> dict[str, Head]:
        """The record that counts of each key."""

    def read(self, key: str) -> Record | None:
        """The whole record of a key, None if there is none."""


class Pool:
    """Makes equal strings and mappings one object: the sources of 100,000 records are a handful of
    mappings.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._maps: dict[bytes, dict[str, Any]] = {}

    def text(self, value: str) -> str:
        """The one string equal to ``value``."""
        return self._texts.setdefault(value, value)

    def mapping(self, value: dict[str, Any]) -> dict[str, Any]:
        """The one mapping equal to ``value``, whatever its order."""
        return self._maps.setdefault(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), value)


def head_of(raw: dict[str, Any], pool: Pool, file: str, offset: int, size: int) -> Head:
    """The head of a record of today's schema; raises KeyError, TypeError or AttributeError if it has another
    shape.
    """
    cell, made = raw["cell"], raw.get("provenance") or {}
    text, mapping = pool.text, pool.mapping
    for name, value in cell.items():
        if type(value) is str:
            cell[name] = text(value)
        elif type(value) is dict:
            cell[name] = mapping(value)
    error = raw.get("error")
    marks = raw.get("marks")
    return Head(
        key=raw["key"],
        kind=text(raw["kind"]),
        status=text(raw["status"]),
        reason=text(raw.get("reason", "")),
        cell=cell,
        metrics=raw.get("metrics") or mapping({}),
        cost=raw.get("cost") or mapping({}),
        limits=mapping(raw.get("limits") or {}),
        hardware=text((raw.get("where") or {}).get("label", "")),
        sources=mapping(made.get("sources") or {}),
        data=text(made.get("data", "")),
        stages=mapping(made.get("stages") or {}),
        commit=text(made.get("commit", "")),
        marks=tuple(map(text, marks)) if marks else (),
        attempts=raw.get("attempts", 1),
        ended=raw.get("ended", ""),
        accepted=(made.get("accepted") or {}).get("at", ""),
        error=_one_line(error) if error else "",
        file=file,
        offset=offset,
        size=size,
    )


def _one_line(error: Mapping[str, Any]) -> str:
    message = str(error.get("message", "")).strip().partition("\n")[0][:300]
    return ": ".join(part for part in (str(error.get("type", "")), message) if part)


def record_of(raw: dict[str, Any]) -> Record:
    """The whole record from plain values of today's schema."""
    return Record(**raw)


def parse(data: bytes) -> dict[str, Any]:
    """One record's bytes as plain values of today's schema.

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
    for name, value in raw.items():
        if name not in _TYPES:
            raise ShapeError(f"unknown field {name!r}")
        if not isinstance(value, _TYPES[name]):
            raise ShapeError(f"{name} is {type(value).__name__}, expected {_TYPES[name].__name__}")
    if missing := [name for name in _REQUIRED if name not in raw]:
        raise ShapeError(f"no {', '.join(missing)}")
    if raw["kind"] not in ("cell", "stage") or raw["status"] not in STATUSES:
        raise ShapeError(f"kind {raw['kind']!r}, status {raw['status']!r}")
    if key is not None and raw["key"] != key:
        raise ShapeError(f"it is named {key}, its key is {raw['key']}")
    try:
        check_key(raw["key"])
    except BenchError as error:
        raise ShapeError(str(error)) from error
    if raw["kind"] == "cell":
        if missing := [name for name in _CELL if name not in raw["cell"]]:
            raise ShapeError(f"its cell has no {', '.join(missing)}")
        if type(raw["cell"]["seed"]) is not int or not all(
            isinstance(raw["cell"][k], str) for k in _CELL[:3]
        ):
            raise ShapeError("track, task and row of a cell are strings, its seed is an integer")
        if (own := digest(raw["cell"])) != raw["key"]:
            raise ShapeError(f"its key {raw['key']} is not that of its cell, {own}")
    _check_values(raw)


def _check_values(raw: dict[str, Any]) -> None:
    for name, value in raw.get("metrics", {}).items():
        number = value["bound"] if isinstance(value, dict) and set(value) == {"bound"} else value
        if number is not None and not (isinstance(number, int | float) and not isinstance(number, bool)):
            raise ShapeError(f"metric {name} is {value!r}, expected a number, null or {{'bound': number}}")
    made = raw.get("provenance", {})
    for name, kind in {"sources": dict, "stages": dict, "data": str, "commit": str, "accepted": dict}.items():
        if not isinstance(made.get(name, kind()), kind):
            raise ShapeError(f"provenance.{name} is not a {kind.__name__}")
    texts = {
        "provenance.sources": [*made.get("sources", {}).values()],
        "provenance.stages": [*made.get("stages", {}).values()],
        "provenance.accepted.at": [made.get("accepted", {}).get("at", "")],
        "units": [*raw.get("units", {}).values()],
        "views": [*raw.get("views", {}).values()],
        "marks": raw.get("marks", []),
        "log": raw.get("log", []),
        "where.label": [raw.get("where", {}).get("label", "")],
    }
    for name, values in texts.items():
        if not all(isinstance(v, str) for v in values):
            raise ShapeError(f"{name} holds something else than text")


def dump(record: Record) -> bytes:
    """A record as one line of JSON without its newline, mappings in sorted order.

    Numbers of numpy are written as plain ones. A number that is not finite becomes null in a curve, a history
    or a series, and is an error in ``metrics`` (a ``diverged`` cell says so by its status).

    Raises:
        BenchError: the record holds what JSON cannot say, or its key is not that of its cell.
    """
    for name, value in record.metrics.items():
        number = value.get("bound") if isinstance(value, Mapping) else value
        if isinstance(number, Real) and not math.isfinite(number):
            raise BenchError(
                f"record {record.key}: metric {name} is {number}: leave it out, the status says diverged"
            )
    plain = {f.name: getattr(record, f.name) for f in fields(record)}
    try:
        return orjson.dumps(plain, default=_plain, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise BenchError(f"record {record.key} ({_called(record)}) is not plain JSON: {error}") from error


def _called(record: Record) -> str:
    """The cell in words."""
    return " · ".join(str(record.cell[k]) for k in _CELL if k in record.cell) or record.kind


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r:.80}")


def match_key(keys: Iterable[str], start: str, where: str) -> str:
    """The one key that starts with ``start``; `BenchError` with the nearest keys if there is none or several.

    Args:
        keys: all there are. start: what was given. where: what holds them, for the message.
    """
    known = set(keys)
    found = sorted(k for k in known if k.startswith(start)) if start else []
    if len(found) == 1 or start in known:
        return start if start in known else found[0]
    near = found[:5] or get_close_matches(start, known, n=3, cutoff=0.5)
    what = f"{len(found)} records of {where} start with" if found else f"no record of {where} has key"
    raise BenchError(f"{what} {start!r}" + (f": {', '.join(near)}" if near else ""))
