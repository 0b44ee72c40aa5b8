"""Makes the sheet of ``embedded/flags`` out of Debian's package iso-flags-png-320x240.

``python -m scripts.make_flags [FROM [INTO]]``, after ``apt-get install iso-flags-png-320x240``; FROM is
where that puts its files. Run twice it gives the same bytes, with the same Pillow. Version and terms:
``embedded/flags/SOURCES.md``.

Flags fill their squares. The package has already given flags of all proportions one shape with a
transparent rim, so a further step to a square takes no true shape away. Rim and white bars would be the same
half of every picture, which any generator learns first, and a crop would cut off what many flags have beside
the pole.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.contract import BenchError
from bench.data.drawings import sheets
from bench.data.transfer.drawn import EMBEDDED, SHEET
from scripts.make_emoji import ROUNDED

INSTALLED = Path("/usr/share/iso-flags-png-320x240")
SIZE = (320, 240)
#: Where the flag is in each: left, top, right, bottom.
BOX = (26, 26, 294, 214)


def main(arguments: Sequence[str]) -> None:
    """Scale all flags and write the sheet.

    Raises:
        BenchError: no flags in the folder, or one of another shape.
    """
    import numpy as np
    from PIL import Image

    source = Path(arguments[0]) if arguments else INSTALLED
    into = Path(arguments[1]) if len(arguments) > 1 else EMBEDDED
    files = sorted(source.glob("*.png"))
    if not files:
        raise BenchError(f"no flags in {source}: apt-get install {INSTALLED.name}")
    images = []
    for file in files:
        with Image.open(file) as flag:
            colours = flag.convert("RGBA")
        if colours.size != SIZE or colours.getchannel("A").getbbox() != BOX:
            raise BenchError(f"{file} has {colours.size} pixels, or its flag is not in {BOX} of {SIZE}")
        square = colours.crop(BOX).resize((sheets.SIDE, sheets.SIDE), Image.Resampling.LANCZOS)
        images.append(sheets.on_white(square))
    rounded = (np.stack(images).astype(np.uint16) + ROUNDED // 2) // ROUNDED * ROUNDED
    sheets.write(into, {SHEET: ([f.stem for f in files], rounded.astype(np.uint8))}, small=True)


if __name__ == "__main__":
    main(sys.argv[1:])
