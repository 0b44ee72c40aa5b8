"""One record as bytes, as a `RecordSummary` (what plan and board keep in memory), and as a whole `Record`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from numbers import Real
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from bench.contract import BenchError, Record, Units, digest
from bench.store.shape import DECLARED, Seen, ShapeError, Shared, Whole, check

if TYPE_CHECKING:
    import numpy as np

#: The schema of records that this code writes.
SCHEMA = 1
#: ``schema -> function`` that turns a record of that schema into one of the next; applied whenever a record
# is read.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
_MOST_FACTS = 20_000


class NewerError(ValueError):
    """A record written by a newer version of this code."""


#: `RecordSummary.layer` of a published record.
PUBLISHED = "published"


@dataclass(slots=True, eq=False)
class RecordSummary:
    """What plan and board need of a record, and where the whole of it lies. Read only: mappings are shared.

    ``cell`` is the record's cell mapping (for a stage: whatever names the stage). ``metrics`` and ``cost``
    are as in `bench.contract.Record`. ``hardware``: the hardware label. ``code``: name of its definitions,
    ``ran_with``: settings by value, ``data``: fingerprint, ``stages``: name -> digest, ``built_by``: name ->
    code of the stages, ``commit``: of the code then. ``error``: ``Type: message``, one line. ``accepted``:
    when a person re-stamped it, or ""; ``verified``: by which sample it was re-stamped, see
    `bench.store.accepting`. ``result``: whether its end says something of the cell: not of one that was
    ``lost``, nor of one skipped because a stage failed. ``generation``: as in the record. ``file``,
    ``offset``, ``size`` (bytes): where it lies.
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
    code: str
    ran_with: Mapping[str, Any]
    built_by: Mapping[str, str]
    data: str
    stages: Mapping[str, str]
    commit: str
    marks: tuple[str, ...]
    attempts: int
    ended: str
    accepted: str
    verified: Mapping[str, Any]
    result: bool
    generation: int
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

    def standing(self) -> tuple[bool, int, bool, str, str]:
        """Orders the records of one key by what they say; the last of them counts. In this order:

        An end that is nobody's (``lost``; skipped because a stage failed) never hides a result, whatever its
        generation: it says nothing of the cell.

        The later generation: a record that was made to replace another counts for more than that one,
        whatever the clocks of the two machines say.

        Within one generation ``ok`` before every other result: of two drivers that ran one cell at once, one
        may have run into its limit; the other's number counts.

        Then the one that ended last, and of one end the one that was accepted last.
        """
        return self.result, self.generation, self.status == "ok", self.ended, self.accepted

    def rank(self) -> tuple[tuple[bool, int, bool, str, str], bool, str, int]:
        """`standing`, and of equal ones a loose record before a sealed one, then the one written last."""
        return self.standing(), self.file.startswith("records/"), self.file, self.offset

    def age(self) -> tuple[int, str, str, str, int]:
        """Orders the records of one key by when they came to be, the first one first."""
        return self.generation, self.ended, self.accepted, self.file, self.offset

    @property
    def place(self) -> tuple[str, int]:
        """Where it lies: no two records have the same."""
        return self.file, self.offset


class Details(Protocol):
    """What is too big for a record and yet shown on a board; `BenchError` where it is absent or damaged."""

    def units(self, name: str) -> Units:
        """Per-example scores."""

    def view(self, name: str) -> np.ndarray:
        """A picture, uint8 (height, width, 3)."""


class Readable(Protocol):
    """What a board needs of a store: `bench.store.records.Store`, `bench.store.committed.reading.CommittedRecords` and, of
    both, `bench.store.committed.layers.Layered` are such.
    """

    url: str

    @property
    def problems(self) -> list[str]:
        """What could not be read, each said once."""

    @property
    def artifacts(self) -> Details:
        """Units and views by the names that records give them."""

    def summaries(self) -> dict[str, RecordSummary]:
        """The record that counts of each key."""

    def read(self, key: str) -> Record | None:
        """The whole record of a key, None if there is none."""


class Pool:
    """Makes equal strings and mappings one object, and checks each once: what 100,000 records ran with
    are a handful of mappings.
    """

    def __init__(self) -> None:
        texts: dict[str, str] = {}
        #: (value, value) -> the one string equal to it.
        self.text = texts.setdefault
        self._maps: dict[bytes, dict[str, Any]] = {}
        self._facts: dict[tuple[str, bytes], dict[str, Any]] = {}
        self.empty: Mapping[str, Any] = {}

    def mapping(self, value: dict[str, Any]) -> Mapping[str, Any]:
        """The one mapping equal to ``value``, whatever its order."""
        if not value:
            return self.empty
        found = self._maps.get(written := orjson.dumps(value))  # ours are sorted already: no need to do it
        if found is None:
            found = self._maps.setdefault(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), value)
            self._maps[written] = found
        return found

    def fact(self, name: str, value: Any) -> Mapping[str, Any]:
        """A record's ``limits``, ``where`` or ``provenance``, of sound shape and with equal parts shared;
        `ShapeError` if it is of another.
        """
        if not value:
            return self.empty
        written = name, orjson.dumps(value)
        if (found := self._facts.get(written)) is None:
            check(Shared, {name: value})
            found = {k: self.mapping(v) if type(v) is dict else v for k, v in value.items()}
            if len(self._facts) >= _MOST_FACTS:  # a store whose records share nothing
                self._facts.clear()
            self._facts[written] = found
        return found


def summary_of(raw: dict[str, Any], pool: StringTable, file: str, offset: int, size: int) -> RecordSummary:
    """The head of a record of today's schema; raises `ShapeError` if what it takes from it is of another
    shape.
    """
    check(Seen, raw)
    try:
        return _head(raw, pool, file, offset, size)
    except TypeError as error:  # as in `check_shape`
        raise ShapeError(f"it is nested too deeply: {error}") from error


def _head(raw: dict[str, Any], pool: StringTable, file: str, offset: int, size: int) -> RecordSummary:
    _check_declared(raw)
    cell, get, text, empty = raw["cell"], raw.get, pool.text, pool.empty
    for name, value in cell.items():
        if type(value) is str:
            cell[name] = text(value, value)
        elif type(value) is dict:
            cell[name] = pool.mapping(value)
    made, accepted = get("provenance"), ""
    if type(made) is dict and "accepted" in made:  # when: no two records share it
        check(Shared, {"provenance": made})
        accepted = made["accepted"].get("at", "")
        made = {k: v for k, v in made.items() if k != "accepted"}
    made = pool.fact("provenance", made).get
    status, reason, error, marks = raw["status"], get("reason", ""), get("error"), get("marks")
    return RecordSummary(
        key=raw["key"],
        kind=text(raw["kind"], raw["kind"]),
        status=text(status, status),
        reason=text(reason, reason),
        cell=cell,
        metrics=get("metrics") or empty,
        cost=get("cost") or empty,
        limits=pool.fact("limits", get("limits")),
        hardware=pool.fact("where", get("where")).get("label", ""),
        code=made("code", ""),
        ran_with=made("ran_with", empty),
        built_by=made("built_by", empty),
        data=made("data", ""),
        stages=made("stages", empty),
        commit=made("commit", ""),
        marks=tuple([text(m, m) for m in marks]) if marks else (),
        attempts=get("attempts", 1),
        ended=get("ended", ""),
        accepted=accepted,
        verified=made("verified", empty),
        result=status != "lost" and not (status == "skipped" and error and "stage" in error),
        generation=get("generation", 0),
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
    try:
        orjson.dumps(raw)
    except TypeError as error:  # what orjson reads and does not write: nothing but depth
        raise ShapeError(f"it is nested too deeply: {error}") from error
    check(Whole, raw)
    if key is not None and raw["key"] != key:
        raise ShapeError(f"it is named {key}, its key is {raw['key']}")
    _check_declared(raw)
    if raw["kind"] == "cell" and (own := digest(raw["cell"])) != raw["key"]:
        raise ShapeError(f"its key {raw['key']} is not that of its cell, {own}")


def _check_declared(raw: Mapping[str, Any]) -> None:
    if raw["kind"] == "cell" and not raw["cell"].keys() >= DECLARED:
        raise ShapeError(f"its cell has no {', '.join(sorted(DECLARED - raw['cell'].keys()))}")


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
    if not record.generation:
        del plain["generation"]
    try:
        return orjson.dumps(plain, default=_plain, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise BenchError(f"record {record.key} ({_called(record)}) is not plain JSON: {error}") from error


def _called(record: Record) -> str:
    """The cell in words."""
    named = ("track", "task", "row", "seed")
    return " · ".join(str(record.cell[k]) for k in named if k in record.cell) or record.kind


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
