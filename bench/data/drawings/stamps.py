"""Tux Paint's stamps as pictures of emoji classes in two further domains: photos and cartoons.

Read from where Debian's package tuxpaint-stamps-default puts them, or from ``stamps`` below the folder of
brought data; optional. Nothing of it is in the repository: see ``embedded/emoji/SOURCES.md`` for why.

A stamp's class is a subcategory of emoji. It comes from the folder where a folder is one class, else from a
table by file; what fits no class surely is left out. Too few to train on: unseen domains for tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from bench import packages
from bench.contract import BenchError, Needs, Stage, StageContext, digest
from bench.data.catalog import CATALOG
from bench.data.columns import Columns
from bench.data.drawings import sheets
from bench.data.drawings.stamp_classes import CARTOONS, FILES, FOLDERS
from bench.data.preparing import Progress, silent
from bench.data.source import Contents, DataSource
from bench.file_digest import file_digest

if TYPE_CHECKING:
    import numpy as np

#: Raise when the meaning of a picture or a label changes: records made before become stale.
VERSION = 1

#: Where the Debian package puts them.
INSTALLED = Path("/usr/share/tuxpaint/stamps")

DOMAINS = ("photo", "cartoon")

_STAGE = "stamps"


@dataclass(frozen=True, slots=True)
class Stamps(Columns):
    """The stamps in the order of their ids.

    Attributes:
        images: (n, 64, 64, 3) uint8, composited on white.
        id: (n,) strings, the path below the folder of stamps without its ending.
        caption: (n,) strings, the English caption; "" where there is none.
        subcategory: (n,) strings, the class, a subcategory of emoji.
        domain: (n,) strings, of `DOMAINS`.
    """

    images: np.ndarray
    id: np.ndarray
    caption: np.ndarray
    subcategory: np.ndarray
    domain: np.ndarray


def read(*, stage: Callable[[str], Path] | None = None) -> Stamps:
    """Read all stamps that have a class.

    Args:
        stage: gives the folder of the stage of `stages`, as `Inputs.stage` does; without it the stamps are
            drawn here and now.

    Raises:
        BenchError: the stamps are not here, or a file cannot be read as a picture.
    """
    import numpy as np

    if why := missing():
        raise BenchError(why)
    chosen = _chosen(folder())
    at, images = (list(chosen), _drawn(chosen)) if stage is None else sheets.read(stage(_STAGE), _STAGE)
    return Stamps(
        images=images,
        id=np.array(at),
        caption=np.array([_caption(chosen[a]) for a in at]),
        subcategory=np.array([subcategory(a) for a in at]),
        domain=np.array([_domain(a, chosen[a]) for a in at]),
    )


def stages() -> tuple[Stage, ...]:
    """The stage, for `Track.stages`, that draws the stamps once for a store, if there are any."""
    if missing():
        return ()
    params = {"files": fingerprint(), "resvg-py": metadata.version("resvg-py")}
    return (Stage(name=_STAGE, build=draw_stage, params=params, needs=Needs(mem_gb=2, minutes=5)),)


def draw_stage(ctx: StageContext) -> None:
    """Draw every stamp that has a class into a sheet."""
    chosen = _chosen(folder())
    sheets.write(ctx.outdir, {_STAGE: (list(chosen), _drawn(chosen))}, small=False)


@dataclass(frozen=True, slots=True)
class StampSource:
    """The stamps as an entry of the catalogue: they need no preparation, brought or installed by Debian."""

    name: str

    def missing(self) -> str | None:
        """See `DataSource.missing`."""
        return missing()

    def fingerprint(self) -> str:
        """See `DataSource.fingerprint`."""
        return fingerprint()

    def prepare(self, progress: Progress = silent, *, partial: bool = False, again: bool = False) -> None:
        """Nothing: see `DataSource.prepare`."""

    def verify(self, progress: Progress = silent) -> Contents:
        """Read every stamp that has a class; whether they are those of the package is not known."""
        found = read()
        counts = (f"{(found.domain == d).sum():,} {d}s" for d in DOMAINS)
        return Contents(self.name, ", ".join(counts), self.fingerprint())


def data_source(name: str) -> DataSource:
    """The stamps as an entry of the catalogue."""
    return StampSource(name)


def missing() -> str | None:
    """Why the stamps cannot be read here and what to do about it, or None."""
    if why := packages.missing("stamps", {"resvg-py": ()}):
        return why
    if _chosen(folder()):
        return None
    brought = CATALOG["stamps"].folder
    return (
        f"stamps: none in {INSTALLED} or {brought}: apt-get install tuxpaint-stamps-default,"
        f" or put the folder 'stamps' of Tux Paint's stamps at {brought}"
    )


def fingerprint() -> str:
    """16 hexadecimal digits over the names and the bytes of the files that are read, and `VERSION`."""
    files = {at: file_digest(f, on_disk=False) for at, f in _chosen(folder()).items()}
    return digest({"version": VERSION, "files": files})


def folder() -> Path:
    """The folder of the stamps: of those that were brought, else of those that Debian installs."""
    brought = CATALOG["stamps"].folder
    return brought if brought.is_dir() else INSTALLED


def subcategory(at: str) -> str | None:
    """The class of a stamp by its id: by file, else by the nearest folder that has one; None if none has."""
    if at in FILES:
        return FILES[at]
    parts = at.split("/")[:-1]
    within = ("/".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((FOLDERS[f] for f in within if f in FOLDERS), None)


@lru_cache(maxsize=4)
def _chosen(top: Path) -> Mapping[str, Path]:
    """The file of each stamp with a class, by its id. Where a PNG was made of an SVG, the SVG is taken."""
    found: dict[str, Path] = {}
    for where, _, files in os.walk(top):  # 10,000 files, most of them sounds: `Path.rglob` takes 0.4 s
        for file in sorted(files):  # .png before .svg
            stem, ending = os.path.splitext(file)
            at = Path(where, stem).relative_to(top).as_posix() if ending in (".png", ".svg") else "_mirror"
            if not at.endswith("_mirror") and subcategory(at) is not None:
                found[at] = Path(where, file)
    return dict(sorted(found.items()))


def _domain(at: str, file: Path) -> str:
    drawn = file.suffix == ".svg" or "/cartoon/" in at or at in CARTOONS
    return "cartoon" if drawn else "photo"


def _drawn(chosen: Mapping[str, Path]) -> np.ndarray:
    import numpy as np

    return np.stack([_pixels(f) for f in chosen.values()])


def _pixels(file: Path) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        if file.suffix == ".svg":
            return sheets.drawn(file.read_text(encoding="utf-8"))
        return sheets.on_white(Image.open(file))
    except (OSError, ValueError, UnidentifiedImageError) as error:
        raise BenchError(f"{file} cannot be read as a picture: {error}") from error


def _caption(file: Path) -> str:
    text = file.with_suffix(".txt")
    if not text.is_file():
        return ""
    return text.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
