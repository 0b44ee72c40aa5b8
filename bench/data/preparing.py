"""What preparing a data set has in common, whatever its layout: telling progress, reading a manifest back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from bench.contract import BenchError

M = TypeVar("M")

#: (what is being done, units done, units in all).
Progress = Callable[[str, int, int], None]


def silent(what: str, done: int, total: int) -> None:
    """No progress."""


def read_manifest(path: Path, kind: type[M]) -> M:
    """A manifest, a dataclass that was written as JSON.

    Raises:
        FileNotFoundError: there is none.
        BenchError: it is damaged.
    """
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except (ValueError, TypeError, AttributeError) as e:
        raise BenchError(f"{path}: no manifest of this version: {e}") from e
