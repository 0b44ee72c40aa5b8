"""What several commands share: options, opening things, words for durations."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.console import WholeWords
from bench.contract import BenchError
from bench.plan import Filter, Plan, make_plan
from bench.registry import Registry
from bench.store.committed.layers import Layered, committed_records, home, results_folder
from bench.store.committed.reading import load_committed
from bench.store.records import Store
from bench.suite import Suite

if TYPE_CHECKING:
    from bench.board.model import Board
    from bench.store.committed.reading import CommittedRecords

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
    bool, typer.Option("--published", help="From the published records of the profile alone.")
]
FreshOption = Annotated[
    bool, typer.Option("--fresh", help="From the store alone: published cells are not done, and not shown.")
]
KeyArgument = Annotated[str, typer.Argument(help="Key of a cell, or enough of its beginning.")]


def open_store(url: str | None, default: str = "results/store") -> Store:
    """The store that was named, or the default one."""
    return Store.open(url or home() / default)


@dataclass(slots=True)
class Session:
    """A suite, the registry and a store, opened together. ``fresh``: published records do not count."""

    suite: Suite
    registry: Registry
    store: Store
    fresh: bool = False
    _under: dict[tuple[str, ...], CommittedRecords | None] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        suite: Path | None,
        store: str | None,
        plugins: list[str],
        default: str = "results/store",
        *,
        fresh: bool = False,
    ) -> Session:
        """Open all three; the registry reads the plugins."""
        return cls(Suite.read(suite), Registry(plugins=plugins), open_store(store, default), fresh)

    def layered(self, profile: str, tracks: list[str]) -> Store | Layered:
        """The store above the published records of a profile's tracks (all, if none is named); the store
        alone where there are none, or if it is fresh.
        """
        names = [t for t in self.suite.tracks if t in tracks or not tracks]
        at = (profile, *names)
        if at not in self._under:
            self._under[at] = None if self.fresh else committed_records(results_folder(), profile, names)
        under = self._under[at]
        return self.store if under is None else Layered(self.store, under)

    def plan(
        self,
        profile: str,
        tracks: list[str],
        rows: list[str],
        expression: str,
        of: Store | Layered | CommittedRecords | None = None,
    ) -> Plan:
        """The plan that those options ask for, against the store above the profile's published records, or
        against ``of``; says what could not be read.
        """
        wanted, of = Filter(rows, expression), of or self.layered(profile, tracks)
        plan = make_plan(self.suite, self.registry, of, profile, tracks=tracks, wanted=wanted)
        for note in (*plan.notes, *of.problems):
            errors.print(f"[yellow]note[/] {escape(note)}", soft_wrap=True)
        return plan

    def source(
        self, profile: str, tracks: list[str], *, alone: bool = False
    ) -> Store | Layered | CommittedRecords:
        """What boards are made from; ``alone``: the profile's published records and nothing else."""
        if alone and self.fresh:
            raise BenchError(
                "--published: published records alone; --fresh: none of them; give one of the two"
            )
        return load_committed(results_folder() / profile) if alone else self.layered(profile, tracks)

    def boards(
        self,
        profile: str,
        tracks: list[str],
        rows: list[str] | None = None,
        expression: str = "",
        *,
        published: bool = False,
    ) -> list[Board]:
        """The leaderboards that those options ask for; ``published``: of the published records alone."""
        from bench.board.collect import boards

        of = self.source(profile, tracks, alone=published)
        plan = self.plan(profile, tracks, rows or [], expression, of)
        return boards(plan, of, results_folder() / "published")


def everything(store: Store, *, fresh: bool = False) -> Store | Layered:
    """A store above the published records of all profiles, for commands that are given a key and no profile;
    the store alone if ``fresh``, or where nothing is published.
    """
    under = None if fresh else committed_records(results_folder(), None)
    return store if under is None else Layered(store, under)


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
