"""What preparing a data set has in common, whatever its layout: progress, manifests, what is not prepared."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from bench.errors import BenchError

M = TypeVar("M")

#: (what is being done, units done, units in all).
Progress = Callable[[str, int, int], None]


class Versioned(Protocol):
    """A manifest that states the version of the rules by which the data were prepared."""

    @property
    def version(self) -> int:
        """Version of those rules."""


def silent(what: str, done: int, total: int) -> None:
    """Report no progress."""


def read_manifest(path: Path, kind: type[M]) -> M:
    """A manifest, a dataclass that was written as JSON; read once for as long as the file does not change.

    Raises:
        FileNotFoundError: there is none.
        BenchError: it is damaged.
    """
    try:
        return kind(**_values(path, path.stat().st_mtime_ns))
    except (ValueError, TypeError, AttributeError) as e:
        raise BenchError(f"{path}: no manifest of this version: {e}") from e


@lru_cache(maxsize=128)
def _values(path: Path, changed: int) -> dict[str, Any]:
    # ``changed`` is part of the cache's key only: a plan asks once a task, the file is read once.
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def unprepared(
    name: str, manifest: Callable[[], Versioned], version: int, otherwise: Callable[[], str]
) -> str | None:
    """Why a data set has to be prepared, or prepared again, and the command that does it, or None.

    Args:
        name: of the data set.
        manifest: reads its manifest.
        version: of today's rules.
        otherwise: says what there is if there is no manifest.
    """
    command = f"bench data prepare {name}"
    try:
        made_under = manifest().version
    except FileNotFoundError:
        return f"{name}: {otherwise()}: {command}"
    except BenchError as e:
        return f"{e}: {command} --again"
    if made_under != version:
        return f"{name}: prepared under rules {made_under}, today's are {version}: {command}"
    return None
