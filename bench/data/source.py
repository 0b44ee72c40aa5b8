"""What every data set answers, whether it comes inside a package or the user provides it.

A module of `bench.data` that reads data sets has a function ``data_source(name)`` that returns one of these;
the catalogue (`bench.data.catalog`) says which module reads which data set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench import packages
from bench.data.preparing import Progress, silent
from bench.errors import BenchError


class Manifest(Protocol):
    """What there is of a data set, by its reader's count."""

    @property
    def complete(self) -> bool:
        """Whether it is the whole published data set, as far as that is known."""

    def summary(self) -> str:
        """What there is, in a line or two that begin with the data set's name."""


class DataSource(Protocol):
    """One data set as a plan, a cell and ``bench data`` see it."""

    def missing(self) -> str | None:
        """Why the data set cannot be read here and the command that helps, or None. Cheap: for each plan."""

    def fingerprint(self) -> str:
        """Identity of the data by their content; only if the data set is not missing. Cheap, too."""

    def prepare(
        self, progress: Progress = silent, *, partial: bool = False, again: bool = False
    ) -> Manifest | None:
        """Make the data ready to be read, once; None if there is nothing to make ready.

        Args:
            progress: is called with what is being done, and how far it is.
            partial: accept a data set that is not the whole published one.
            again: prepare the data although it has been done.

        Raises:
            BenchError: the data are not here, not the published ones, or damaged; names file and place.
        """

    def verify(self, progress: Progress = silent) -> Manifest:
        """Read what is on disk and compare it with what was installed or prepared.

        Raises:
            BenchError: the data set is missing, or its files are not what they were.
        """


@dataclass(frozen=True, slots=True)
class Contents:
    """The manifest of a data set that needs no preparation."""

    name: str
    contents: str
    fingerprint: str
    complete: bool = True

    def summary(self) -> str:
        """See `Manifest.summary`."""
        return f"{self.name}: here, {self.fingerprint}: {self.contents}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """A data set that comes inside installed packages or inside this one: there is nothing to prepare.

    Attributes:
        name: its name in the catalogue.
        why_missing: answers `DataSource.missing`.
        identity: answers `DataSource.fingerprint`.
        needs: distribution -> the files and folders of it that are read.
        sheets: the sheets of pictures inside this package that are read, as (folder, name).
    """

    name: str
    why_missing: Callable[[], str | None]
    identity: Callable[[], str]
    needs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sheets: Sequence[tuple[Path, str]] = ()

    def missing(self) -> str | None:
        """See `DataSource.missing`."""
        return self.why_missing()

    def fingerprint(self) -> str:
        """See `DataSource.fingerprint`."""
        return self.identity()

    def prepare(self, progress: Progress = silent, *, partial: bool = False, again: bool = False) -> None:
        """Do nothing, since a package needs no preparation; see `DataSource.prepare`."""

    def verify(self, progress: Progress = silent) -> Contents:
        """Compare every file with the digest that pip recorded, and every sheet with the one in its index."""
        from bench.data.drawings import sheets

        if why := self.missing():
            raise BenchError(why)
        pictures = sum(len(sheets.read(folder, name)[0]) for folder, name in self.sheets)
        files = packages.verify(self.needs, lambda done, n: progress(f"{self.name}: files", done, n))
        found = [f"{pictures:,} pictures as their index says"] * bool(self.sheets)
        found += [f"{files:,} file{'s' * (files != 1)} as installed"] * bool(self.needs)
        return Contents(self.name, ", ".join(found), self.fingerprint())
