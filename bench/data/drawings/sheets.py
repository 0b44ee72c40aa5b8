"""Sheets of small square pictures: one lossless WebP a set, and an index that says which picture is where.

A folder holds ``index.json`` and one file a sheet. Pictures are `SIDE` pixels wide and high, RGB on white, in
rows of `COLUMNS` from the top left in the order of the index's ids.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from bench.contract import BenchError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

SIDE = 64
COLUMNS = 40
INDEX = "index.json"


def on_white(image: Image) -> np.ndarray:
    """A picture of any size, centred in a square, scaled and composited on white: (SIDE, SIDE, 3) uint8."""
    import numpy as np
    from PIL import Image as Pillow

    image = image.convert("RGBA")
    if (most := max(image.size)) != min(image.size):
        square = Pillow.new("RGBA", (most, most), (255, 255, 255, 0))
        square.paste(image, ((most - image.width) // 2, (most - image.height) // 2))
        image = square
    if most != SIDE:
        image = image.resize((SIDE, SIDE), Pillow.Resampling.LANCZOS)
    ground = Pillow.new("RGBA", image.size, "white")
    ground.alpha_composite(image)
    return np.asarray(ground.convert("RGB"))


def drawn(svg: str) -> np.ndarray:
    """An SVG on white, (SIDE, SIDE, 3) uint8. No fonts of the machine are used: it is the same anywhere."""
    import resvg_py
    from PIL import Image as Pillow

    # Without a resolution a size in points or millimetres is an error.
    png = resvg_py.svg_to_bytes(svg_string=svg, width=SIDE, height=SIDE, dpi=96, skip_system_fonts=True)
    return on_white(Pillow.open(io.BytesIO(png)))


def write(folder: Path, sheets: Mapping[str, tuple[Sequence[str], np.ndarray]], *, small: bool) -> None:
    """Write one sheet for each name, and their index.

    Args:
        folder: where to; it is made if it is not there.
        sheets: name -> (ids, images (n, SIDE, SIDE, 3) uint8).
        small: make files as small as WebP gets, which takes a minute a sheet, instead of quickly.
    """
    from PIL import Image as Pillow

    folder.mkdir(parents=True, exist_ok=True)
    index: dict[str, Any] = {}
    for name, (ids, images) in sheets.items():
        data = io.BytesIO()
        how = {"quality": 100, "method": 6} if small else {"quality": 0, "method": 0}
        Pillow.fromarray(_laid_out(images)).save(data, "WEBP", lossless=True, **how)
        (folder / f"{name}.webp").write_bytes(data.getvalue())
        index[name] = {"sha256": hashlib.sha256(data.getvalue()).hexdigest(), "ids": list(ids)}
    text = {"side": SIDE, "columns": COLUMNS, "sheets": index}
    (folder / INDEX).write_bytes(orjson.dumps(text, option=orjson.OPT_INDENT_2) + b"\n")


def _laid_out(images: np.ndarray) -> np.ndarray:
    """Pictures (n, SIDE, SIDE, 3) in rows, (rows * SIDE, COLUMNS * SIDE, 3), white where there is none."""
    import numpy as np

    rows = -(-len(images) // COLUMNS)
    grid = np.full((rows * COLUMNS, SIDE, SIDE, 3), 255, np.uint8)
    grid[: len(images)] = images
    return grid.reshape(rows, COLUMNS, SIDE, SIDE, 3).swapaxes(1, 2).reshape(rows * SIDE, COLUMNS * SIDE, 3)


def ids(folder: Path, name: str) -> list[str]:
    """The ids of a sheet's pictures in their order, from the index alone.

    Raises:
        BenchError: the index is missing, damaged, or names no such sheet.
    """
    return list(_entry(folder, name)["ids"])


def stated(folder: Path, name: str) -> str:
    """The sha-256 of a sheet by the index; raises as `ids` does."""
    return str(_entry(folder, name)["sha256"])


def read(folder: Path, name: str) -> tuple[list[str], np.ndarray]:
    """Read a sheet: its ids and its pictures, (n, SIDE, SIDE, 3) uint8.

    Raises:
        BenchError: the index or the sheet is missing, or the sheet is not the one that the index states.
    """
    import numpy as np
    from PIL import Image as Pillow

    entry, file = _entry(folder, name), folder / f"{name}.webp"
    try:
        data = file.read_bytes()
    except OSError as error:
        raise BenchError(f"{file}: {error.strerror or error}: {_MEND}") from error
    if (found := hashlib.sha256(data).hexdigest()) != entry["sha256"]:
        raise BenchError(f"{file} is not what {INDEX} says: sha256 {found}, not {entry['sha256']}: {_MEND}")
    grid = np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB"))
    rows = grid.shape[0] // SIDE
    cells = grid.reshape(rows, SIDE, COLUMNS, SIDE, 3).swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)
    return list(entry["ids"]), np.ascontiguousarray(cells[: len(entry["ids"])])


_MEND = "install gridbench again, or restore the file in the clone"


def _entry(folder: Path, name: str) -> Mapping[str, Any]:
    file = folder / INDEX
    try:
        index = orjson.loads(file.read_bytes())
        shape, sheets = (index["side"], index["columns"]), index["sheets"]
        known = {
            n: {"sha256": str(s["sha256"]), "ids": [str(i) for i in s["ids"]]} for n, s in sheets.items()
        }
    except OSError as error:
        raise BenchError(f"{file}: {error.strerror or error}: {_MEND}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchError(f"{file} is damaged ({error!r}): {_MEND}") from error
    if shape != (SIDE, COLUMNS) or name not in known:
        raise BenchError(f"{file} has no sheet {name!r} of {SIDE}-pixel pictures: {_MEND}")
    return known[name]
