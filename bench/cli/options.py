"""The options that several commands take, each declared once, so that a flag means the same everywhere.

A command names the options that it takes in `takes` and is given their values as one `Options`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.board.search import Rule


class Select(StrEnum):
    """The rules that choose among the draws of a search."""

    default = "default"
    validation = "validation"
    oracle = "oracle"

    @property
    def rule(self) -> Rule:
        """The rule by its name."""
        return self.value


CELLS, RECORDS, RUNNING = "Which cells", "Which files and records", "How to run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The values of the shared options; an option that a command does not take has its default."""

    profile: Annotated[
        str,
        typer.Option(
            "-p", "--profile", metavar="PROFILE", rich_help_panel=CELLS,
            help="The profile of the suite: smoke, tour, laptop or paper.",
        ),
    ] = "laptop"  # fmt: skip
    track: Annotated[
        list[str],
        typer.Option(
            "-t", "--track", metavar="TRACK", rich_help_panel=CELLS,
            help="Only this track. May be repeated.",
        ),
    ] = field(default_factory=list)  # fmt: skip
    method: Annotated[
        list[str],
        typer.Option(
            "-m", "--method", metavar="ROW", rich_help_panel=CELLS,
            help="Only the row of exactly this name; 'x*' takes x and its variants, 'x/*' the variants alone."
            " May be repeated.",
        ),
    ] = field(default_factory=list)  # fmt: skip
    filter: Annotated[
        str,
        typer.Option(
            "-k", "--filter", metavar="FILTER", rich_help_panel=CELLS,
            help="Only the cells for which all conditions hold: 'scale=1|4,seed=0'; a condition without '='"
            " is a part of the task's name: 'icons|earth'.",
        ),
    ] = ""  # fmt: skip
    select: Annotated[
        Select,
        typer.Option(
            "--select", rich_help_panel=RECORDS,
            help="Which draw of a search counts (bench search): the default, the best on validation, or the"
            " best on the test data (oracle), which is an upper bound and no result.",
        ),
    ] = Select.default  # fmt: skip
    published: Annotated[
        bool,
        typer.Option(
            "--published", rich_help_panel=RECORDS,
            help="Read the published records (those in results/) alone, and not the store.",
        ),
    ] = False  # fmt: skip
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", rich_help_panel=RECORDS,
            help="Read the records of the store alone: published cells are not done, and not shown.",
        ),
    ] = False  # fmt: skip
    store: Annotated[
        str | None,
        typer.Option(
            "--store", metavar="URL", rich_help_panel=RECORDS,
            help="Folder or fsspec URL of the store (default: results/store).",
        ),
    ] = None  # fmt: skip
    suite: Annotated[
        Path | None,
        typer.Option(
            "--suite", metavar="FILE", rich_help_panel=RECORDS,
            help="The suite file (default: bench.yaml here, or the clone's).",
        ),
    ] = None  # fmt: skip
    plugin: Annotated[
        list[str],
        typer.Option(
            "--plugin", metavar="FILE", rich_help_panel=RECORDS,
            help="A Python file of your own that declares methods, a track, or pictures and tables of boards."
            " May be repeated.",
        ),
    ] = field(default_factory=list)  # fmt: skip
    local: Annotated[
        bool,
        typer.Option(
            "--local", rich_help_panel=RUNNING, help="Run without Ray: threads of this process run cells."
        ),
    ] = False
    cpus: Annotated[
        int | None,
        typer.Option(
            "--cpus", min=1, metavar="N", rich_help_panel=RUNNING,
            help="Use so many processors (default: all that this process may use).",
        ),
    ] = None  # fmt: skip

    def __post_init__(self) -> None:
        """Refuse the two options of which each leaves out what the other one reads."""
        if self.published and self.fresh:
            raise BenchError(
                "--published reads the published records alone and --fresh none of them; give one of the two"
            )

    def words(self) -> list[str]:
        """The options that say which cells, files and records, as they would be typed after a command that
        takes them; files by their whole paths.
        """
        out = ["-p", self.profile]
        for flag, values in (("-t", self.track), ("-m", self.method)):
            out += [word for value in values for word in (flag, value)]
        out += ["-k", self.filter] if self.filter else []
        out += ["--fresh"] if self.fresh else []
        out += ["--store", self.store] if self.store else []
        out += ["--suite", str(self.suite.resolve())] if self.suite else []
        return out + [word for p in self.plugin for word in ("--plugin", str(Path(p).resolve()))]


#: What every shared option is declared as: name of the field -> its annotation.
DECLARED: Mapping[str, Any] = get_type_hints(Options, include_extras=True)
_DEFAULTS = {
    f.name: f.default_factory() if f.default_factory is not MISSING else f.default for f in fields(Options)
}


def takes(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Declare which shared options a command takes, by the names of the fields of `Options`.

    The command itself takes an `Options` as its first argument, then the arguments and options of its own.
    """

    def declare(command: Callable[..., None]) -> Callable[..., None]:
        _, *own = inspect.signature(command, eval_str=True).parameters.values()
        shared = [
            inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS[n], annotation=DECLARED[n])
            for n in names
        ]

        @functools.wraps(command)
        def call(**given: Any) -> None:
            options = Options(**{n: given.pop(n) for n in names})
            command(options, **given)

        parameters = [*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *shared]
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in parameters}
        return call

    return declare
