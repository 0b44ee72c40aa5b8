"""Checkpoints of cells that run: files in a folder of this machine, and their copies in the store.

A checkpoint is a file ``<made by>-<number>-<digest>.pt``: by which code, settings and data it was made, its
number within the cell, and the start of its sha-256. Of each cell the last two are kept, so that one that was
cut short (the machine went down while it was written, the connection broke) is told by its digest, and the
one before it is there.

In a store that is a folder the cell itself writes there. Of an object store the cell's folder is in the cache
of its machine, and the parent of its process copies what is new into the store, so that a cell whose machine
is gone goes on elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.file_digest import read_digest
from bench.store.files import Files, StoreError, check_key

#: How many checkpoints of a cell are kept.
KEPT = 2
#: What a machine's cache holds of a cell and nobody touched for so long is removed: it ended elsewhere.
FORGOTTEN_S = 7 * 24 * 3600.0
_NAME = re.compile(r"(?P<made_by>[0-9a-f]{0,16})-(?P<number>[0-9]{8})-(?P<digest>[0-9a-f]{32})\.pt")
_WRITING = "writing.pt"


@dataclass(frozen=True, slots=True, order=True)
class Checkpoint:
    """What the name of a checkpoint says; later ones are greater."""

    number: int
    made_by: str
    digest: str

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.made_by}-{self.number:08d}-{self.digest}.pt"

    def is_in(self, file: Path) -> bool:
        """Whether a file holds it undamaged."""
        try:
            return read_digest(file).startswith(self.digest)
        except FileNotFoundError:
            return False


def checkpoints_in(names: Iterable[str], made_by: str) -> list[Checkpoint]:
    """The checkpoints among these names that were made by today's code, settings and data, the last first."""
    found = [m for name in names if (m := _NAME.fullmatch(name)) is not None and m["made_by"] == made_by]
    return sorted((Checkpoint(int(m["number"]), made_by, m["digest"]) for m in found), reverse=True)


class CheckpointFolder:
    """The folder that the process of a cell writes its checkpoints to. ``made_by``: digest of the code,
    settings and data that they are made with; a checkpoint made with others is never used.
    """

    def __init__(self, folder: Path, made_by: str) -> None:
        self.path, self.made_by = folder, made_by

    def found(self) -> list[Checkpoint]:
        """Those that may be used, the last first; whether they are damaged is not looked at."""
        try:
            return checkpoints_in(os.listdir(self.path), self.made_by)
        except FileNotFoundError:
            return []

    def keep(self, write: Callable[[Path], None]) -> None:
        """Have a checkpoint written to a path, make it the last one, and remove all but the last two. If the
        process is killed meanwhile, the ones before it stay.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        write(self.path / _WRITING)
        self.add(self.path / _WRITING)

    def add(self, file: Path) -> None:
        """Make a file that lies in this folder the last checkpoint."""
        number = max((c.number for c in self.found()), default=0) + 1
        made = Checkpoint(number, self.made_by, read_digest(file)[:32])
        os.replace(file, self.path / made.name)
        self._remove_all_but(self.found()[:KEPT])

    def clear(self) -> bool:
        """Remove all checkpoints, whoever made them; returns whether there were any."""
        return self.path.is_dir() and self._remove_all_but(()) > 0

    def _remove_all_but(self, kept: Iterable[Checkpoint]) -> int:
        names = {c.name for c in kept}
        old = [n for n in os.listdir(self.path) if _NAME.fullmatch(n) and n not in names]
        for name in old:
            (self.path / name).unlink(missing_ok=True)
        return len(old)

    def last(self) -> Path | None:
        """The file of the last checkpoint, None if there is none; one that is damaged is removed."""
        for checkpoint in self.found():
            file = self.path / checkpoint.name
            if checkpoint.is_in(file):
                return file
            file.unlink(missing_ok=True)
        return None


class Checkpoints:
    """The checkpoints of one cell, for the parent of its process. ``folder``: where the cell writes them."""

    def __init__(self, files: Files, cache: Path, key: str, made_by: str) -> None:
        self._files, self._at = files, f"checkpoints/{check_key(key)}"
        #: Whether the cell's folder is not the store's, so that checkpoints have to be copied.
        self.remote = files.root is None
        base = _cached(files, cache) if files.root is None else files.root / "checkpoints"
        self.folder = CheckpointFolder(base / key, made_by)
        self._put: Checkpoint | None = None
        self._stored = False

    def fetch(self) -> None:
        """Bring along what a cell that ran on another machine has left in the store, if that is later than
        what is here.

        Raises:
            StoreError: the store cannot be read, or this machine's folder cannot be written.
        """
        try:
            self.folder.path.mkdir(parents=True, exist_ok=True)
            if not self.remote:
                return
            names = self._files.names(self._at)
            self._stored = bool(names)
            here = self.folder.found()
            for checkpoint in checkpoints_in(names, self.folder.made_by):
                if here and here[0].number >= checkpoint.number:
                    return
                if self._fetched(checkpoint):
                    self._put = checkpoint
                    return
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(f"cannot fetch {self._files.url}/{self._at}: {error}") from error

    def _fetched(self, checkpoint: Checkpoint) -> bool:
        """Download a checkpoint; False if it is damaged, or gone."""
        scratch = self.folder.path / _WRITING
        try:
            self._files.get(f"{self._at}/{checkpoint.name}", scratch)
        except FileNotFoundError:
            return False
        if not checkpoint.is_in(scratch):
            scratch.unlink(missing_ok=True)
            return False
        os.replace(scratch, self.folder.path / checkpoint.name)
        return True

    def put(self) -> bool:
        """Copy the last checkpoint into the store, if it is new, and keep the last two there; returns whether
        it was.

        Raises:
            StoreError: the store cannot be read or written.
        """
        last = next(iter(self.folder.found()), None) if self.remote else None
        if last is None or last == self._put:
            return False
        try:
            self._files.put(f"{self._at}/{last.name}", self.folder.path / last.name)
            self._put, self._stored = last, True
            names = self._files.names(self._at)
            kept = {c.name for c in checkpoints_in(names, self.folder.made_by)[:KEPT]}
            self._files.remove([f"{self._at}/{n}" for n in names if _NAME.fullmatch(n) and n not in kept])
        except StoreError:
            if (self.folder.path / last.name).exists():
                raise
            return False  # the cell has written two others meanwhile
        except OSError as error:
            raise StoreError(f"cannot read {self._files.url}/{self._at}: {error}") from error
        return True

    def drop(self) -> None:
        """Remove all of them: the cell has ended, or starts anew."""
        if self._stored:
            with suppress(OSError, StoreError):  # what is left there is of no use to anybody
                self._files.remove([f"{self._at}/{n}" for n in self._files.names(self._at)])
        shutil.rmtree(self.folder.path, ignore_errors=True)
        self._put, self._stored = None, False


def _cached(files: Files, cache: Path) -> Path:
    """The folder of this machine for cells of an object store."""
    return cache / "checkpoints" / hashlib.sha256(files.url.encode()).hexdigest()[:12]


def forget_old(files: Files, cache: Path) -> None:
    """Remove what this machine's cache holds of cells that were not touched for long."""
    now = time.time()
    with suppress(OSError):
        for folder in _cached(files, cache).iterdir() if files.root is None else ():
            if now - folder.stat().st_mtime > FORGOTTEN_S:
                shutil.rmtree(folder, ignore_errors=True)
