"""A working store above the committed records: cells that somebody ran and published are done here too.

``results/<profile>/<track>.jsonl`` lies below the store in use. It is read and never written: cells that run
here are recorded in the store alone, and these records count from then on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import bench
from bench.contract import BenchError, Record, Stage, Units
from bench.store.artifacts import Artifacts, unpack_view
from bench.store.committed import shared_names
from bench.store.committed.reading import CommittedRecords, Sidecars
from bench.store.draws import Draw
from bench.store.records import Store
from bench.store.summaries import RecordSummary, match_key

if TYPE_CHECKING:
    import numpy as np


def home() -> Path:
    """The folder below which results are written: the clone if bench runs from one, else the
    current folder.
    """
    return bench.CLONE or Path.cwd()


def results_folder() -> Path:
    """The folder ``results`` with the committed records: that of the clone, else the one installed with the
    wheel.
    """
    root = bench.CLONE or Path(sys.prefix) / "share" / "gridbench"
    return root / "results"


def store_name(url: str) -> str:
    """The name of a store where others may read it: its path below `home`, else its last part alone (a whole
    path tells who works where); for an object store its bucket and prefix, without a password.
    """
    if "://" in url:
        protocol, _, rest = url.partition("://")
        place, slash, prefix = rest.partition("/")
        return f"{protocol}://{place.rpartition('@')[2]}{slash}{prefix}"
    path = Path(url).absolute()
    return path.relative_to(home()).as_posix() if path.is_relative_to(home()) else path.name


def committed_records(
    folder: Path, profile: str | None, tracks: Sequence[str] = ()
) -> CommittedRecords | None:
    """The committed records below ``folder``; None if there are none.

    Args:
        folder: see `results_folder`.
        profile: the profile; None: every profile.
        tracks: only these tracks, if any are named; reading fewer files is quicker.
    """
    names = [f"{t}.jsonl" for t in tracks] or ["*.jsonl"]
    files = sorted(f for name in names for f in folder.glob(f"{profile or '*'}/{name}"))
    return CommittedRecords(files, folder) if files else None


def prevails(own: RecordSummary, committed: RecordSummary) -> bool:
    """Whether a cell's own record counts and not the committed one. It does, unless it says nothing of the
    cell (its machine was lost, or a stage that it reads failed) and the committed one does.
    """
    return own.result or not committed.result


class Layered:
    """A working store above committed records, read as one (`bench.store.summaries.Readable`).

    `RecordSummary.layer` says from which of the two a record is. ``store`` is the working store, the only
    part that is ever written; ``committed`` are the committed records.
    """

    def __init__(self, store: Store, committed: CommittedRecords) -> None:
        self.store, self.committed = store, committed
        self.url = store.url
        self.artifacts = LayeredArtifacts(store.artifacts, committed.artifacts)
        self._summaries: dict[str, RecordSummary] | None = None

    @property
    def problems(self) -> list[str]:
        """What could not be read, of both layers."""
        return [*self.store.problems, *self.committed.problems]

    def summaries(self) -> dict[str, RecordSummary]:
        """Key -> summary of the record that counts; those of the store as they are now.

        Raises:
            StoreError: the store cannot be reached.
        """
        merged = self.committed.summaries()
        for key, own in self.store.summaries().items():
            if (other := merged.get(key)) is None or prevails(own, other):
                merged[key] = own
        self._summaries = merged
        return dict(merged)

    def read(self, key: str) -> Record | None:
        """The whole record of a key as of the last `summaries`, None if there is none.

        Raises:
            StoreError: the store cannot be reached.
        """
        known = self.summaries() if self._summaries is None else self._summaries
        if (found := known.get(key)) is None:
            return None
        return self.committed.read(key) if found.layer else self.store.read(key)

    def draws(self) -> list[Draw]:
        """The draws of searches in both layers, each once."""
        every = {(d.search, d.index): d for d in (*self.committed.draws(), *self.store.draws())}
        return sorted(every.values(), key=lambda d: (d.track, d.row, d.search, d.index))

    def match(self, start: str) -> str:
        """The one key that starts with ``start``; `BenchError` with the nearest if there is none or
        several.
        """
        return match_key(self.summaries(), start, f"{self.url} or the published records")

    def pairs(self) -> Iterator[tuple[RecordSummary, RecordSummary]]:
        """(own, published) of each cell that both layers have with a result, as of the last `summaries`."""
        committed = self.committed.summaries()
        for own in (self._summaries or {}).values():
            other = committed.get(own.key) if not own.layer and own.status == "ok" else None
            if other is not None and other.status == "ok":
                yield own, other


#: What a command reads records from.
Records = Store | Layered | CommittedRecords


class LayeredArtifacts:
    """The artifacts of both layers. Stages are in the store alone: none is committed."""

    def __init__(self, own: Artifacts, committed: Sidecars) -> None:
        self._own, self._committed = own, committed

    def get(self, name: str) -> bytes:
        """The bytes of that name, verified. Names are digests, so both copies are the same; the committed one
        is read first, since it lies on this machine and the store may not.

        Raises:
            BenchError: neither has it whole.
        """
        try:
            return self._committed.get(name)
        except BenchError:  # absent there, or damaged
            return self._own.get(name)

    def units(self, name: str) -> Units:
        """Per-example scores by the name that a record gives them."""
        return shared_names.join(self.get(name), name, self.get)

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
