"""Summaries of records, which plan and board hold in memory, and the protocols of what records
are read from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from bench.contract import BenchError, Record, Units
from bench.store.draws import Draw
from bench.store.shape import ShapeError, SharedShape, SummaryShape, check, check_declared

if TYPE_CHECKING:
    import numpy as np

#: `RecordSummary.layer` of a published record.
PUBLISHED = "published"
#: The table is cleared after so many different facts: the records of this store share nothing.
_MOST_FACTS = 20_000


@dataclass(slots=True, eq=False)
class RecordSummary:
    """What plan and board need of a record, and where the whole record lies. Read only: mappings are shared.

    ``cell`` is the declaration of the cell (for a stage: its name, address and shard). ``metrics`` and
    ``cost`` are as in `bench.contract.Record`. ``hardware`` is the hardware label. ``code`` names its
    definitions, ``ran_with`` holds its settings by value, ``data`` is the identity of its data, ``stages``
    maps name -> digest, ``built_by`` name -> code of the stages; ``commit`` is that of the code. ``error`` is
    ``Type: message`` in one line. ``accepted``: when a person accepted it after a change, or "";
    ``verified``: the sample that verified it (`bench.store.upkeep.accepting`). ``result``: whether its end
    says something of the cell, which ``lost`` does not, nor ``skipped`` because a stage failed.
    ``generation`` is that of the record. ``file``, ``offset`` and ``size`` (bytes) say where it lies.
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
        """Orders the records of one key by what they say; the last one counts. In this order:

        A result goes after an end that says nothing of the cell (``lost``; ``skipped`` because a stage
        failed), whatever their generations.

        The later generation: a record that was made to replace another counts for more than that one,
        whatever the clocks of the two machines say.

        Within one generation ``ok`` goes after every other result: if two drivers ran one cell at once and
        one of them ran into its limit, the number of the other counts.

        Then the one that ended last, and of one end the one that was accepted last.
        """
        return self.result, self.generation, self.status == "ok", self.ended, self.accepted

    def rank(self) -> tuple[tuple[bool, int, bool, str, str], bool, str, int]:
        """`standing`; of equal records a loose one goes after a sealed one, and then the one written last
        counts.
        """
        return self.standing(), self.file.startswith("records/"), self.file, self.offset

    def age(self) -> tuple[int, str, str, str, int]:
        """Orders the records of one key by when they were made."""
        return self.generation, self.ended, self.accepted, self.file, self.offset

    @property
    def place(self) -> tuple[str, int]:
        """Where the record lies; no two records have the same place."""
        return self.file, self.offset


class Details(Protocol):
    """Reads what is too big for a record and yet shown on a board; `BenchError` where it is absent or
    damaged.
    """

    def units(self, name: str) -> Units:
        """Per-example scores by the name that a record gives them."""

    def view(self, name: str) -> np.ndarray:
        """A picture, uint8 (height, width, 3)."""


class Readable(Protocol):
    """What a board needs of a store: `bench.store.records.Store`,
    `bench.store.committed.reading.CommittedRecords` and, of both, `bench.store.committed.layers.Layered` are
    such.
    """

    url: str

    @property
    def problems(self) -> list[str]:
        """What could not be read, one sentence each."""

    @property
    def artifacts(self) -> Details:
        """Units and views by the names that records give them."""

    def summaries(self) -> dict[str, RecordSummary]:
        """The record that counts of each key."""

    def read(self, key: str) -> Record | None:
        """The whole record of a key, None if there is none."""

    def draws(self) -> list[Draw]:
        """The draws of searches, those of a search in their order."""


class StringTable:
    """Makes equal strings and mappings of many records one object (interning), and checks each mapping once:
    what 100,000 records ran with are a handful of mappings.
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
            check(SharedShape, {name: value})
            found = {k: self.mapping(v) if type(v) is dict else v for k, v in value.items()}
            if len(self._facts) >= _MOST_FACTS:  # a store whose records share nothing
                self._facts.clear()
            self._facts[written] = found
        return found


def summary_of(raw: dict[str, Any], table: StringTable, file: str, offset: int, size: int) -> RecordSummary:
    """The summary of a record of today's schema.

    Args:
        raw: the record as plain values.
        table: where equal strings and mappings are shared.
        file, offset, size: where the record lies.

    Raises:
        ShapeError: a field of the summary has another shape.
    """
    check(SummaryShape, raw)
    try:
        return _summary(raw, table, file, offset, size)
    except TypeError as error:  # as in `check_shape`
        raise ShapeError(f"it is nested too deeply: {error}") from error


def _summary(raw: dict[str, Any], table: StringTable, file: str, offset: int, size: int) -> RecordSummary:
    check_declared(raw)
    cell, get, text, empty = raw["cell"], raw.get, table.text, table.empty
    for name, value in cell.items():
        if type(value) is str:
            cell[name] = text(value, value)
        elif type(value) is dict:
            cell[name] = table.mapping(value)
    made, accepted = get("provenance"), ""
    if type(made) is dict and "accepted" in made:  # when: no two records share it
        check(SharedShape, {"provenance": made})
        accepted = made["accepted"].get("at", "")
        made = {k: v for k, v in made.items() if k != "accepted"}
    made = table.fact("provenance", made).get
    status, reason, error, marks = raw["status"], get("reason", ""), get("error"), get("marks")
    return RecordSummary(
        key=raw["key"],
        kind=text(raw["kind"], raw["kind"]),
        status=text(status, status),
        reason=text(reason, reason),
        cell=cell,
        metrics=get("metrics") or empty,
        cost=get("cost") or empty,
        limits=table.fact("limits", get("limits")),
        hardware=table.fact("where", get("where")).get("label", ""),
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
