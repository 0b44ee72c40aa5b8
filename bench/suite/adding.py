"""Adds tasks to a suite file of the user's own, as `bench data add` does; never to ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench.errors import BenchError
from bench.suite.yaml_file import read

#: The first line of a file that is written here. In others, comments and anchors would be lost.
MARK = (
    "# Written by `bench data add`, which adds to it. Values may be changed; comments of yours are not kept."
)
_PROFILES: Mapping[str, Any] = {"quick": {"seeds": 1}, "laptop": {"seeds": 3}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """Tasks of one track: its metric, and for each profile the grid, the rows and the settings."""

    ranks_by: str
    grid: Mapping[str, Sequence[Any]]
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def with_tasks(path: Path, additions: Mapping[str, Addition]) -> str:
    """The text of a suite file with further tasks; the file itself stays as it is.

    Of a track that it has already only the grids get longer: what the user changed stays.

    Args:
        path: the file, which need not be there yet.
        additions: track -> its tasks.

    Raises:
        BenchError: the file was not written by this function, or is no suite.
    """
    values: Any = {"profiles": dict(_PROFILES), "tracks": {}}
    if path.exists():
        values, _ = read(path)
        if not path.read_text(encoding="utf-8-sig").startswith(MARK):
            lines = _text({"tracks": {t: _section(a) for t, a in additions.items()}})
            raise BenchError(
                f"{path}: was not written by `bench data add`, which would lose its comments: name another"
                f" file with --suite, or add to it yourself:\n{lines}"
            )
        if not isinstance(values, dict) or not isinstance(values.get("tracks"), dict):
            raise BenchError(f"{path}: no suite: expected the keys profiles and tracks")
    for track, addition in additions.items():
        known = values["tracks"].setdefault(track, _section(addition))
        for section in known.values():
            if isinstance(section, dict) and isinstance(section.get("grid"), dict):
                section["grid"] |= _longer(section["grid"], addition.grid)
    return f"{MARK}\n# Rows: without `rows` a profile runs all rows of the track.\n{_text(values)}"


def _longer(grid: Mapping[str, Any], more: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    return {k: list(dict.fromkeys([*grid.get(k, ()), *v])) for k, v in more.items()}


def _section(a: Addition) -> dict[str, Any]:
    grid = {k: list(v) for k, v in a.grid.items()}
    profiles = {p: {"grid": dict(grid), **of} for p, of in a.profiles.items()}
    return {"ranks_by": a.ranks_by, **profiles}


class _Plain(yaml.SafeDumper):
    """Writes equal lists out, in place of anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(values: Any) -> str:
    found: str = yaml.dump(
        values, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None
    )
    return found
