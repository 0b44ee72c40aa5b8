"""Reads what tracks and methods declare for a task: settings and stages.

It is below suite and plan: the process of a cell needs neither to find what it was asked to run, build or
read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from bench.contract import Method, Stage, Task, Track, digest
from bench.declared import plain_problem
from bench.errors import BenchError, nearest

T = TypeVar("T")


def settings_from(cls: type[T], values: Mapping[str, Any], where: Callable[..., str]) -> T:
    """A settings dataclass made from plain values.

    Args:
        cls: the dataclass.
        values: field name -> value; fields left out have their defaults.
        where: names the place of a key (``file:line: a.b.c``) for error messages.

    Raises:
        BenchError: a field that the dataclass does not have, a value of the wrong type or out of its range,
            or a number that is not finite.
    """
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    for key, value in values.items():
        if key not in known:
            raise BenchError(f"{where(key)}: unknown setting{nearest(str(key), known)}")
        # pydantic takes true for 1, which YAML reads out of `yes` and `on`.
        given = value if isinstance(value, list | tuple) else [value]
        if _numeric(known[key].default) and any(isinstance(v, bool) for v in given):
            raise BenchError(f"{where(key)}: Input should be a number (found {value!r})")
    try:
        made = TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as e:
        first = e.errors()[0]
        raise BenchError(f"{where(*first['loc'])}: {first['msg']} (found {first['input']!r})") from e
    for key in values:
        if why := plain_problem(getattr(made, key), key):
            raise BenchError(f"{where(key)}: {why}")
    return made


def _numeric(default: Any) -> bool:
    """Whether the default of a setting is a number, or several of them."""
    if isinstance(default, tuple):
        return bool(default) and all(map(_numeric, default))
    return isinstance(default, int | float) and not isinstance(default, bool)


def non_default(values: Any) -> dict[str, Any]:
    """Fields of a settings dataclass that differ from their defaults, as plain JSON values."""
    out = {}
    for f in fields(values):
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        if (value := getattr(values, f.name)) != default:
            out[f.name] = list(value) if isinstance(value, tuple) else value
    return out


# --------------------------------------------------------------------------------------------------- stages

#: (id of the track or of what a method declares its stages with, track, task) -> the stages declared there.
Declared = dict[tuple[int, str, str], tuple[Stage, ...]]


def declared_stages(
    track: Track, method: Method, task: Task, run: Any, declared: Declared | None = None
) -> list[Stage]:
    """The stages that a cell of this track, method and task may read, each once, inputs before their readers.

    Args:
        track: the track of the cell.
        method: the method of the cell.
        task: the task of the cell.
        run: the run settings of the track.
        declared: a cache for one plan. Declaring stages may read files and the metadata of packages, and one
            function often serves many methods.
    """
    out: dict[str, Stage] = {}
    declared = {} if declared is None else declared

    def add(stage: Stage) -> None:
        for s in stage.stages:
            add(s)
        out.setdefault(stage.address, stage)

    for function, ask in ((track, track.stages), (method.stages, method.stages_of)):
        at = (id(function), track.name, task.name)
        if at not in declared:
            declared[at] = tuple(ask(task, run))
        for stage in declared[at]:
            add(stage)
    return list(out.values())


def shard_key(stage: Stage, shard: int) -> str:
    """Key of the record of one shard of a stage."""
    return digest({"stage": stage.address, "shard": shard})


def shard_keys(stage: Stage) -> tuple[str, ...]:
    """Keys of the records of all shards of a stage."""
    return tuple(shard_key(stage, i) for i in range(stage.shards))


def shard_label(stage: Stage, shard: int) -> str:
    """Name of one shard for a reader: ``bank 2/3``, or ``bank`` where there is only one."""
    return f"{stage.name} {shard + 1}/{stage.shards}" if stage.shards > 1 else stage.name
