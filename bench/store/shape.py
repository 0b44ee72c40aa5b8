"""The shape of a record: every field and its type, declared once for all who write, read or seal records.

Records come from other machines, other versions and editors. A file that is not of this shape is set aside
when it is read, so that all other code can rely on the types of a record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, Required

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # before Python 3.12 pydantic does not take that of typing

from bench.contract import Status
from bench.store.files import KEY

#: No conversions: a string is no number, neither is ``true``, and ``1.0`` is no seed.
_STRICT = ConfigDict(strict=True)
_CLOSED = ConfigDict(strict=True, extra="forbid")
_NUMBER = (int, float, type(None))


class ShapeError(ValueError):
    """Bytes that are not a record; the message says why."""


def _time(value: str) -> str:
    try:
        if value:
            datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("a time as 2026-01-31T12:00:00+00:00") from None
    return value


Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Key = Annotated[str, Field(pattern=f"^{KEY.pattern}$")]
Time = Annotated[str, AfterValidator(_time)]
Texts = dict[str, str]
ArtifactName = Annotated[str, Field(pattern=r"^sha256-[0-9a-f]{32}\.[a-z0-9]{1,8}$")]


class Bound(TypedDict):
    """A censored value."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]
    bound: Number


class LooseBound(TypedDict):
    """A censored value of a snapshot: null where it was not finite."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]
    bound: Number | None


class CellShape(TypedDict, total=False):
    """The declaration of a cell, or of a shard of a stage."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    track: str
    track_version: int
    task: str
    task_version: int
    row: str
    row_version: int
    hp: dict[str, Any]
    seed: int
    run: dict[str, Any]
    stage: str
    address: str
    shard: int
    params: dict[str, Any]


#: The fields of it that a record of the kind ``cell`` has.
DECLARED = frozenset(
    {"track", "track_version", "task", "task_version", "row", "row_version", "hp", "seed", "run"}
)


def _costs(value: dict[str, Any]) -> dict[str, Any]:
    if dict not in map(type, value.values()) and "shared_s" not in value:
        return value  # the common case, and quick: every record is checked
    if any((type(v) is dict) is not (k == "shared_s") for k, v in value.items()):
        raise ValueError("shared_s as a mapping of numbers, every other cost as a number")
    return value


Costs = Annotated[dict[str, Number | dict[str, Number]], AfterValidator(_costs)]


class LimitsShape(TypedDict, total=False):
    """The limits of the cell, see `bench.contract.Needs`."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    cpu: Number
    gpu: Number
    gpu_mem_gb: Number | None
    mem_gb: Number
    minutes: Number
    accelerator: str


class Where(TypedDict, total=False):
    """The machine that the cell ran on."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    host: str
    label: str
    cpus: int
    gpus: list[str]
    threads: int


class Accepted(TypedDict, total=False):
    """When and why a person accepted the record after a change of code."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    at: Time
    reason: str


class Verified(TypedDict):
    """The sample that verified the record: of ``cells`` stale cells ``on`` ran again with equal numbers, at a
    commit.
    """

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    cells: int
    on: int
    commit: str
    at: Time


class Provenance(TypedDict, total=False):
    """What the numbers were made with."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    sources: Texts  # digests of whole files, in records that older versions wrote
    code: str
    ran_with: dict[str, Any]
    built_by: Texts
    data: str
    stages: Texts
    packages: Texts
    commit: str
    dirty: bool
    accepted: Accepted
    verified: Verified


class Failure(TypedDict, total=False):
    """How a cell failed (``at``: the line of the method's file), or the failed stage that it was
    skipped for.
    """

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    type: str
    message: str
    last_lines: list[str]
    at: str
    stage: str


class SummaryShape(TypedDict, total=False):
    """The fields of a `RecordSummary` that differ from record to record; see `SharedShape` for the others."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    key: Required[Key]
    kind: Required[Literal["cell", "stage"]]
    cell: Required[CellShape]
    status: Required[Status]
    reason: str
    metrics: dict[str, Number | Bound | None]
    cost: Costs
    error: Failure
    marks: list[str]
    attempts: Count
    generation: Count
    ended: Time


class SharedShape(TypedDict, total=False):
    """The fields of a `RecordSummary` that many records share: each value is checked once, see
    `StringTable`.
    """

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    limits: LimitsShape
    where: Where
    provenance: Provenance


def _series(value: dict[str, Any]) -> dict[str, Any]:
    """Check that the data are as deep as there are dimensions and as long as their coordinates."""
    dims, coords = value["dims"], value["coords"]
    lengths = _lengths(value["data"], len(dims))
    for dim, length in zip(dims, lengths, strict=True):
        if dim not in coords:
            continue
        places = coords[dim]
        if not isinstance(places, list) or len(places) != length:
            raise ValueError(f"coords.{dim} is not a list of {length} places, as its data")
        if not all(isinstance(x, str) for x in places) and not all(isinstance(x, _NUMBER) for x in places):
            raise ValueError(f"coords.{dim} holds something else than names alone or numbers alone")
    return value


def _lengths(data: Any, depth: int) -> tuple[int, ...]:
    if depth == 0:
        if isinstance(data, bool) or not isinstance(data, _NUMBER):
            raise ValueError(f"data holds {data!r:.40} where dims ask for a number or null")
        return ()
    if not isinstance(data, list):
        raise ValueError(f"data holds {data!r:.40} where dims ask for a list")
    inner = {_lengths(x, depth - 1) for x in data}
    if len(inner) > 1:
        raise ValueError("data holds lists of different lengths in one dimension")
    return (len(data), *(inner.pop() if inner else (0,) * (depth - 1)))


class Series(TypedDict):
    """A small named array."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]
    dims: list[str]
    coords: dict[str, Any]
    data: Any


class SnapshotShape(TypedDict):
    """A snapshot."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]
    step: Number
    seconds: Number
    metrics: dict[str, Number | LooseBound | None]


class RecordShape(SummaryShape, SharedShape, total=False):
    """A record: every field of `bench.contract.Record`, and no other. A number that was not finite is null in
    a curve, a snapshot or a series, and missing in ``metrics``.
    """

    __pydantic_config__ = _CLOSED  # type: ignore[misc]
    series: dict[str, Annotated[Series, AfterValidator(_series)]]
    units: dict[str, ArtifactName]
    views: dict[str, ArtifactName]
    curve: list[dict[str, Number | None]]
    history: list[SnapshotShape]
    log: list[str]
    started: Time
    schema: Required[int]


@cache
def _validator(shape: Any) -> Callable[[Any], Any]:
    return TypeAdapter(shape).validator.validate_python


def check(shape: Any, raw: Mapping[str, Any]) -> None:
    """Raise `ShapeError` unless ``raw`` has that shape: `RecordShape`, or `SummaryShape` and `SharedShape`,
    which are parts of it and take a fraction of the time.
    """
    try:
        _validator(shape)(raw)
    except ValidationError as error:
        raise ShapeError(_message(raw, error)) from error


def check_declared(raw: Mapping[str, Any]) -> None:
    """Raise `ShapeError` if the cell of a record lacks a field that every cell declares."""
    if raw["kind"] == "cell" and not raw["cell"].keys() >= DECLARED:
        raise ShapeError(f"its cell has no {', '.join(sorted(DECLARED - raw['cell'].keys()))}")


def _message(raw: Any, error: ValidationError) -> str:
    """The first mistake: its place, the value there and what was expected; and the number of
    other mistakes.
    """
    found = error.errors(include_url=False, include_context=False)
    places = [_place(raw, e["loc"]) for e in found]
    first, value = places[0]
    kind = found[0]["type"]
    more = len(dict.fromkeys(p for p, _ in places)) - 1
    rest = f" (and {more} more)" if more else ""
    if kind == "extra_forbidden":
        return f"unknown field {first!r}{rest}"
    if kind == "missing":
        return f"no {'.'.join(map(str, found[0]['loc']))}{rest}"
    words = [str(e["msg"]) for e, (p, _) in zip(found, places, strict=True) if p == first]
    wanted = " or ".join(
        dict.fromkeys(
            w.removeprefix("Input should be ")
            .removeprefix("Value error, ")
            .replace("String should", "a text that should")
            for w in words
        )
    )
    return f"{first} is {value!r:.60}, expected {wanted}{rest}"


def _place(raw: Any, loc: Sequence[Any]) -> tuple[str, Any]:
    """The place of an error in the record (without the names of the alternatives that were tried), and its
    value.
    """
    path = []
    for part in loc:
        try:
            raw = raw[part]
        except (KeyError, IndexError, TypeError):
            break
        path.append(str(part))
    return ".".join(path), raw
