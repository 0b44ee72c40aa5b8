"""Entries of the catalogue that a user made: what a data set of their own is, and where it lies."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from bench.contract import BenchError, digest
from bench.data.catalog import DataSet, root
from bench.data.preparing import Progress, read_manifest, silent
from bench.data.source import Contents, DataSource
from bench.errors import nearest

#: Raise when the meaning of an entry, a split or a column changes: what was added before is added again.
VERSION = 1
Kind = Literal["images", "table", "fields"]
#: Kind -> the module that reads it.
MODULES: Mapping[str, str] = {
    "images": "bench.data.brought.images",
    "table": "bench.data.brought.tables",
    "fields": "bench.data.brought.fields",
}
_FILE = "entry.json"
#: Limits and resources of a cell with the networks of the laptop, and with those of the papers.
SMALL: Mapping[str, float] = {"minutes": 60}
LARGE: Mapping[str, float] = {"gpu": 1, "mem_gb": 32, "minutes": 1440}
#: A name is a part of a task's name, of a file's and of a command line.
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One data set of the user's own.

    Attributes:
        version: of the rules by which it was read and split.
        name: its name.
        kind: what it is.
        place: where it lies: a whole path, or one below the folder of data sets.
        bytes: how many it has.
        digest: sha-256 of its content.
        terms: its licence, as the user states it.
        found: what there is, in words.
        settings: what the user said of it, and what follows from that and the data: columns, domains, seed.
    """

    version: int
    name: str
    kind: Kind
    place: str
    bytes: int
    digest: str
    terms: str
    found: str
    settings: Mapping[str, Any]

    @property
    def path(self) -> Path:
        """Where it lies."""
        return root() / self.place  # a whole path stays as it is

    @property
    def folder(self) -> Path:
        """The folder of the entry, and of lists that belong to it."""
        return home() / self.name

    def identity(self) -> str:
        """16 hexadecimal digits over content, settings and rules; the licence and the place are no part."""
        return digest([self.version, self.name, self.kind, self.digest, dict(self.settings)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What a suite says of tasks on a data set of the user's own.

    Attributes:
        ranks_by: the metric that ranks.
        grid: setting of the track's grid -> names of data sets there; () leaves the track's own out.
        rows: the reference, the paper's method and a baseline or two.
        run: run settings.
        small: run settings with which a cell takes seconds, to see that it runs.
        needs: limits and resources of a cell.
    """

    ranks_by: str
    grid: Mapping[str, Sequence[Any]]
    rows: tuple[str, ...]
    run: Mapping[str, Any] = field(default_factory=dict)
    small: Mapping[str, Any] = field(default_factory=dict)
    needs: Mapping[str, float] = field(default_factory=lambda: dict(SMALL))


def home() -> Path:
    """The folder of all entries."""
    return root() / "brought"


def names(kind: Kind | None = None) -> tuple[str, ...]:
    """The names of all data sets of the user's own, or of those of one kind, sorted."""
    found = sorted(p.parent.name for p in home().glob(f"*/{_FILE}"))
    return tuple(n for n in found if kind is None or entry(n).kind == kind)


def entry(name: str) -> Entry:
    """The entry of that name.

    Raises:
        BenchError: there is none (names the nearest), or it is damaged.
    """
    path = home() / name / _FILE
    try:
        return read_manifest(path, Entry)
    except FileNotFoundError as e:
        raise BenchError(f"{name}: no such data set in {home()}{nearest(name, names())}") from e


def check_name(name: str) -> None:
    """Raise `BenchError` unless this can be the name of a data set."""
    if not _NAME.fullmatch(name) or len(name) > 40:
        raise BenchError(
            f"bench data add {name!r}: expected a name of at most 40 small letters and digits, which begins"
            " with a letter and may have single hyphens between them, such as street-scenes"
        )


def placed(path: Path) -> str:
    """A path as an entry has it: below the folder of data sets without what differs between machines."""
    whole = Path(os.path.abspath(path))
    return whole.relative_to(root()).as_posix() if whole.is_relative_to(root()) else str(whole)


def write(made: Entry, lists: Mapping[str, bytes] = {}) -> None:
    """Write an entry after the lists that belong to it: without an entry there is no data set.

    Raises:
        BenchError: the folder cannot be written.
    """
    text = json.dumps(asdict(made), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        made.folder.mkdir(parents=True, exist_ok=True)
        for name, data in {**lists, _FILE: text.encode()}.items():
            new = made.folder / f".{name}.{os.getpid()}"
            new.write_bytes(data)
            new.replace(made.folder / name)
    except OSError as e:
        raise BenchError(f"{made.folder}: cannot be written: {e.strerror}") from e


def catalogue() -> dict[str, DataSet]:
    """The entries as the catalogue has them."""
    found = {}
    for name in names():
        e = entry(name)
        found[name] = DataSet(
            name=name, module=MODULES[e.kind], title=f"{e.kind} of your own: {e.found}", get=f"you: {e.path}",
            terms=e.terms, layout=f"sha-256 {e.digest}",
        )  # fmt: skip
    return found


def source(name: str) -> DataSource:
    """What answers whether a data set of the user's own is here, and which data it is."""
    answers: DataSource = import_module(MODULES[entry(name).kind]).data_source(name)
    return answers


@dataclass(frozen=True, slots=True)
class Brought:
    """A data set of the user's own as every command sees it.

    ``changed``: how what lies there now differs from what was added, as far as that is seen at once, or None.
    ``again``: reads all of it anew and gives the digest.
    """

    entry: Entry
    changed: Callable[[Entry], str | None]
    again: Callable[[Entry, Progress], str]

    def missing(self) -> str | None:
        """See `DataSource.missing`."""
        e = self.entry
        if e.version != VERSION:
            why = f"was added under rules {e.version}, today's are {VERSION}"
        elif not e.path.exists():
            why = f"nothing lies at {e.path}, from where it was added: put it back there, or"
        elif said := self.changed(e):
            why = f"{e.path} {said}"
        else:
            return None
        return f"{e.name}: {why}: {command(e)}"

    def fingerprint(self) -> str:
        """See `DataSource.fingerprint`."""
        return self.entry.identity()

    def prepare(self, progress: Progress = silent, *, partial: bool = False, again: bool = False) -> None:
        """Do nothing: it was made ready when it was added; see `DataSource.prepare`."""

    def verify(self, progress: Progress = silent) -> Contents:
        """See `DataSource.verify`."""
        if why := self.missing():
            raise BenchError(why)
        e = self.entry
        if self.again(e, progress) != e.digest:
            raise BenchError(f"{e.name}: {e.path} is not what was added: {command(e)}")
        return Contents(e.name, e.found, self.fingerprint())


def command(e: Entry) -> str:
    """The command that adds a data set again."""
    return (
        f"bench data add {e.name} --{e.kind} {e.path} --again, with the other options that it was added with"
    )
