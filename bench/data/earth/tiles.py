"""Tiles of the maps of the world, the same ones of every map, split by longitude.

A tile is 32 x 32 cells (2.7 degrees); neighbours overlap by 8 cells, but no cell of a tile for validation or
for testing lies in a tile of another part. Cutting them takes a few seconds: `stages` does it once for all
cells of a store.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import packages
from bench.contract import BenchError, Needs, Stage, StageContext, digest
from bench.data.earth import grid
from bench.data.source import DataSource, Shipped
from bench.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

#: Raise when the meaning of a tile changes: records before become stale.
VERSION = 2
#: Cells a side of a tile, and from one to the next.
SIDE, STRIDE = 32, 24
#: Degrees of latitude within which there are tiles: beyond, a map of this kind is drawn out to stripes.
NORTH, SOUTH = 80, -60
#: A tile is left out if less of it is land or lake, or if the relief varies less (deviation, of 255).
LEAST_LAND, LEAST_RELIEF = 0.1, 6.0
#: Cells of a block of longitude (30 degrees); every fourth block is held out, the last of them, from 150
#: degrees east on, for validation.
BLOCK, EVERY, HELD_OUT, VALIDATION = 360, 4, 3, 11
#: Raw, the relief is pale. Its channels are brought to this standard deviation of values from -1 to 1, about
#: that of the photograph.
SPREAD = 0.45
#: The extra in which the heights come.
EXTRA = "controlnet"
_PREFIX = "earth-"
#: The picture sets, and the heights that go with either.
NAMES = ("earth-photo", "earth-relief", "earth-heights")
_FILE = "tiles.npz"


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tiles in a fixed order, north to south and west to east.

    Attributes:
        picture: (n, 32, 32, 3) uint8.
        surface: (n, 32, 32) uint8, positions in `grid.SURFACES`.
        part: (n,) strings, "train", "validation" or "test".
        corner: (n, 2) int32, row and column of the north-western cell.
    """

    picture: np.ndarray
    surface: np.ndarray
    part: np.ndarray
    corner: np.ndarray

    def __len__(self) -> int:
        return len(self.part)


def corners(surface: np.ndarray, relief: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where there are tiles, and of which part.

    Args:
        surface: `grid.mask`.
        relief: the picture "relief" as it comes.

    Returns:
        corners (n, 2) int32, and parts (n,), as of `Tiles`. A tile that lies in two parts is left out.
    """
    import numpy as np

    cells = grid.SHAPE[0] // 180
    found, parts = [], []
    for y in range((90 - NORTH) * cells, (90 - SOUTH) * cells - SIDE + 1, STRIDE):
        for x in range(0, grid.SHAPE[1] - SIDE + 1, STRIDE):
            first, last = (_part(c // BLOCK) for c in (x, x + SIDE - 1))
            at = np.s_[y : y + SIDE, x : x + SIDE]
            if first != last or (surface[at] > 0).mean() < LEAST_LAND:
                continue
            if relief[at].astype(np.float32).std() >= LEAST_RELIEF:
                found.append((y, x))
                parts.append(first)
    return np.array(found, np.int32), np.array(parts)


def _part(block: int) -> str:
    """What the tiles of a block of longitude are for."""
    if block % EVERY != HELD_OUT:
        return "train"
    return "validation" if block == VALIDATION else "test"


def at_corners(field: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """The tiles of a field (height, width, ...) on the grid: (n, 32, 32, ...)."""
    import numpy as np

    return np.stack([field[y : y + SIDE, x : x + SIDE] for y, x in corner.tolist()])


def standardised(pictures: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Pictures (n, h, w, 3) uint8 whose channels have mean 0 and deviation `SPREAD`, as values from -1 to 1.

    Args:
        pictures: as they come.
        train: (n,) whether a picture is for training; of these alone mean and deviation are taken.
    """
    import numpy as np

    of = pictures[train].reshape(-1, 3).astype(np.float32)
    scaled = (pictures - of.mean(0)) / of.std(0) * SPREAD
    whole: np.ndarray = np.rint((scaled.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
    return whole


# ------------------------------------------------------------------------------------------------ as stages


def read(name: str, *, stage: Callable[[str], Path] | None = None) -> Tiles:
    """The tiles of a picture set.

    Args:
        name: "photo" or "relief".
        stage: gives the folder of a stage of `stages`; without it the tiles are cut here and now.

    Raises:
        BenchError: a package is missing, or the stage's file is damaged.
    """
    found = _arrays(name, stage)
    return Tiles(found["picture"], found["surface"], found["part"], found["corner"])


def read_heights(*, stage: Callable[[str], Path] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Heights in metres, (n, 32, 32), and their gradient a cell southwards and eastwards, (n, 32, 32, 2).

    Both float32, of the tiles of every picture set, in their order.
    """
    found = _arrays("heights", stage)
    return found["height"], found["slope"]


def _arrays(name: str, stage: Callable[[str], Path] | None) -> dict[str, np.ndarray]:
    if why := missing(_PREFIX + name):
        raise BenchError(why)
    return _cut(name) if stage is None else _loaded(stage(stage_name(name)) / _FILE)


def stage_name(name: str) -> str:
    """The name of the stage of a picture set or of the heights."""
    return f"earth-tiles-{name}"


def stages(name: str) -> tuple[Stage, ...]:
    """The stage that cuts the tiles of a picture set ("photo", "relief") or of "heights"; none if missing."""
    if missing(_PREFIX + name):
        return ()
    params = {"set": name, "fingerprint": fingerprint(_PREFIX + name)}
    return (Stage(name=stage_name(name), build=cut, params=params, needs=Needs(mem_gb=3, minutes=5)),)


def cut(ctx: StageContext) -> None:
    """Cut the tiles of one set and write them into one file."""
    import numpy as np

    arrays: dict[str, Any] = _cut(str(ctx.params["set"]))
    np.savez(ctx.outdir / _FILE, **arrays)


def _cut(name: str) -> dict[str, np.ndarray]:
    import numpy as np

    surface, relief = grid.mask(), grid.picture("relief")
    corner, part = corners(surface, relief)
    if name == "heights":
        height = grid.heights()
        slope = np.stack(np.gradient(height), axis=-1)
        return {"height": at_corners(height, corner), "slope": at_corners(slope, corner)}
    picture = at_corners(relief if name == "relief" else grid.picture(name), corner)
    if name == "relief":
        picture = standardised(picture, part == "train")
    return {"picture": picture, "surface": at_corners(surface, corner), "part": part, "corner": corner}


def _loaded(file: Path) -> dict[str, np.ndarray]:
    import zipfile

    import numpy as np

    try:
        with np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise BenchError(f"{file} is no set of tiles ({error}): remove the stage's folder") from error


# ----------------------------------------------------------------------------------------- is it here, which


def data_source(name: str) -> DataSource:
    """A set as an entry of the catalogue."""
    _known(name)
    return Shipped(
        name=name, why_missing=lambda: missing(name), identity=lambda: fingerprint(name),
        needs=grid.files(with_heights=name == "earth-heights"),
    )  # fmt: skip


def missing(name: str) -> str | None:
    """Why a set of `NAMES` cannot be cut here and the command that helps, or None."""
    _known(name)
    if why := packages.missing(name, {**grid.files(with_heights=False), "pillow": ()}):
        return why
    if name != "earth-heights":
        return None
    return packages.missing(name, grid.files(with_heights=True), EXTRA)


def fingerprint(name: str) -> str:
    """16 hexadecimal digits over the packages' versions and `VERSION`."""
    _known(name)
    needs = (*grid.files(with_heights=name == "earth-heights"), "pillow")
    return digest({"version": VERSION, "set": name, "packages": {p: metadata.version(p) for p in needs}})


def _known(name: str) -> None:
    if name not in NAMES:
        raise BenchError(f"no tiles {name!r}{nearest(name, NAMES)}")
