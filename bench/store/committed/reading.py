"""Reads committed records, ``results/<profile>/<track>.jsonl``, as a store is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contract import BenchError, Record, Stage, Units
from bench.store.artifacts import check_artifact, check_content, unpack_view
from bench.store.committed import shared_names
from bench.store.draws import Draw, parse_many
from bench.store.encoding import NewerError, check_shape, parse, record_of
from bench.store.files import LocalFiles
from bench.store.shape import ShapeError
from bench.store.summaries import PUBLISHED, RecordSummary, StringTable, match_key, summary_of

if TYPE_CHECKING:
    import numpy as np


#: The end of the name of the file with the draws of the searches of a track.
DRAWS = ".draws.json"


class Sidecars:
    """The artifacts of committed records: those of ``<track>.jsonl`` are in the folder ``<track>/``."""

    def __init__(self, files: Sequence[Path], folder: Path) -> None:
        self._folders = [f.with_suffix("") for f in files]
        self._folder = folder

    def get(self, name: str) -> bytes:
        """The bytes of that name, verified; `BenchError` if they are absent or damaged."""
        check_artifact(name)
        for path in (f / name for f in self._folders):
            if path.is_file():
                return check_content(name, path.read_bytes())
        raise BenchError(f"no artifact {name} beside the records in {self._folder}")

    def units(self, name: str) -> Units:
        """Per-example scores by the name that a record gives them."""
        return shared_names.join(self.get(name), name, self.get)

    def view(self, name: str) -> np.ndarray:
        """A picture, uint8 (height, width, 3)."""
        return unpack_view(self.get(name), name)

    def stage_digest(self, stage: Stage) -> str | None:
        """Return None, since records are committed without the stages that they read."""
        return None

    def has_shard(self, address: str, shard: int) -> bool:
        """Return False, since records are committed without the stages that they read."""
        return False


class CommittedRecords:
    """Our own published records, committed in ``results/``; read as a store is
    (`bench.store.summaries.Readable`).

    Numbers that papers published are something else: those are in ``results/published/*.csv``.
    """

    def __init__(self, files: Sequence[Path], folder: Path) -> None:
        self.url = str(folder)
        self.artifacts = Sidecars(files, folder)
        self.problems: list[str] = []
        self._files = files
        self._folder = folder
        self._summaries: dict[str, RecordSummary] = {}
        table = StringTable()
        for file in files:
            offset, name = 0, str(file.relative_to(folder))
            try:
                lines = _content(file).splitlines(keepends=True)
            except OSError as error:
                self.problems.append(f"{file} is left out: {error.strerror or error}")
                continue
            for number, line in enumerate(lines, 1):
                try:
                    raw = parse(line)
                    check_shape(raw)
                    found = summary_of(raw, table, name, offset, len(line))
                    found.layer = PUBLISHED
                except (ShapeError, NewerError) as error:
                    self.problems.append(f"{file}:{number} is left out: {error}")
                else:
                    if found.key not in self._summaries or found.rank() > self._summaries[found.key].rank():
                        self._summaries[found.key] = found
                offset += len(line)

    def summaries(self) -> dict[str, RecordSummary]:
        """Key -> summary of its record."""
        return dict(self._summaries)

    def draws(self) -> list[Draw]:
        """The published draws of searches: those of ``<track>.jsonl`` are in ``<track>.draws.json``.

        Raises:
            BenchError: such a file cannot be read.
        """
        found = []
        for file in (f.with_suffix(DRAWS) for f in self._files):
            if file.is_file():
                try:
                    found += parse_many(_content(file))
                except (OSError, BenchError) as error:
                    raise BenchError(f"{file}: {error}") from error
        return found

    def match(self, start: str) -> str:
        """The one key that starts with ``start``; `BenchError` with the nearest if there is none or
        several.
        """
        return match_key(self._summaries, start, "the published records")

    def read(self, key: str) -> Record | None:
        """The whole record of a key, None if there is none; `BenchError` if its file was changed
        meanwhile.
        """
        if (found := self._summaries.get(key)) is None:
            return None
        try:
            raw = parse(_content(self._folder / found.file, found.offset, found.size))
            check_shape(raw, key)
        except (OSError, ShapeError, NewerError) as error:
            raise BenchError(f"{self._folder / found.file} has changed since it was read: {error}") from error
        return record_of(raw)


def _content(path: Path, start: int = 0, size: int | None = None) -> bytes:
    """Bytes of a file; OSError for anything else, such as a pipe."""
    return LocalFiles(path.parent).read(path.name, start, size)


def load_committed(path: Path) -> CommittedRecords:
    """The committed records of a profile (a folder) or of one track (a ``.jsonl`` file).

    Raises:
        BenchError: there is no such file, or no ``.jsonl`` file in the folder.
    """
    if path.is_file():
        return CommittedRecords([path], path.parent)
    files = sorted(path.glob("*.jsonl"))
    if not files:
        raise BenchError(
            f"{path}: no published records here (expected <track>.jsonl files, from `bench publish`)"
        )
    return CommittedRecords(files, path)
