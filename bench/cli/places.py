"""Places that commands are told to write to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import BenchError


@contextmanager
def writing(path: Path, option: str = "--out") -> Iterator[None]:
    """Turn what goes wrong while something is written to a place into a message that names it."""
    try:
        yield
    except OSError as e:
        raise BenchError(f"{option} {path}: cannot be written: {e.strerror or e}") from e


def check_file(path: Path, option: str = "--out") -> None:
    """Refuse what is no place for a file, before any work is done for it."""
    with writing(path, option):
        if path.is_dir():
            raise BenchError(f"{option} {path}: is a folder; name a file, such as {path / 'index.html'}")
        for folder in path.absolute().parents:
            if folder.exists():
                if not folder.is_dir():
                    raise BenchError(f"{option} {path}: {folder} is a file, expected a folder")
                return
