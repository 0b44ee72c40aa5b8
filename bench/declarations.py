"""Reads what tracks and methods declare: settings, the stages of a task, the search spaces of a row.

It is below suite and plan: the process of a cell needs neither to find what it was asked to run, build or
read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from bench.contract import Method, Space, Stage, Task, Track, digest
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
    for name, default in _defaults(type(values)).items():
        if (value := getattr(values, name)) != default:
            out[name] = list(value) if isinstance(value, tuple) else value
    return out


def _defaults(cls: type[Any]) -> dict[str, Any]:
    """The fields of a settings dataclass with their defaults."""
    return {
        f.name: f.default_factory() if f.default_factory is not MISSING else f.default for f in fields(cls)
    }


# ------------------------------------------------------------------------------------------- search spaces


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension of a row's search space: some of ``choices``, or a range ``low``..``high``.

    ``part``: ``hp`` for a hyper-parameter, ``run`` for a run setting of the track. ``log``: searched on a
    logarithmic scale. ``integer``: only whole numbers.
    """

    part: str
    name: str
    choices: tuple[Any, ...]
    low: float
    high: float
    log: bool
    integer: bool

    def __str__(self) -> str:
        return f"{self.part}.{self.name}"

    def extent(self) -> str:
        """What is searched, for a reader: ``lr from 0.0001 to 0.01 (log)``."""
        if self.choices:
            return f"{self.name} of {', '.join(map(str, self.choices))}"
        return f"{self.name} from {self.low:g} to {self.high:g}{' (log)' if self.log else ''}"

    def plain(self) -> dict[str, Any]:
        """The dimension as plain JSON values, by which two searches are told to be of the same space."""
        if self.choices:
            return {"choices": list(self.choices)}
        return {"low": self.low, "high": self.high, "log": self.log, "integer": self.integer}


def search_space(track: Track, method: Method, row: str) -> list[Dimension]:
    """What a search varies for a row: the hyper-parameters that are declared with a `Space` and that its
    variant does not set, and the run settings in ``run_spaces``. Empty if there is nothing to search.

    Raises:
        BenchError: a space that holds no value, or the space of a run setting that the track does not have.
    """
    variant = method.variants[row.partition("/")[2]] if "/" in row else {}
    declared = {**method.hp, **variant}
    where = f"{method.fn.__module__}: {method.id}"
    out = [
        _dimension(where, "hp", name, space, space.default)
        for name, space in declared.items()
        if isinstance(space, Space)
    ]
    settings = _defaults(track.Run)
    for name, space in method.run_spaces.items():
        if name not in settings:
            raise BenchError(
                f"{where}: run_spaces: {track.name} has no run setting {name!r}{nearest(name, settings)}"
            )
        out.append(_dimension(where, "run", name, space, settings[name]))
    return out


def plain_space(dimensions: Iterable[Dimension]) -> dict[str, Any]:
    """A search space as plain JSON values."""
    return {str(d): d.plain() for d in sorted(dimensions, key=str)}


def _dimension(where: str, part: str, name: str, space: Space, default: Any) -> Dimension:
    low, high = space.low, space.high
    if space.choices:
        return Dimension(part, name, tuple(space.choices), 0, 0, False, False)
    if low is None or high is None:
        raise BenchError(f"{where}: the space of {name} is {space}; expected choices, or low < high")
    integer = isinstance(default, int) and not isinstance(default, bool)
    return Dimension(part, name, (), low, high, space.log, integer)


# --------------------------------------------------------------------------------------------------- stages

#: (id of the track or of what a method declares its stages with, track, task) -> the stages declared there.
Declared = dict[tuple[int, str, str], tuple[Stage, ...]]


def declared_stages(
    track: Track, method: Method, task: Task, run: Any, seed: int, declared: Declared | None = None
) -> list[Stage]:
    """The stages that a cell of this track, method, task and seed may read, each once, inputs before their
    readers.

    Args:
        track: the track of the cell.
        method: the method of the cell.
        task: the task of the cell.
        run: the run settings of the track.
        seed: the seed of the cell, for stages that there is one of for each seed.
        declared: a cache for one plan. Declaring stages may read files and the metadata of packages, and one
            function often serves many methods.
    """
    out: dict[str, Stage] = {}

    def add(stage: Stage) -> None:
        for s in stage.stages:
            add(s)
        out.setdefault(stage.address, stage)

    for stage in _asked(track, method, task, run, {} if declared is None else declared):
        add(stage.of_seed(seed))
    return list(out.values())


def _asked(track: Track, method: Method, task: Task, run: Any, declared: Declared) -> list[Stage]:
    """What the track and the method declare, as they do."""
    found: list[Stage] = []
    for function, ask in ((track, track.stages), (method.stages, method.stages_of)):
        at = (id(function), track.name, task.name)
        if at not in declared:
            declared[at] = tuple(ask(task, run))
        found += declared[at]
    return found


def shard_key(stage: Stage, shard: int) -> str:
    """Key of the record of one shard of a stage."""
    return digest({"stage": stage.address, "shard": shard})


def shard_keys(stage: Stage) -> tuple[str, ...]:
    """Keys of the records of all shards of a stage."""
    return tuple(shard_key(stage, i) for i in range(stage.shards))


def shard_label(stage: Stage, shard: int) -> str:
    """Name of one shard for a reader: ``bank 2/3``, ``bank`` where there is only one, ``network, seed 0``."""
    seed = f", seed {stage.seed}" if stage.per_seed else ""
    return stage.name + seed + (f" {shard + 1}/{stage.shards}" if stage.shards > 1 else "")
