"""``bench.yaml``, the suite file: what to run, never how it works.

`Suite` is the parsed file. `resolve` holds it against the registry and makes a `TrackPlan` of each track.
Every mistake in the file is a `BenchError` that names the file, the line, the key and the nearest valid key.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Len, Lt
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    Strict,
    TypeAdapter,
    ValidationError,
)

import bench
from bench.contract import BenchError, Needs, Track
from bench.declarations import settings_from
from bench.declared import need_problem, plain_problem
from bench.errors import nearest
from bench.registry import Registry
from bench.suite.yaml_file import Lines, read


class _Model(BaseModel):
    """A part of the file: unknown keys are errors, and values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _no_truth(value: Any) -> Any:
    """A value that is neither true nor false, which pydantic would take for a number."""
    if isinstance(value, bool):
        raise ValueError("Input should be a number")
    return value


def _counted(value: Any) -> Any:
    """Seeds 0, 1, … of a number of them; a list stays as it is."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= MOST_SEEDS:
            raise ValueError(f"seeds must be 1 or more, and at most {MOST_SEEDS:,}")
        return tuple(range(value))
    return value


def _different(seeds: tuple[int, ...]) -> tuple[int, ...]:
    """Seeds that are different: the same one twice would count for two in every interval."""
    if len(set(seeds)) < len(seeds):
        again = next(s for i, s in enumerate(seeds) if s in seeds[:i])
        raise ValueError(f"seed {again} stands there twice")
    return seeds


#: The most seeds of a row: a larger number is a slip, and no plan could hold it.
MOST_SEEDS = 10_000
#: What all random generators take for a seed.
Seed = Annotated[int, Ge(0), Lt(2**31), Strict()]
Seeds = Annotated[
    tuple[Seed, ...],
    BeforeValidator(_counted),
    Len(min_length=1, max_length=MOST_SEEDS),
    AfterValidator(_different),
]


class ProfileSpec(_Model):
    """A profile: the number of seeds (0, 1, …), or a list of them."""

    seeds: Seeds


class Ablations(_Model):
    """Rows that run after all others, on the tasks that match ``tasks``, and have a section of their own."""

    rows: tuple[str, ...]
    tasks: tuple[str, ...] = ("*",)


class RowsSpec(_Model):
    """Which rows a track runs. Without ``core`` these are all registered rows that are no ablations."""

    core: tuple[str, ...] = ("*",)
    ablations: Ablations | None = None


class CostSpec(_Model):
    """How long a cell is expected to take where no cell of its kind has run: ``steps`` × ``step_s`` +
    ``fixed_s`` seconds on that hardware, at most ``within`` times more or less.

    Without ``steps`` they are those of the task's recipe. ``why``: where the figures come from.
    """

    step_s: float = Field(gt=0)
    steps: int | None = Field(default=None, ge=0)
    fixed_s: float = Field(default=0.0, ge=0)
    within: float = Field(ge=1)
    hardware: str
    why: str


class ProfileOfTrack(_Model):
    """The settings of a track in one profile.

    ``hp``, ``needs``, ``seeds`` and ``cost`` are given by row pattern; of several patterns that match a row
    the last one counts. A row that no pattern of ``seeds`` matches has the seeds of the profile. ``rows`` are
    the core rows of this profile, which then has no ablations. ``ranks_by`` and ``ablations`` replace those
    of the track; a row that is an ablation of the track is core in no profile.
    """

    ranks_by: str | None = None
    ablations: Ablations | None = None
    grid: Mapping[str, Any] = {}
    run: Mapping[str, Any] = {}
    rows: tuple[str, ...] | None = None
    hp: Mapping[str, Mapping[str, Any]] = {}
    needs: Mapping[str, Mapping[str, Annotated[float | str | None, BeforeValidator(_no_truth)]]] = {}
    seeds: Mapping[str, Seeds] = {}
    cost: Mapping[str, CostSpec] = {}


class TrackSpec(BaseModel):
    """One track: the metric that ranks it, its rows and, as further keys, a `ProfileOfTrack` for each
    profile.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    ranks_by: str
    rows: RowsSpec = RowsSpec()
    __pydantic_extra__: dict[str, ProfileOfTrack]

    @property
    def profiles(self) -> dict[str, ProfileOfTrack]:
        """Profile name -> this track's settings in it."""
        return self.__pydantic_extra__


@dataclass(frozen=True, slots=True)
class TrackPlan:
    """One track of one profile, checked against the registry: all that the plan needs to enumerate its cells.

    ``seeds`` are those of the profile, ``row_seeds`` those of rows that have others (`seeds_of`). ``core``
    and ``ablations`` are names of rows, ``ablation_tasks`` patterns of the tasks on which ablations run.
    ``hp`` and ``needs`` hold, by row, what the suite changes; ``cost`` what it declares of a cell's time.
    """

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
    row_seeds: Mapping[str, tuple[int, ...]]
    cost: Mapping[str, CostSpec] = field(default_factory=dict)

    def seeds_of(self, row: str) -> tuple[int, ...]:
        """The seeds that are planned for a row."""
        return self.row_seeds.get(row, self.seeds)

    @property
    def every_seed(self) -> tuple[int, ...]:
        """Every seed that some row has: those of the profile, then the others in ascending order."""
        others = {s for r in (*self.core, *self.ablations) for s in self.seeds_of(r)} - set(self.seeds)
        return (*self.seeds, *sorted(others))


def _like(default: Any, value: Any) -> Any:
    """The value of a hyper-parameter, converted to the type of its default (YAML reads ``1e-3`` as a string).

    Raises:
        ValidationError: it cannot be converted.
    """
    if isinstance(default, bool | str):
        return TypeAdapter(type(default)).validate_python(value, strict=True)
    if isinstance(default, int | float):
        kind: Any = int | float if isinstance(default, int) else float
        as_number: TypeAdapter[Any] = TypeAdapter(Annotated[kind, BeforeValidator(_no_truth)])
        return as_number.validate_python(value)
    return value


def find(given: str | Path | None = None) -> Path:
    """The suite file: the one given, else ``bench.yaml`` in the current folder, in the clone or
    as installed.
    """
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


class Suite(_Model):
    """A parsed suite file. Its tracks and rows are not yet checked against the registry:
    `resolve` does that.
    """

    profiles: dict[str, ProfileSpec]
    tracks: dict[str, TrackSpec]
    _path: Path = PrivateAttr()
    _lines: Lines = PrivateAttr()

    @classmethod
    def read(cls, given: str | Path | None = None) -> Suite:
        """Read and check a suite file: the one given, else the one that `find` finds.

        Raises:
            BenchError: there is no file, it is not YAML, or it holds an unknown key, a value of the wrong
                type or an unknown profile.
        """
        path = find(given)
        values, lines = read(path)
        if isinstance(values, dict):  # x-…: a place for YAML anchors
            values = {k: v for k, v in values.items() if not str(k).startswith("x-")}
        try:
            suite = cls.model_validate(values)
        except ValidationError as e:
            raise BenchError("\n".join(_mistake(err, lines) for err in e.errors())) from e
        suite._path, suite._lines = path, lines
        for name, track in suite.tracks.items():
            for profile in track.profiles:
                suite.check_profile(profile, suite.where("tracks", name, profile) + ": ")
        return suite

    @property
    def path(self) -> Path:
        """The file that was read."""
        return self._path

    def where(self, *path: Any) -> str:
        """``file:line: a.b.c`` of a key, for error messages."""
        return self._lines.where(*path)

    def check_profile(self, profile: str, where: str = "") -> None:
        """Raise `BenchError` unless the profile exists. ``where`` starts the message."""
        if profile not in self.profile_names():
            raise BenchError(f"{where}no profile {profile!r}{nearest(profile, self.profile_names())}")

    def profile_names(self) -> list[str]:
        """Profiles of this file, and ``smoke``, which every track defines itself."""
        return [*self.profiles, *(() if "smoke" in self.profiles else ("smoke",))]


def _mistake(error: Any, lines: Lines) -> str:
    """One error of pydantic as a sentence that names the place and the nearest valid key."""
    loc = tuple(str(x) for x in error["loc"])
    where, parent = lines.where(*loc), _model_at(loc[:-1])
    scalar_as_profile = parent is TrackSpec and loc[-1] not in TrackSpec.model_fields
    if error["type"] == "extra_forbidden" or scalar_as_profile:
        known = list(parent.model_fields) if parent else []
        profiles = ("profiles, e.g. laptop",) if scalar_as_profile else ()
        return f"{where}: unknown key{nearest(loc[-1], (*known, *profiles))}"
    found = "" if error["type"] == "missing" else f" (found {error['input']!r})"
    return f"{where}: {error['msg']}{found}"


def _model_at(loc: tuple[str, ...]) -> type[BaseModel] | None:
    """The model of a location in the file; None where a plain value is expected."""
    match loc:
        case ():
            return Suite
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
        case ("tracks", _, _, "cost", _):
            return CostSpec
    return None


# ------------------------------------------------------------------------------------- against the registry


def resolve(suite: Suite, registry: Registry, profile: str, only: Sequence[str] = ()) -> list[TrackPlan]:
    """The tracks of a profile with everything that the suite says of them, checked against the registry.

    Tracks of plugins that the suite does not name come last; they have the profile ``smoke`` alone.

    Args:
        suite: the parsed file.
        registry: the tracks and rows that there are.
        profile: name of the profile.
        only: names of tracks, if not all are wanted.

    Raises:
        BenchError: an unknown profile, track, row, metric, setting or hyper-parameter.
    """
    suite.check_profile(profile)
    for name in suite.tracks:
        if name not in registry.track_names():
            where = suite.where("tracks", name)
            raise BenchError(f"{where}: no such track{nearest(name, registry.track_names())}")
    of_plugins = [n for n in registry.track_names() if n not in suite.tracks]
    for name in only:
        if name not in (*suite.tracks, *of_plugins):
            raise BenchError(f"no track {name!r}{nearest(name, (*suite.tracks, *of_plugins))}")
    names = [n for n in (*suite.tracks, *of_plugins) if not only or n in only]
    planned = [p for n in names if (p := _resolve_track(suite, registry, n, profile)) is not None]
    if only and not planned:
        has = sorted({"smoke", *(p for n in only if n in suite.tracks for p in suite.tracks[n].profiles)})
        raise BenchError(
            f"{suite.path}: {', '.join(only)} has no profile {profile!r}; it has {', '.join(has)}"
            f" (profiles of a track are keys below tracks.{only[0]} there)"
        )
    return planned


def _resolve_track(suite: Suite, registry: Registry, name: str, profile: str) -> TrackPlan | None:
    """One track of a profile; None if the suite has no such profile of it."""
    track = registry.track(name)
    quality = [m.name for m in track.metrics if m.kind == "quality"]
    spec = suite.tracks.get(name, TrackSpec.model_validate({"ranks_by": quality[0]}))
    settings = spec.profiles.get(profile)
    ranks_by = (settings and settings.ranks_by) or spec.ranks_by
    if ranks_by not in quality:
        of = (profile,) if settings and settings.ranks_by else ()
        where = suite.where("tracks", name, *of, "ranks_by")
        raise BenchError(f"{where}: {ranks_by!r} is no quality metric{nearest(ranks_by, quality)}")
    if settings is None:
        if profile != "smoke":
            return None
        grid, run = track.smoke()
        settings = ProfileOfTrack()
        seeds: tuple[int, ...] = (0,)
        ablation_tasks: tuple[str, ...] = ("*",)  # the smoke task is the track's own: no pattern names it
    else:
        at = partial(suite.where, "tracks", name, profile)
        grid = settings_from(track.Grid, settings.grid, partial(at, "grid"))
        _check_different(grid, partial(at, "grid"))
        run = settings_from(track.Run, settings.run, partial(at, "run"))
        seeds = suite.profiles[profile].seeds
        ablations_spec = settings.ablations or spec.rows.ablations
        ablation_tasks = ablations_spec.tasks if ablations_spec else ()
    core, ablations = _rows(suite, registry, name, profile, spec, settings)
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
        hp=_hyper_parameters(suite, registry, name, profile, settings),
        needs=_needs(suite, registry, name, profile, settings),
        row_seeds=_row_seeds(suite, registry, name, profile, settings),
        cost=_costs(suite, registry, name, profile, settings),
    )


def _check_different(grid: Any, where: Callable[..., str]) -> None:
    """Raise `BenchError` if a list of the grid names something twice: it would be two tasks of one name."""
    for f in fields(grid):
        given = getattr(grid, f.name)
        again = [v for i, v in enumerate(given) if v in given[:i]] if isinstance(given, tuple) else []
        if again:
            raise BenchError(f"{where(f.name)}: {again[0]!r} stands there twice")


def _rows(
    suite: Suite, registry: Registry, name: str, profile: str, spec: TrackSpec, settings: ProfileOfTrack
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Core rows and ablations of a profile: only rows that the suite's patterns select, those of plugins too.

    The profile ``smoke`` of a suite that does not list it has all rows: it is where methods are checked.
    """
    at = suite.where("tracks", name, "rows") + ": "
    of_track = registry.match(name, spec.rows.ablations.rows, at) if spec.rows.ablations else []
    extra = of_track
    if settings.ablations is not None:
        here = suite.where("tracks", name, profile, "ablations") + ": "
        extra = registry.match(name, settings.ablations.rows, here)
    if profile not in spec.profiles:
        wanted = list(registry.rows(name))
    elif settings.rows is None:
        wanted = registry.match(name, spec.rows.core, at)
    else:
        wanted = registry.match(name, settings.rows, suite.where("tracks", name, profile, "rows") + ": ")
    core = dict.fromkeys(r for r in wanted if r not in {*of_track, *extra})
    return tuple(core), tuple(extra) if settings.rows is None else ()


def _hyper_parameters(
    suite: Suite, registry: Registry, name: str, profile: str, settings: ProfileOfTrack
) -> dict[str, dict[str, Any]]:
    """Row -> the hyper-parameters that the suite changes, as values of the types of their defaults."""
    out: dict[str, dict[str, Any]] = {}
    for pattern, values in settings.hp.items():
        where = suite.where("tracks", name, profile, "hp", pattern)
        for row in registry.match(name, [pattern], where + ": "):
            method = registry.row(name, row).method
            changed = out.setdefault(row, {})
            for key, value in values.items():
                at = suite.where("tracks", name, profile, "hp", pattern, key)
                if key not in method.hp:
                    near = nearest(str(key), method.hp)
                    raise BenchError(f"{at}: {row} has no such hyper-parameter{near}")
                try:
                    changed[key] = _like(method.hp_of(row)[key], value)
                except ValidationError as e:
                    raise BenchError(f"{at}: {e.errors()[0]['msg']} (found {value!r})") from e
                if why := plain_problem(changed[key], str(key)):
                    raise BenchError(f"{at}: {why}")
    return out


def _needs(
    suite: Suite, registry: Registry, name: str, profile: str, settings: ProfileOfTrack
) -> dict[str, Needs]:
    """Row -> its limits and resources, where the suite says other than the method declares."""
    out: dict[str, Needs] = {}
    for pattern, values in settings.needs.items():
        where = partial(suite.where, "tracks", name, profile, "needs", pattern)
        for row in registry.match(name, [pattern], where() + ": "):
            base = out.get(row, registry.row(name, row).method.needs)
            now = {f.name: getattr(base, f.name) for f in fields(Needs)}
            made = settings_from(Needs, {**now, **values}, where)
            for limit in values:
                if why := need_problem(limit, getattr(made, limit)):
                    raise BenchError(f"{where(limit)}: {limit} {why}")
            out[row] = made
    return out


def _row_seeds(
    suite: Suite, registry: Registry, name: str, profile: str, settings: ProfileOfTrack
) -> dict[str, tuple[int, ...]]:
    """Row -> its seeds, where the track's profile says other than the profile."""
    out: dict[str, tuple[int, ...]] = {}
    for pattern, seeds in settings.seeds.items():
        where = suite.where("tracks", name, profile, "seeds", pattern)
        out |= dict.fromkeys(registry.match(name, [pattern], where + ": "), seeds)
    return out


def _costs(
    suite: Suite, registry: Registry, name: str, profile: str, settings: ProfileOfTrack
) -> dict[str, CostSpec]:
    """Row -> what the suite declares of the time of its cells."""
    out: dict[str, CostSpec] = {}
    for pattern, cost in settings.cost.items():
        where = suite.where("tracks", name, profile, "cost", pattern)
        out |= dict.fromkeys(registry.match(name, [pattern], where + ": "), cost)
    return out
