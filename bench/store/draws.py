"""The draws of searches: which values a search tried for a row, in the order in which it drew them.

A draw is a small file of its own, ``searches/<search>.<index>.json``, written once. What became of it is in
the records of its cells, which are ordinary cells. So a board knows what was searched without the library
that drew it, and a search that goes on reads what it drew before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from bench.contract import BenchError, digest
from bench.store.files import Files, StoreError

#: The schema of the files.
SCHEMA = 1
_NAME = re.compile(r"[0-9a-f]{16}\.\d{1,9}\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One draw of a search: values of hyper-parameters and of run settings, in place of the row's own.

    ``space``: what was searched, as plain values; draws of another space are of another search. ``task``: the
    task that an adaptive search is of, whose draws depend on what it saw there; "" if the draws are those of
    all tasks. ``sampler``: ``random``, ``qmc`` or ``tpe``. ``index`` 0 changes nothing: it is the default.
    """

    track: str
    row: str
    task: str
    sampler: str
    index: int
    space: Mapping[str, Any]
    hp: Mapping[str, Any]
    run: Mapping[str, Any]
    schema: int = SCHEMA

    @property
    def search(self) -> str:
        """Identity of the search that it is a part of, 16 hex digits."""
        return search_id(self.track, self.row, self.task, self.sampler, self.space)

    def __str__(self) -> str:
        values = {**self.hp, **self.run}
        return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())


def search_id(track: str, row: str, task: str, sampler: str, space: Mapping[str, Any]) -> str:
    """16 hex digits for a search of this space."""
    return digest({"track": track, "row": row, "task": task, "sampler": sampler, "space": space})


class Draws:
    """The files of draws in a store."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._read: dict[str, Draw] = {}
        self.problems: list[str] = []

    def write(self, draw: Draw) -> None:
        """Write a draw.

        Raises:
            StoreError: it cannot be written.
        """
        path = f"searches/{draw.search}.{draw.index}.json"
        self._files.write(path, orjson.dumps(asdict(draw)) + b"\n")
        self._read[path] = draw

    def all(self) -> list[Draw]:
        """Every draw, those of a search in their order. What is no draw is left out; ``problems`` names it.

        Raises:
            StoreError: the store cannot be read.
        """
        self.problems.clear()
        try:
            paths = [f"searches/{name}" for name in self._files.names("searches")]
            new = [p for p in paths if p not in self._read]
            for path, data in self._files.read_many(new):
                if data is not None:
                    self._add(path, data)
        except OSError as error:
            raise StoreError(f"cannot read the searches of {self._files.url}: {error}") from error
        return sorted(self._read.values(), key=lambda d: (d.track, d.row, d.search, d.index))

    def _add(self, path: str, data: bytes) -> None:
        try:
            draw = parse(data)
            if not _NAME.fullmatch(name := path.removeprefix("searches/")):
                raise BenchError("not a draw's name")
            if name != f"{draw.search}.{draw.index}.json":
                raise BenchError("it is a draw of another search")
        except BenchError as error:
            self.problems.append(f"{path} is left out: {error}")
        else:
            self._read[path] = draw


_DRAW = TypeAdapter(Draw)


def parse(data: bytes) -> Draw:
    """A draw from the bytes of its file; `BenchError` if they are not one."""
    return _draw(_json(data))


def parse_many(data: bytes) -> list[Draw]:
    """The draws of a file that holds a list of them, as they are published; `BenchError` if it does not."""
    found = _json(data)
    if not isinstance(found, list):
        raise BenchError("not a list of draws")
    return [_draw(raw) for raw in found]


def dump_many(draws: Iterable[Draw]) -> bytes:
    """Draws as `parse_many` reads them, one a line."""
    return b"[\n" + b",\n".join(orjson.dumps(asdict(d)) for d in draws) + b"\n]\n"


def _json(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except ValueError as error:
        raise BenchError(f"not JSON: {error}") from error


def _draw(raw: Any) -> Draw:
    if isinstance(raw, dict) and isinstance(schema := raw.get("schema"), int) and schema > SCHEMA:
        raise BenchError(f"its schema is {schema}, this version of gridbench reads up to {SCHEMA}")
    try:
        return _DRAW.validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"])) or "it"
        raise BenchError(f"not a draw of a search: {at}: {first['msg']}") from error
