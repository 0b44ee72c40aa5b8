"""What several commands share: options, opening things, words for durations."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import bench
from bench.cli.console import WholeWords
from bench.contract import BenchError
from bench.plan import Filter, Plan, make_plan
from bench.registry import Registry
from bench.suite import Suite

if TYPE_CHECKING:
    from bench.board.model import Board
    from bench.store.publish import Published
    from bench.store.records import Store

console = WholeWords(highlight=False)
errors = WholeWords(stderr=True, highlight=False)

SuiteOption = Annotated[
    Path | None, typer.Option("--suite", help="The suite file (default: bench.yaml here or the clone's).")
]
StoreOption = Annotated[
    str | None, typer.Option("--store", help="Folder or fsspec URL of the store (default: results/store).")
]
PluginOption = Annotated[
    list[str], typer.Option("--plugin", help="A Python file with methods of your own. May be repeated.")
]
ProfileOption = Annotated[str, typer.Option("-p", "--profile", help="smoke, tour, laptop or paper.")]
TrackOption = Annotated[list[str], typer.Option("-t", "--track", help="Only this track. May be repeated.")]
RowOption = Annotated[
    list[str], typer.Option("-m", "--row", help="Only rows that match this pattern. May be repeated.")
]
FilterOption = Annotated[
    str,
    typer.Option("-k", "--filter", help="Only some cells: 'scale=1|4,seed=0', or part of a task's name."),
]
PublishedOption = Annotated[
    bool, typer.Option("--published", help="From the committed records of the profile, not from the store.")
]
KeyArgument = Annotated[str, typer.Argument(help="Key of a cell, or enough of its beginning.")]


def home() -> Path:
    """Where results go: the clone's folder if bench runs from a clone, else the current one."""
    return bench.CLONE or Path.cwd()


def published_folder() -> Path:
    """Folder of published results: the clone's, else the one the wheel brought."""
    root = bench.CLONE or Path(sys.prefix) / "share" / "gridbench"
    return root / "results"


def open_store(url: str | None, default: str = "results/store") -> Store:
    """The store that was named, or the default one."""
    from bench.store.records import Store

    return Store.open(url or home() / default)


@dataclass(slots=True)
class Session:
    """A suite, the registry and a store, opened together."""

    suite: Suite
    registry: Registry
    store: Store

    @classmethod
    def open(
        cls, suite: Path | None, store: str | None, plugins: list[str], default: str = "results/store"
    ) -> Session:
        """Open all three; the registry reads the plugins."""
        return cls(Suite(suite), Registry(plugins=plugins), open_store(store, default))

    def plan(
        self, profile: str, tracks: list[str], rows: list[str], expression: str, of: Published | None = None
    ) -> Plan:
        """The plan that those options ask for, against the store or published records; says what could not be
        read.
        """
        wanted, store = Filter(rows, expression), of or self.store
        plan = make_plan(self.suite, self.registry, store, profile, tracks=tracks, wanted=wanted)
        for note in (*plan.notes, *store.problems):
            errors.print(f"[yellow]note[/] {escape(note)}", soft_wrap=True)
        return plan

    def boards(
        self,
        profile: str,
        tracks: list[str],
        rows: list[str] | None = None,
        expression: str = "",
        *,
        published: bool = False,
    ) -> list[Board]:
        """The leaderboards that those options ask for, of the store or of the profile's published records."""
        from bench.board.collect import boards
        from bench.store.publish import load_published

        of = load_published(published_folder() / profile) if published else None
        plan = self.plan(profile, tracks, rows or [], expression, of)
        return boards(plan, of or self.store, published_folder() / "published")


def escape(text: str) -> str:
    """Text that shows its square brackets instead of obeying them."""
    from rich.markup import escape as rich_escape

    return rich_escape(text)


def duration(seconds: float) -> str:
    """``4 s``, ``3.2 min``, ``11.0 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str, option: str) -> float:
    """Seconds of ``90s``, ``10m``, ``2.5h``, ``1d``; `BenchError` for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text.strip())
    if not match:
        raise BenchError(f"{option} {text}: expected a number with s, m, h or d, such as 10m")
    return float(match[1]) * _UNITS[match[2]]
