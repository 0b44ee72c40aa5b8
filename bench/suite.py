"""``bench.yaml``: what to run, never how it works. Every mistake in it names the file, the line, the key and
the nearest valid key."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, field_validator

import bench
from bench.contract import BenchError, Needs, Track
from bench.errors import nearest
from bench.registry import Registry

T = TypeVar("T")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProfileSpec(_Model):
    """A profile: how many seeds (0, 1, …) or which ones."""

    seeds: tuple[int, ...]

    @field_validator("seeds", mode="before")
    @classmethod
    def _count(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            if value < 1:
                raise ValueError("seeds must be 1 or more")
            return tuple(range(value))
        return value


class Ablations(_Model):
    """Rows that are run on some tasks only, last, and shown in a section of their own."""

    rows: tuple[str, ...]
    tasks: tuple[str, ...] = ("*",)


class RowsSpec(_Model):
    """Which rows a track runs. ``core`` left out: all that are registered and are no ablation."""

    core: tuple[str, ...] = ("*",)
    ablations: Ablations | None = None


class ProfileOfTrack(_Model):
    """A track's settings in one profile. ``hp`` and ``needs``: by row pattern. ``rows``: core rows of this
    profile, which then has no ablations. ``ranks_by``, ``ablations``: in place of the track's; a row that is
    an ablation of the track is core nowhere.
    """

    ranks_by: str | None = None
    ablations: Ablations | None = None
    grid: Mapping[str, Any] = {}
    run: Mapping[str, Any] = {}
    rows: tuple[str, ...] | None = None
    hp: Mapping[str, Mapping[str, Any]] = {}
    needs: Mapping[str, Mapping[str, float | None]] = {}


class TrackSpec(BaseModel):
    """One track: what ranks it, its rows, and a `ProfileOfTrack` a profile (as further keys)."""

    model_config = ConfigDict(extra="allow", frozen=True)
    ranks_by: str
    rows: RowsSpec = RowsSpec()
    __pydantic_extra__: dict[str, ProfileOfTrack]

    @property
    def profiles(self) -> dict[str, ProfileOfTrack]:
        """Profile name -> this track's settings in it."""
        return self.__pydantic_extra__


class _Spec(_Model):
    profiles: dict[str, ProfileSpec]
    tracks: dict[str, TrackSpec]


@dataclass(frozen=True, slots=True)
class TrackPlan:
    """One track of one profile, checked against the registry: all that the plan needs to enumerate it."""

    track: Track
    profile: str
    ranks_by: str
    seeds: tuple[int, ...]
    grid: Any
    run: Any
    core: tuple[str, ...]
    ablations: tuple[str, ...]
    ablation_tasks: tuple[str, ...]
    hp: Mapping[str, Mapping[str, Any]]
    needs: Mapping[str, Needs]


class _Lines:
    """Line of every key of a YAML file, by path; keys that came through ``<<`` keep the line where they
    stand.
    """

    def __init__(self, file: str, node: yaml.Node | None) -> None:
        self.file, self.at = file, dict[tuple[str, ...], int]()
        if node is not None:
            self._walk(node, ())

    def _walk(self, node: yaml.Node, path: tuple[str, ...], seen: frozenset[int] = frozenset()) -> None:
        self.at.setdefault(path, node.start_mark.line + 1)
        if id(node) in seen:
            return
        seen |= {id(node)}
        if isinstance(node, yaml.SequenceNode):
            for i, child in enumerate(node.value):
                self._walk(child, (*path, str(i)), seen)
        if not isinstance(node, yaml.MappingNode):
            return
        keys: set[str] = set()
        for key, child in node.value:
            name = str(key.value)
            if name == "<<":
                for merged in child.value if isinstance(child, yaml.SequenceNode) else [child]:
                    self._walk(merged, path, seen)
                continue
            if name in keys:
                raise BenchError(f"{self.file}:{key.start_mark.line + 1}: key {name!r} stands twice")
            keys.add(name)
            self.at[(*path, name)] = key.start_mark.line + 1
            self._walk(child, (*path, name), seen)

    def where(self, *path: Any) -> str:
        """``file:line: a.b.c``, with the line of the nearest enclosing key."""
        words = tuple(str(p) for p in path)
        at = next((self.at[words[:n]] for n in range(len(words), -1, -1) if words[:n] in self.at), 1)
        return f"{self.file}:{at}: {'.'.join(words)}"


def settings(cls: type[T], values: Mapping[str, Any], where: Callable[..., str]) -> T:
    """A settings dataclass from plain values; unknown keys and wrong types are `BenchError` at
    ``where(key)``.
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


def _like(default: Any, value: Any) -> Any:
    """A hyper-parameter's value as the type of its default; ValidationError if it is none. YAML reads 1e-3 as
    a word.
    """
    if isinstance(default, bool | str):
        return TypeAdapter(type(default)).validate_python(value, strict=True)
    if isinstance(default, int | float):
        as_number: TypeAdapter[Any] = TypeAdapter(int | float if isinstance(default, int) else float)
        return as_number.validate_python(value)
    return value


def changed(values: Any) -> dict[str, Any]:
    """Fields of a settings dataclass that differ from their default, as plain JSON values."""
    out = {}
    for f in fields(values):
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        if (value := getattr(values, f.name)) != default:
            out[f.name] = list(value) if isinstance(value, tuple) else value
    return out


def find(given: str | Path | None = None) -> Path:
    """The suite file: the one named, else ``bench.yaml`` here, else the clone's, else the installed one."""
    if given is not None:
        if not Path(given).is_file():
            raise BenchError(f"--suite {given}: no such file")
        return Path(given)
    here = [Path("bench.yaml"), *(Path(p).parent / "bench.yaml" for p in bench.__path__[:1])]
    installed = Path(sys.prefix) / "share" / "gridbench" / "bench.yaml"
    for path in (*here, installed):
        if path.is_file():
            return path
    raise BenchError(f"no bench.yaml here nor at {installed}; name one with --suite FILE")


class Suite:
    """A read and checked ``bench.yaml``."""

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = find(path)
        text = self.path.read_text(encoding="utf-8")
        try:
            self.lines = _Lines(str(self.path), yaml.compose(text, Loader=yaml.SafeLoader))
            values = yaml.safe_load(text) or {}
        except yaml.YAMLError as e:
            mark = getattr(e, "problem_mark", None)
            at = f":{mark.line + 1}" if mark else ""
            raise BenchError(f"{self.path}{at}: not YAML: {getattr(e, 'problem', e)}") from e
        if isinstance(values, dict):  # x-…: a place for YAML anchors
            values = {k: v for k, v in values.items() if not str(k).startswith("x-")}
        try:
            self.spec = _Spec.model_validate(values)
        except ValidationError as e:
            raise BenchError("\n".join(self._say(err) for err in e.errors())) from e
        for name, track in self.spec.tracks.items():
            for profile in track.profiles:
                self._known_profile(profile, self.lines.where("tracks", name, profile) + ": ")

    def _say(self, error: Any) -> str:
        loc = tuple(str(x) for x in error["loc"])
        where, parent = self.lines.where(*loc), _model_at(loc[:-1])
        scalar_as_profile = parent is TrackSpec and loc[-1] not in TrackSpec.model_fields
        if error["type"] == "extra_forbidden" or scalar_as_profile:
            known = list(parent.model_fields) if parent else []
            profiles = ("profiles, e.g. laptop",) if scalar_as_profile else ()
            return f"{where}: unknown key{nearest(loc[-1], (*known, *profiles))}"
        found = "" if error["type"] == "missing" else f" (found {error['input']!r})"
        return f"{where}: {error['msg']}{found}"

    def _known_profile(self, profile: str, where: str = "") -> None:
        if profile not in self.profile_names():
            raise BenchError(f"{where}no profile {profile!r}{nearest(profile, self.profile_names())}")

    def profile_names(self) -> list[str]:
        """Profiles of this file, and ``smoke``, which every track brings itself."""
        return [*self.spec.profiles, *(() if "smoke" in self.spec.profiles else ("smoke",))]

    def tracks(self, profile: str, registry: Registry, only: tuple[str, ...] = ()) -> list[TrackPlan]:
        """The tracks of a profile, checked; ``only``: names asked for (unknown ones are an error)."""
        self._known_profile(profile)
        for name in self.spec.tracks:
            if name not in registry.track_names():
                where = self.lines.where("tracks", name)
                raise BenchError(f"{where}: no such track{nearest(name, registry.track_names())}")
        brought = [n for n in registry.track_names() if n not in self.spec.tracks]
        for name in only:
            if name not in (*self.spec.tracks, *brought):
                raise BenchError(f"no track {name!r}{nearest(name, (*self.spec.tracks, *brought))}")
        names = [n for n in (*self.spec.tracks, *brought) if not only or n in only]
        planned = [p for n in names if (p := self._track(n, profile, registry)) is not None]
        if only and not planned:
            has = sorted({p for n in only if n in self.spec.tracks for p in self.spec.tracks[n].profiles})
            raise BenchError(
                f"{self.path}: {', '.join(only)} has no profile {profile!r}; it has {', '.join(has)}"
            )
        return planned

    def _track(self, name: str, profile: str, registry: Registry) -> TrackPlan | None:
        track = registry.track(name)
        quality = [m.name for m in track.metrics if m.kind == "quality"]
        spec = self.spec.tracks.get(name, TrackSpec.model_validate({"ranks_by": quality[0]}))
        mine = spec.profiles.get(profile)
        ranks_by = (mine and mine.ranks_by) or spec.ranks_by
        if ranks_by not in quality:
            of = (profile,) if mine and mine.ranks_by else ()
            where = self.lines.where("tracks", name, *of, "ranks_by")
            raise BenchError(f"{where}: {ranks_by!r} is no quality metric{nearest(ranks_by, quality)}")
        if mine is None:
            if profile != "smoke":
                return None
            grid, run = track.smoke()
            mine = ProfileOfTrack()
            seeds: tuple[int, ...] = (0,)
            ablation_tasks: tuple[str, ...] = ("*",)  # the smoke task is the track's own: no pattern names it
        else:
            at = partial(self.lines.where, "tracks", name, profile)
            grid = settings(track.Grid, mine.grid, partial(at, "grid"))
            run = settings(track.Run, mine.run, partial(at, "run"))
            seeds = self.spec.profiles[profile].seeds
            ablations_spec = mine.ablations or spec.rows.ablations
            ablation_tasks = ablations_spec.tasks if ablations_spec else ()
        core, ablations = self._rows(name, profile, spec, mine, registry)
        return TrackPlan(
            track=track,
            profile=profile,
            ranks_by=ranks_by,
            seeds=seeds,
            grid=grid,
            run=run,
            core=core,
            ablations=ablations,
            ablation_tasks=ablation_tasks,
            hp=self._hp(name, profile, mine, registry),
            needs=self._needs(name, profile, mine, registry),
        )

    def _rows(
        self, name: str, profile: str, spec: TrackSpec, mine: ProfileOfTrack, registry: Registry
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Core rows and ablations of a profile: only rows that the suite's patterns select, plugins' too. The
        profile ``smoke`` of a suite that does not list it has all rows: it is where methods are checked.
        """
        at = self.lines.where("tracks", name, "rows") + ": "
        of_track = registry.match(name, spec.rows.ablations.rows, at) if spec.rows.ablations else []
        extra = of_track
        if mine.ablations is not None:
            here = self.lines.where("tracks", name, profile, "ablations") + ": "
            extra = registry.match(name, mine.ablations.rows, here)
        if profile not in spec.profiles:
            wanted = list(registry.rows(name))
        elif mine.rows is None:
            wanted = registry.match(name, spec.rows.core, at)
        else:
            wanted = registry.match(name, mine.rows, self.lines.where("tracks", name, profile, "rows") + ": ")
        core = dict.fromkeys(r for r in wanted if r not in {*of_track, *extra})
        return tuple(core), tuple(extra) if mine.rows is None else ()

    def _hp(
        self, name: str, profile: str, mine: ProfileOfTrack, registry: Registry
    ) -> dict[str, dict[str, Any]]:
        out: dict[str, dict[str, Any]] = {}
        for pattern, values in mine.hp.items():
            where = self.lines.where("tracks", name, profile, "hp", pattern)
            for row in registry.match(name, [pattern], where + ": "):
                method = registry.row(name, row).method
                mine_now = out.setdefault(row, {})
                for key, value in values.items():
                    at = self.lines.where("tracks", name, profile, "hp", pattern, key)
                    if key not in method.hp:
                        near = nearest(str(key), method.hp)
                        raise BenchError(f"{at}: {row} has no such hyper-parameter{near}")
                    try:
                        mine_now[key] = _like(method.hp_of(row)[key], value)
                    except ValidationError as e:
                        raise BenchError(f"{at}: {e.errors()[0]['msg']} (found {value!r})") from e
        return out

    def _needs(self, name: str, profile: str, mine: ProfileOfTrack, registry: Registry) -> dict[str, Needs]:
        out: dict[str, Needs] = {}
        for pattern, values in mine.needs.items():
            where = partial(self.lines.where, "tracks", name, profile, "needs", pattern)
            for row in registry.match(name, [pattern], where() + ": "):
                base = out.get(row, registry.row(name, row).method.needs)
                now = {f.name: getattr(base, f.name) for f in fields(Needs)}
                out[row] = settings(Needs, {**now, **values}, where)
        return out


def _model_at(loc: tuple[str, ...]) -> type[BaseModel] | None:
    """The model behind a location of the file; None where a value stands."""
    match loc:
        case ():
            return _Spec
        case ("profiles", _):
            return ProfileSpec
        case ("tracks", _):
            return TrackSpec
        case ("tracks", _, "rows"):
            return RowsSpec
        case ("tracks", _, "rows", "ablations"):
            return Ablations
        case ("tracks", _, _):
            return ProfileOfTrack
    return None
