"""A working store above the published records: cells that somebody ran and published are done here too.

``results/<profile>/<track>.jsonl`` lies under whatever store is used. It is read and never written: what runs
here is recorded in the store alone, and counts from then on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import bench
from bench.contract import BenchError, Record, Stage, Units
from bench.store.artifacts import Artifacts, unpack_units, unpack_view
from bench.store.summaries import RecordSummary, match_key
from bench.store.committed.reading import CommittedRecords, Sidecars
from bench.store.records import Store

if TYPE_CHECKING:
    import numpy as np


def home() -> Path:
    """Where results go: the clone's folder if bench runs from a clone, else the current one."""
    return bench.CLONE or Path.cwd()


def results_folder() -> Path:
    """Folder of published results: the clone's, else the one the wheel brought."""
    root = bench.CLONE or Path(sys.prefix) / "share" / "gridbench"
    return root / "results"


def store_name(url: str) -> str:
    """How a store is called where others may read it: by its path from here on, else by its last name alone
    (a path tells who works where); an object store by its bucket and prefix, without a password.
    """
    if "://" in url:
        protocol, _, rest = url.partition("://")
        place, slash, prefix = rest.partition("/")
        return f"{protocol}://{place.rpartition('@')[2]}{slash}{prefix}"
    path = Path(url).absolute()
    return path.relative_to(home()).as_posix() if path.is_relative_to(home()) else path.name


def committed_records(folder: Path, profile: str | None, tracks: Sequence[str] = ()) -> CommittedRecords | None:
    """The published records below ``folder``; None if there are none.

    Args:
        folder: as `results_folder` says.
        profile: whose; None: of every profile.
        tracks: of these alone, if any are named; reading fewer files is quicker.
    """
    names = [f"{t}.jsonl" for t in tracks] or ["*.jsonl"]
    files = sorted(f for name in names for f in folder.glob(f"{profile or '*'}/{name}"))
    return CommittedRecords(files, folder) if files else None


def prevails(own: RecordSummary, under: RecordSummary) -> bool:
    """Whether a cell's own record counts, and not the published one: it does unless it says nothing of the
    cell (its machine was lost, or a stage that it reads failed) where the published one does.
    """
    return own.result or not under.result


class Layered:
    """A working store above published records, read as one: `bench.store.summaries.Readable`.

    Of each head ``layer`` says where it is from. ``store`` is the working store, the only part that is ever
    written; ``under`` are the published records.
    """

    def __init__(self, store: Store, under: CommittedRecords) -> None:
        self.store, self.under = store, under
        self.url = store.url
        self.artifacts = LayeredArtifacts(store.artifacts, under.artifacts)
        self._heads: dict[str, RecordSummary] | None = None

    @property
    def problems(self) -> list[str]:
        """What could not be read, of both layers."""
        return [*self.store.problems, *self.under.problems]

    def summaries(self) -> dict[str, RecordSummary]:
        """The record that counts of each key, the store's own ones as they are now.

        Raises:
            StoreError: the store cannot be reached.
        """
        merged = self.under.summaries()
        for key, own in self.store.summaries().items():
            if (under := merged.get(key)) is None or prevails(own, under):
                merged[key] = own
        self._heads = merged
        return dict(merged)

    def read(self, key: str) -> Record | None:
        """The whole record of a key as of the last `heads`, None if there is none.

        Raises:
            StoreError: the store cannot be reached.
        """
        heads = self.summaries() if self._heads is None else self._heads
        if (head := heads.get(key)) is None:
            return None
        return self.under.read(key) if head.layer else self.store.read(key)

    def match(self, start: str) -> str:
        """The one key that starts with ``start``; `BenchError` with the nearest if there is none or
        several.
        """
        return match_key(self.summaries(), start, f"{self.url} or the published records")

    def pairs(self) -> Iterator[tuple[RecordSummary, RecordSummary]]:
        """(own, published) of each cell that both layers have with a result, as of the last `heads`."""
        under = self.under.summaries()
        for own in (self._heads or {}).values():
            other = under.get(own.key) if not own.layer and own.status == "ok" else None
            if other is not None and other.status == "ok":
                yield own, other


class LayeredArtifacts:
    """What the records of both layers name. Stages are the store's alone: none is published."""

    def __init__(self, own: Artifacts, under: Sidecars) -> None:
        self._own, self._under = own, under

    def get(self, name: str) -> bytes:
        """The bytes of that name, verified. A name is that of its content, so it does not matter whose copy
        it is: the published one lies on this machine, the store may be far away.

        Raises:
            BenchError: neither has it whole.
        """
        try:
            return self._under.get(name)
        except BenchError:  # absent there, or damaged
            return self._own.get(name)

    def units(self, name: str) -> Units:
        """Per-example scores."""
        return unpack_units(self.get(name), name)

    def view(self, name: str) -> np.ndarray:
        """A picture, uint8 (height, width, 3)."""
        return unpack_view(self.get(name), name)

    def stage_digest(self, stage: Stage) -> str | None:
        """Digest of a stage that the store has whole, see `bench.store.stages.Stages.stage_digest`."""
        return self._own.stage_digest(stage)

    def stage_path(self, stage: Stage) -> Path | None:
        """Folder of a stage that the store has, see `bench.store.stages.Stages.stage_path`."""
        return self._own.stage_path(stage)

    def has_shard(self, address: str, shard: int) -> bool:
        """Whether the store has that shard of a stage."""
        return self._own.has_shard(address, shard)
