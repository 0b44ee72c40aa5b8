"""`bench data add`: data of the user's own become a data set, and tasks in a suite file of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.console import console, escape
from bench.contract import BenchError, Task
from bench.data.brought import entries
from bench.data.catalog import CATALOG
from bench.errors import nearest
from bench.registry import Registry
from bench.suite import Suite, resolve
from bench.suite.adding import Addition, with_tasks

if TYPE_CHECKING:
    from bench.cli.options import Options
    from bench.data.brought.entries import Entry, Section
    from bench.data.preparing import Progress

_ADD = "bench data add"


def _option(flag: str, metavar: str, text: str) -> typer.models.OptionInfo:
    made: typer.models.OptionInfo = typer.Option(flag, metavar=metavar, rich_help_panel=_ADD, help=text)
    return made


ImagesOption = Annotated[
    Path | None, _option("--images", "DIR", "Pictures, DIR/<class>/<image> or DIR/<domain>/<class>/<image>.")
]
TableOption = Annotated[
    Path | None, _option("--table", "FILE", "A table with a binary label: .csv, .tsv or .parquet.")
]
FieldsOption = Annotated[
    Path | None,
    _option("--fields", "FILE", "Fields over time: .nc or .zarr, with time and two axes of space."),
]
DomainsOption = Annotated[
    str,
    _option("--domains", "NAMES", "Of pictures the folders that are domains: a,b,c. Of a table a column."),
]
LabelOption = Annotated[str, _option("--label", "COLUMN", "Table: the column of the label.")]
PositiveOption = Annotated[
    str, _option("--positive", "VALUE", "Table: which label is positive, or from which number on: '>=4'.")
]
TimeOption = Annotated[
    str, _option("--time", "COLUMN", "Table: split by time, the oldest rows for training.")
]
GroupOption = Annotated[
    str, _option("--group", "COLUMN", "Table: rows with one value of this column come into one part.")
]
WithoutOption = Annotated[str, _option("--without", "COLUMNS", "Table: columns that are left out: a,b,c.")]
VariablesOption = Annotated[
    str, _option("--variables", "NAMES", "Fields: the variables, components of one field: u10,v10.")
]
SeedOption = Annotated[int, _option("--seed", "N", "Pictures, and tables split by no column: of the split.")]
PromptOption = Annotated[str, _option("--prompt", "TEXT", "Pictures: the prompt, with {} for a class.")]
NetworkOption = Annotated[
    str,
    _option("--network", "NAME", "Pictures: networks of the 'laptop', or of the 'paper' (CLIP, ResNet-50)."),
]
LicenceOption = Annotated[str, _option("--licence", "TEXT", "On which terms you have the data.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the command line says of a data set; the help of each option says what it is."""

    images: Path | None = None
    table: Path | None = None
    fields: Path | None = None
    domains: str = ""
    label: str = ""
    positive: str = ""
    time: str = ""
    group: str = ""
    without: str = ""
    variables: str = ""
    seed: int = 0
    prompt: str = ""
    network: str = "laptop"
    licence: str = ""

    def kind(self) -> entries.Kind:
        """What the data are.

        Raises:
            BenchError: nothing or two things are named, or an option of another kind is given.
        """
        named = [k for k in entries.MODULES if getattr(self, k) is not None]
        if len(named) != 1:
            raise BenchError("bench data add NAME: expected one of --images DIR, --table FILE, --fields FILE")
        (kind,) = named
        of = {
            "images": ("domains", "seed", "prompt", "network"),
            "table": ("domains", "label", "positive", "time", "group", "without", "seed"),
            "fields": ("variables",),
        }[kind]
        every = ("domains", "label", "positive", "time", "group", "without", "variables", "prompt")
        if strange := [o for o in every if getattr(self, o) and o not in of]:
            raise BenchError(f"--{strange[0]} says nothing of --{kind}; its options are --{', --'.join(of)}")
        if self.network not in ("laptop", "paper"):
            known = ("laptop", "paper")
            raise BenchError(
                f"--network {self.network}: expected laptop or paper{nearest(self.network, known)}"
            )
        return kind  # type: ignore[return-value]


def add(options: Options, name: str, given: Given, again: bool, progress: Progress) -> None:
    """Check the data, make an entry and write their tasks into a suite file; say what was made.

    Raises:
        BenchError: the name is taken, the data are not what they should be, or the file is not to be changed.
    """
    entries.check_name(name)
    kind, old = given.kind(), name in entries.names()
    if old and not again:
        raise BenchError(f"{name}: was added already, {entries.entry(name).path}: --again adds it anew")
    if name in CATALOG:
        raise BenchError(f"bench data add {name}: there is a data set of that name ({CATALOG[name].title})")
    made, lists = _made(kind, name, given, progress)
    registry = Registry(plugins=options.plugin)
    sections = _sections(registry, made, options.track)
    if not old:
        _check_free(registry, name, sections)
    path = options.suite or Path(f"{name}.yaml")
    text = with_tasks(path, {t: _addition(s) for t, s in sections.items()})
    entries.write(made, lists)
    path.write_text(text, encoding="utf-8")
    tasks = _tasks(registry, path, sections, name)
    console.print(escape(f"{name}: {made.found}"), soft_wrap=True)
    for track, of in tasks.items():
        console.print(escape(f"  {track}: {', '.join(t.name for t in of)}"), soft_wrap=True)
    suite = f"--suite {path}"
    console.print(
        escape(
            f"written to {path}; next: bench run -p quick {suite} (to see that it runs), bench run {suite},"
            f" bench board {suite}"
        ),
        soft_wrap=True,
    )


def _made(
    kind: entries.Kind, name: str, given: Given, progress: Progress
) -> tuple[Entry, Mapping[str, bytes]]:
    """The entry of data that were checked, and the lists that belong to it."""
    from bench.data.brought import fields, images, tables

    terms = given.licence or "not stated by who added it"
    domains = [d.strip() for d in given.domains.split(",") if d.strip()]
    if kind == "images":
        assert given.images is not None
        return images.add(
            name, given.images, domains, seed=given.seed, prompt=given.prompt, network=given.network,
            terms=terms, progress=progress,
        )  # fmt: skip
    if kind == "fields":
        assert given.fields is not None
        variables = [v.strip() for v in given.variables.split(",") if v.strip()]
        return fields.add(name, given.fields, variables, terms=terms, progress=progress)
    assert given.table is not None
    if not given.label:
        raise BenchError(f"--table {given.table}: which column is the label? --label COLUMN")
    asked = tables.Asked(
        label=given.label, positive=given.positive, domains=given.domains, time=given.time, group=given.group,
        without=tuple(c.strip() for c in given.without.split(",") if c.strip()), seed=given.seed,
    )  # fmt: skip
    return tables.add(name, given.table, asked, terms=terms, progress=progress)


def _sections(registry: Registry, made: Entry, only: list[str]) -> dict[str, Section]:
    """Track -> what a suite says of its tasks on the data; of those named alone, if some are.

    Raises:
        BenchError: a track that is named takes no data of that kind.
    """
    found: dict[str, Section] = {}
    for track in only or registry.track_names():
        registry.track(track)  # names the nearest one
        module = registry.brought(track)
        section = None if module is None else module.section(made)
        if section is not None:
            found[track] = section
        elif only:
            why = "with domains" if made.kind != "fields" and track == "multi_domain" else "of another kind"
            raise BenchError(
                f"-t {track}: no task of it is made of {made.kind} such as these; it takes data {why}"
            )
    return found


def _check_free(registry: Registry, name: str, sections: Mapping[str, Section]) -> None:
    """Refuse a name under which a track knows data of ours."""
    for track, section in sections.items():
        found = registry.track(track)
        try:
            found.tasks(found.Grid(**{k: tuple(v) for k, v in section.grid.items()}))
        except BenchError:
            continue
        raise BenchError(f"bench data add {name}: track {track} has data of that name: take another one")


def _addition(s: Section) -> Addition:
    of = {"rows": list(s.rows), "needs": {"*": dict(s.needs)}}
    profiles = {"quick": {**of, "run": dict(s.small)}, "laptop": {**of, "run": dict(s.run)}}
    return Addition(ranks_by=s.ranks_by, grid=s.grid, profiles=profiles)


def _tasks(
    registry: Registry, path: Path, sections: Mapping[str, Section], name: str
) -> dict[str, list[Task]]:
    """Track -> the tasks on the data, as a plan has them."""
    plans = resolve(Suite.read(path), registry, "laptop", list(sections))
    return {p.track.name: [t for t in p.track.tasks(p.grid) if t.brought == name] for p in plans}
