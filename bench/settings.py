"""Settings of a track (``Grid``, ``Run``) as dataclasses: from plain values, and back to what differs from
the defaults. Suite files and the processes of cells both read settings this way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from bench.errors import BenchError, nearest

T = TypeVar("T")


def settings_from(cls: type[T], values: Mapping[str, Any], where: Callable[..., str]) -> T:
    """A settings dataclass made from plain values.

    Args:
        cls: the dataclass.
        values: field name -> value; fields left out have their defaults.
        where: names the place of a key (``file:line: a.b.c``) for error messages.

    Raises:
        BenchError: a field that the dataclass does not have, or a value of the wrong type.
    """
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise BenchError(f"{where(key)}: unknown setting{nearest(str(key), known)}")
    try:
        return TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as e:
        first = e.errors()[0]
        raise BenchError(f"{where(*first['loc'])}: {first['msg']} (found {first['input']!r})") from e


def non_default(values: Any) -> dict[str, Any]:
    """Fields of a settings dataclass that differ from their defaults, as plain JSON values."""
    out = {}
    for f in fields(values):
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        if (value := getattr(values, f.name)) != default:
            out[f.name] = list(value) if isinstance(value, tuple) else value
    return out
