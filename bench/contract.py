"""The contract between tracks, methods and the engine: the types that every other module uses.

A track says what is asked and how an answer is scored; a method answers; a cell is one question put to
one method; a record is what became of it. This module imports nothing heavy, and of ours only the protocols
of what methods and tracks are handed and the checks of what is declared, so that a baseline file, a notebook
and a bare GPU machine can import it at no cost.
"""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from bench.claims import Better as Better
from bench.claims import Claim as Claim
from bench.claims import Metric as Metric
from bench.claims import PaperEffect as PaperEffect
from bench.declared import check_method, check_space, check_stage, copied
from bench.errors import AnswerError as AnswerError
from bench.errors import BenchError as BenchError
from bench.errors import nearest as nearest
from bench.protocols import Context as Context
from bench.protocols import Inputs as Inputs
from bench.protocols import StageContext as StageContext

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

Status = Literal["ok", "skipped", "failed", "oom", "timeout", "diverged", "lost"]
STATUSES: tuple[Status, ...] = ("ok", "skipped", "failed", "oom", "timeout", "diverged", "lost")
SYMBOLS: Mapping[str, str] = {
    "ok": "", "skipped": "–", "failed": "✗", "oom": "▣", "timeout": "◷", "diverged": "∞", "lost": "?",
    "unplanned": "·", "new": "…", "blocked": "⊘",
}  # fmt: skip


# --------------------------------------------------------------------------------------------- declarations


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One column of a board. A value of a sweep axis (scale, condition, held-out domain) is in ``params``.

    ``data``: the data set that it is measured on. Tasks of one data set share their test examples and a
    stream of random numbers, so the board takes them for one observation; "" stands for a data set of its
    own, and for the plain seed. ``group``: a part of the board with a mean of its own, such as near and far
    targets. ``brought``: the data set of the user's own that it is made of (`bench data add`), "" of ours.
    """

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    data: str = ""
    group: str = ""
    brought: str = ""

    def stream(self, seed: int) -> int:
        """The number, below 2**31, that random generators start from in a cell of this seed.

        It is the same for all rows, which are thereby paired, and another one for every data set: the
        variance of a row's mean is added up over data sets, which is right only where these are independent
        (`bench.stats`).
        """
        if not self.data:
            return seed
        return int(hashlib.sha256(f"{self.data}:{seed}".encode()).hexdigest()[:8], 16) >> 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Hard limits and resources of one cell; outside its key. ``gpu`` may be a fraction; ``minutes`` limits
    the run. ``accelerator``: the type of GPU as Ray names it, such as ``H100``; "": any.
    """

    cpu: float = 1
    gpu: float = 0
    gpu_mem_gb: float | None = None
    mem_gb: float = 4
    minutes: float = 10
    accelerator: str = ""

    def below(self, other: Needs) -> bool:
        """Whether any of the limits that end a cell (time, memory) is lower here than in ``other``."""
        mine, theirs = self.gpu_mem_gb or math.inf, other.gpu_mem_gb or math.inf
        return self.minutes < other.minutes or self.mem_gb < other.mem_gb or mine < theirs


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A hyper-parameter's search space, with the default that ranks when nobody searches.

    Either ``choices``, or a range ``low``..``high`` (``log``: searched on a logarithmic scale; integers if
    the default is an int). The space of a run setting has no default of its own: it is the suite's.
    """

    default: Any = None
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a default that lies outside."""
        check_space(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Work that several cells share, done once: pre-training, a bank, encoded latents.

    ``build(ctx)`` writes files into ``ctx.outdir`` (one folder a shard). Its address is the hash of what is
    declared here, so two tracks that declare the same stage share it. ``stages`` are the stages that it reads
    itself. ``per_seed``: cells of each ``seed`` read one of their own (`of_seed`), such as a network that
    some rows only sample; it is declared without a seed.
    """

    name: str
    build: Callable[[StageContext], None]
    params: Mapping[str, Any] = field(default_factory=dict)
    needs: Needs = Needs()
    version: int = 1
    shards: int = 1
    stages: tuple[Stage, ...] = ()
    per_seed: bool = False
    seed: int | None = None
    _address: str = field(default="", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what no address could be made of."""
        check_stage(self)

    @property
    def address(self) -> str:
        """16 hex digits over name, version, parameters, shards, seed and the addresses of the stages it
        reads; not over the module of ``build``, so that moved code makes no other stage.
        """
        if not self._address:  # once: a plan asks for it thousands of times
            object.__setattr__(self, "_address", self.address_by(self.build.__qualname__))
        return self._address

    def address_by(self, build: str) -> str:
        """The address if ``build`` were called so."""
        reads = [s.address for s in self.stages]
        declared = {"stage": self.name, "version": self.version, "params": dict(self.params), "build": build}
        if self.per_seed:
            declared["seed"] = self.seed
        return digest({**declared, "shards": self.shards, "reads": reads})

    def of_seed(self, seed: int) -> Stage:
        """The stage that a cell of this seed reads: another one for each if ``per_seed``, else itself."""
        return replace(self, seed=seed) if self.per_seed else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """A stage that is built already: its recipe is in the code, its one file travels with the package.

    ``file``: where it lies; a file of the same name is what ``stage.build`` writes. ``recipe``: the stage's
    address that the file says it was made by, "" if it does not say.
    """

    stage: Stage
    file: Path
    recipe: str = ""


@dataclass(frozen=True, slots=True)
class Censored:
    """A value known only to lie beyond ``bound`` (never reached within the budget). Averaged as a restricted
    mean.
    """

    bound: float


#: Squares a row of a view that shows examples.
SHEET_COLUMNS = 20


@dataclass(frozen=True, slots=True)
class Units:
    """Per-example scores whose mean is the metric, for tests paired by example.

    ``ids``: (n,) integers or strings, unique, the same for every method. ``values``: (n,) float. ``groups``:
    (n,) which examples are not independent (of one family, one user); None: each stands alone.
    """

    ids: np.ndarray
    values: np.ndarray
    groups: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """What `Track.score` returns.

    ``metrics``: one value a metric that the track declares, plus ``val_*`` (the same function on the labelled
    part of ``given``); ``None`` = does not apply (never for the ranking metric), NaN or infinite = the cell
    ``diverged``. ``series``: small named arrays (by lead, domain, step). ``units``: by metric name.
    ``views``: few small pictures, uint8 (height, width, 3), of squares, `SHEET_COLUMNS` a row: one named as
    an entry of ``units`` shows its examples in order, ``samples`` what was drawn, the same noise for all.
    """

    metrics: Mapping[str, float | Censored | None]
    series: Mapping[str, xr.DataArray] = field(default_factory=dict)
    units: Mapping[str, Units] = field(default_factory=dict)
    views: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An evaluation during training: the method's ``step``, ``seconds`` on its own clock, and the metrics.

    A method that wants its last step in the curve takes a snapshot there too: the final score is not one.
    """

    step: int
    seconds: float
    metrics: Mapping[str, float | Censored | None]


# -------------------------------------------------------------------------------------------------- tracks


class Track(ABC):
    """A family of tasks with one shape of data, one shape of answer, one set of metrics.

    ``Grid`` and ``Run`` are frozen dataclasses with a default for every field; ``bench.yaml`` fills them. The
    grid (which data sets, scales, domains) makes tasks and is never in a key; run settings that differ from
    their default are. ``version`` is raised when the meaning of a score changes.
    """

    name: ClassVar[str]
    title: ClassVar[str] = ""
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[Metric, ...]]
    reference: ClassVar[str]
    Grid: ClassVar[type]
    Run: ClassVar[type]
    split_per_seed: ClassVar[bool] = False
    #: Rows share what a seed draws and are compared seed by seed; with scores by example they always are.
    paired_seeds: ClassVar[bool] = False
    #: Constants of the track's own modules out of which `recipe` chooses; records hold what it chose.
    by_value: ClassVar[tuple[str, ...]] = ()
    #: Heavy libraries that the engine imports once, in its fork server, for all cells; without, every cell
    #: does (xarray: 0.5 s). Who trains names torch. No module of ours: it would count for every cell.
    preload: ClassVar[tuple[str, ...]] = ()
    #: Task parameters that make a curve on the board (x axis) and the ones that tell curves apart.
    axis: ClassVar[str | None] = None
    #: At most four contrasts that the board's first sentence is about, corrected among themselves alone.
    claims: ClassVar[tuple[Claim, ...]] = ()

    @abstractmethod
    def tasks(self, grid: Any) -> Sequence[Task]:
        """The columns that this grid asks for, in the order in which a reader wants them."""

    def stages(self, task: Task, run: Any) -> Sequence[Stage]:
        """Stages that every method on this task may use."""
        return ()

    def missing(self, task: Task, run: Any) -> str | None:
        """Why the data of this task is not here (which file, from where), or None. Cheap."""
        return None

    def fingerprint(self, task: Task, run: Any) -> str:
        """Identity of the data behind a task (digest or version); a change makes records stale. Cheap."""
        return ""

    @abstractmethod
    def load(self, task: Task, run: Any, inputs: Inputs) -> Any:
        """What a method is given. Never contains the answers on which it is ranked."""

    @abstractmethod
    def truth(self, task: Task, run: Any, inputs: Inputs) -> Any:
        """The ground truth of the task; opened only after the method returned, or inside ``ctx.snapshot``."""

    @abstractmethod
    def score(self, task: Task, answer: Any, truth: Any, history: Sequence[Snapshot]) -> Score:
        """Score an answer; raises `AnswerError` for one that is not of the shape asked."""

    @abstractmethod
    def smoke(self) -> tuple[Any, Any]:
        """The (grid, run) of the ``smoke`` profile: one small task on which any row takes at most 3 s."""

    def recipe(self, task: Task, run: Any) -> Mapping[str, Any]:
        """Settings of a task beside ``run``, as plain values; where they change, its records are stale."""
        return {}

    def kind(self, task: Task) -> str:
        """Tasks of one kind go the same way through the code; of each kind `accept --verify` runs some."""
        return task.name

    def embedded(self) -> Sequence[Embedded]:
        """Networks trained here whose weights travel with the package; ``bench artifacts`` builds them."""
        return ()

    def notes(self, tasks: Sequence[Task]) -> Mapping[str, str]:
        """What a reader of these tasks' board must know beside its rules: label -> a sentence or two."""
        return {}

    def ceilings(self, tasks: Sequence[Task]) -> Mapping[str, float]:
        """Task -> the best value of the ranking metric that is possible there, where it is known."""
        return {}

    def metric(self, name: str) -> Metric:
        """The declared metric of that name; ``val_x`` reads as ``x``, as a diagnostic."""
        for m in self.metrics:
            if m.name == name.removeprefix("val_"):
                if m.name == name:
                    return m
                return replace(m, name=name, kind="diagnostic")
        raise KeyError(name)


# ------------------------------------------------------------------------------------------------- methods

Fn = TypeVar("Fn", bound=Callable[..., Any])
Skip = Callable[[Task, Any, Mapping[str, Any]], str | None]
StagesOf = Sequence[Stage] | Callable[[Task, Any], Sequence[Stage]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What `method` declares: a function, its rows (one or several) and what they need."""

    track: str
    id: str
    name: str
    fn: Callable[[Any, Mapping[str, Any], Context], Any]
    hp: Mapping[str, Any]
    needs: Needs
    variants: Mapping[str, Mapping[str, Any]]
    run_spaces: Mapping[str, Space]
    base: bool
    version: int
    ref: str
    stages: StagesOf
    skip: Skip | None
    alias: Callable[[Task, Mapping[str, Any]], str | None] | None
    counterpart: str | None
    fallback: Mapping[str, Any]
    deterministic: bool
    missing: Callable[[Task, Any], str | None] | None

    def rows(self) -> tuple[str, ...]:
        """Names of its rows: ``id`` (unless ``base=False``) and ``id/variant``."""
        return (*((self.id,) if self.base else ()), *(f"{self.id}/{v}" for v in self.variants))

    def hp_of(self, row: str) -> dict[str, Any]:
        """Hyper-parameters of a row: defaults (of search spaces too) with the variant's changes."""
        variant = self.variants[row.partition("/")[2]] if "/" in row else {}
        return {k: v.default if isinstance(v, Space) else v for k, v in {**self.hp, **variant}.items()}

    def label(self, row: str) -> str:
        """What a board prints for a row."""
        variant = row.partition("/")[2]
        return f"{self.name} · {variant}" if variant else self.name

    def counterpart_of(self, row: str) -> str | None:
        """The row that this one is paired with on the board (``single/{variant}``), if it has one."""
        return self.counterpart.format(variant=row.partition("/")[2]) if self.counterpart else None

    def stages_of(self, task: Task, run: Any) -> Sequence[Stage]:
        """Stages that this method reads on that task."""
        return self.stages(task, run) if callable(self.stages) else self.stages


def method(
    track: str,
    *,
    name: str,
    id: str | None = None,
    hp: Mapping[str, Any] | None = None,
    needs: Needs | None = None,
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    run_spaces: Mapping[str, Space] | None = None,
    base: bool = True,
    version: int = 1,
    ref: str = "",
    stages: StagesOf = (),
    skip: Skip | None = None,
    alias: Callable[[Task, Mapping[str, Any]], str | None] | None = None,
    counterpart: str | None = None,
    fallback: Mapping[str, Any] | None = None,
    deterministic: bool = False,
    missing: Callable[[Task, Any], str | None] | None = None,
) -> Callable[[Fn], Fn]:
    """Declare ``fn(data, hp, ctx) -> answer`` as a method of a track. The function itself is left as it is.

    Args:
        track: name of the track it answers; decorate twice to answer two.
        name: what a board prints.
        id: what filters and records say (default: the function's name, ``_`` as ``-``).
        hp: hyper-parameters with their defaults; a value may be a `Space`. Unknown ones are an error
            everywhere.
        needs: limits and resources.
        variants: ``{variant: changed hp}``, each a row ``id/variant``.
        run_spaces: run settings of the track that a search varies for its rows beside hyper-parameters.
        base: whether the method without a variant is a row too.
        stages: the shared work it reads, or a function of (task, run) giving it.
        skip: (task, run, hp) -> reason why this row cannot do that task, or None.
        alias: (task, hp) -> the row whose cell this one is, by construction, or None.
        counterpart: the row that it is compared with one to one; ``{variant}`` is filled in.
        fallback: hyper-parameters tried once after ``oom`` (a smaller micro-batch); the record is marked.
        deterministic: the seed changes nothing: run once, and never counted as several seeds.
        missing: (task, run) -> which package this row lacks and the command that helps, or None. Cheap.
        version: raise it to make old records of this method new again.

    Raises:
        BenchError: something is declared that no key, filter or record could hold (`bench.declared`), or a
            variant or the fallback names a hyper-parameter that ``hp`` does not have.
    """

    def declare(fn: Fn) -> Fn:
        m = Method(
            track=track, id=fn.__name__.replace("_", "-") if id is None else id, name=name, fn=fn,
            hp=copied(hp), needs=Needs() if needs is None else needs, variants=copied(variants),
            run_spaces=copied(run_spaces), base=base, version=version, ref=ref, stages=stages, skip=skip,
            alias=alias, counterpart=counterpart, fallback=copied(fallback), deterministic=deterministic,
            missing=missing,
        )  # fmt: skip
        check_method(m)
        fn.__dict__.setdefault("__bench_methods__", []).append(m)
        return fn

    return declare


# --------------------------------------------------------------------------------------- cells and records


#: Made once: `json.dumps` makes one a call, and a plan asks for ten thousands of keys.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, tuples as lists; raises TypeError for what JSON cannot say."""
    return _CANONICAL.encode(value)


def digest(value: Any) -> str:
    """16 hex digits of the sha-256 of canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One (track, task, row, hyper-parameters, seed, run settings): the unit of work. ``run`` holds only what
    differs from the track's defaults, so that a new setting changes no old key."""

    track: str
    track_version: int
    task: str
    task_version: int
    row: str
    row_version: int
    hp: Mapping[str, Any]
    seed: int
    run: Mapping[str, Any]

    def declared(self) -> dict[str, Any]:
        """The cell as plain JSON values, in the order of its fields."""
        return {
            "track": self.track, "track_version": self.track_version, "task": self.task,
            "task_version": self.task_version, "row": self.row, "row_version": self.row_version,
            "hp": dict(self.hp), "seed": self.seed, "run": dict(self.run),
        }  # fmt: skip

    @property
    def key(self) -> str:
        """sha-256 of the canonical JSON of what was declared, 16 hex digits."""
        return digest(self.declared())

    def __str__(self) -> str:
        return f"{self.track} · {self.task} · {self.row} · seed {self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What became of one cell (or one shard of a stage), whatever became of it. Plain JSON values only.

    What each field holds is declared in `bench.store.shape`. ``curve``: what the method reported;
    ``history``: its snapshots. ``cost``: seconds (``_s``), MB, and ``shared_s`` by stage. ``provenance``:
    ``code`` (the artifact that lists its definitions), ``ran_with`` (settings by value), ``data``
    (fingerprint), ``stages`` (name -> digest), ``built_by`` (name -> code of a stage), ``packages``,
    ``commit``, ``dirty``, and ``accepted`` or ``verified`` if it was re-stamped. ``error``: ``type, message,
    last_lines``, or ``stage``, the failed one that a cell was skipped for. ``marks``: words a board must show
    (``fallback``, ``accepted: …``). ``generation``: one more than that of the record it replaces, or 0.
    """

    key: str
    kind: Literal["cell", "stage"]
    cell: Mapping[str, Any]
    status: Status
    reason: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    series: Mapping[str, Any] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    views: Mapping[str, str] = field(default_factory=dict)
    curve: Sequence[Mapping[str, float]] = ()
    history: Sequence[Mapping[str, Any]] = ()
    cost: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    where: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, Any] = field(default_factory=dict)
    log: Sequence[str] = ()
    marks: Sequence[str] = ()
    attempts: int = 1
    started: str = ""
    ended: str = ""
    generation: int = 0
    schema: int = 1
