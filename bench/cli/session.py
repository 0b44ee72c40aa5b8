"""What a command works on: the suite, the registry of methods, and the records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.cli.console import errors, escape
from bench.cli.options import Options
from bench.errors import BenchError
from bench.plan import Filter, Plan, make_plan
from bench.registry import Registry
from bench.store.committed.layers import Layered, committed_records, home, results_folder
from bench.store.committed.reading import load_committed
from bench.store.records import Store
from bench.suite import Suite

if TYPE_CHECKING:
    from bench.board.model import Board
    from bench.store.committed.reading import CommittedRecords


@dataclass(slots=True)
class Session:
    """A suite, the registry and a store, opened together as the options of a command say."""

    options: Options
    suite: Suite
    registry: Registry
    store: Store
    _under: dict[tuple[str, ...], CommittedRecords | None] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    @classmethod
    def open(cls, options: Options, default: str = "results/store") -> Session:
        """Open all three; the registry reads the plugins. ``default``: the store if none is named."""
        return cls(
            options, Suite.read(options.suite), Registry(plugins=options.plugin), open_store(options, default)
        )

    def layered(self) -> Store | Layered:
        """The store above the published records of the profile's tracks (of all, if none is named). It is
        the store alone where nothing is published, and with ``--fresh``.
        """
        profile, tracks = self.options.profile, self.options.track
        names = [t for t in self.suite.tracks if t in tracks or not tracks]
        at = (profile, *names)
        if at not in self._under:
            self._under[at] = (
                None if self.options.fresh else committed_records(results_folder(), profile, names)
            )
        under = self._under[at]
        return self.store if under is None else Layered(self.store, under)

    def records(self) -> Store | Layered | CommittedRecords:
        """The records that the command reads: with ``--published`` the profile's published ones alone."""
        if self.options.published:
            return load_committed(results_folder() / self.options.profile)
        return self.layered()

    def plan(self, records: Store | Layered | CommittedRecords | None = None) -> Plan:
        """The plan of the cells that the options select, and a note of every file that could not be read.

        Args:
            records: what the cells' states are read from (default: `records`).
        """
        o = self.options
        records = self.records() if records is None else records
        wanted = Filter(o.method, o.filter)
        plan = make_plan(self.suite, self.registry, records, o.profile, tracks=o.track, wanted=wanted)
        self.tell((*plan.notes, *records.problems))
        return plan

    def tell(self, notes: Iterable[str]) -> None:
        """Print what the user should know, each note once."""
        for note in notes:
            if note not in self._told:
                self._told.add(note)
                errors.print(f"[yellow]note[/] {escape(note)}", soft_wrap=True)

    def boards(self) -> list[Board]:
        """The leaderboards of the cells that the options select."""
        from bench.board.collect import boards

        records = self.records()
        rule, figures = self.options.select.rule, results_folder() / "published"
        made = boards(self.plan(records), records, figures, self.registry, rule)
        self.tell(records.problems)  # of the draws of searches, which no plan reads
        return made


def open_store(options: Options, default: str = "results/store") -> Store:
    """The store that was named, or the default one."""
    if options.store is not None and not options.store.strip():
        raise BenchError("--store is empty: name a folder or an fsspec URL, or leave it out")
    return Store.open(home() / default if options.store is None else options.store)


def records_of_all_profiles(store: Store, options: Options) -> Store | Layered | CommittedRecords:
    """The records that a command reads which is given a key and no profile: the store above the published
    records of every profile; one of the two alone with ``--fresh``, ``--published``, or where nothing is
    published.
    """
    under = None if options.fresh else committed_records(results_folder(), None)
    if options.published:
        if under is None:
            raise BenchError(f"--published: there is no published record in {results_folder()}")
        return under
    return store if under is None else Layered(store, under)
