"""Named icons in one colour, drawn from the SVG files of an installed package: pictures that come with words.

Material Design Icons, Font Awesome Free and Octicons as the package mkdocs-material carries them; its brand
logos are left out. Read when a network is pre-trained, and never in a normal run.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import packages
from bench.contract import BenchError

if TYPE_CHECKING:
    import numpy as np

#: The distribution and its folder of icons.
PACKAGE, FOLDER = "mkdocs-material", "material/templates/.icons"
#: Folder of a set inside the package -> its name and licence.
SETS: Mapping[str, tuple[str, str]] = {
    "material": ("Material Design Icons", "Apache-2.0"),
    "fontawesome/regular": ("Font Awesome Free, regular", "CC BY 4.0"),
    "fontawesome/solid": ("Font Awesome Free, solid", "CC BY 4.0"),
    "octicons": ("Octicons", "MIT"),
}
#: Letters, numbers, text formatting and brands: their names say nothing about what is to be seen.
_LEFT_OUT = re.compile(
    r"^(alpha|numeric|roman-numeral|format|code|language|file-[a-z]+-box|google|microsoft|apple|android|amazon"
    r"|facebook|twitter|github|gitlab|firefox|logo|mark-github|copilot|dependabot|hubot)(-|$)|^[a-z0-9]$"
)
#: Endings that name a variant of the same drawing.
_VARIANT = re.compile(r"(-outline|-alt|-variant|-simple|-(12|16|24|48|96))+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Icons:
    """Icons in a fixed order.

    Attributes:
        names: n names in words.
        sets: n names of `SETS`.
        ink: (n, size, size) uint8, the opacity of what is drawn.
        inside: (n, size, size) uint8, the opacity of what the drawing encloses, ink included.
    """

    names: tuple[str, ...]
    sets: tuple[str, ...]
    ink: np.ndarray
    inside: np.ndarray


def missing() -> str | None:
    """Why icons cannot be read here and the command that helps, or None."""
    return packages.missing("icons", {PACKAGE: (FOLDER,), "resvg-py": ()})


def listed() -> Iterator[tuple[str, str, Path]]:
    """List the set, the name in words and the file of every icon, in a fixed order.

    Raises:
        BenchError: the package is not installed.
    """
    if why := missing():
        raise BenchError(why)
    root = packages.located(PACKAGE, FOLDER)
    for folder in SETS:
        files = sorted((root / folder).glob("*.svg"))
        if not files:
            raise BenchError(f"package {PACKAGE!r} has no icons in {folder}: another version?")
        for file in files:
            if folder == "octicons" and not file.stem.endswith("-24"):
                continue  # the same in other sizes
            name = _VARIANT.sub("", file.stem)
            if not _LEFT_OUT.search(name):
                yield folder, name.replace("-", " "), file


def read(size: int) -> Icons:
    """Draw all icons, which takes about a millisecond each."""
    import numpy as np
    import resvg_py
    from PIL import Image
    from scipy.ndimage import binary_fill_holes

    names, sets, ink, inside = [], [], [], []
    for folder, name, file in listed():
        png = resvg_py.svg_to_bytes(svg_string=file.read_text(), width=size, height=size)
        drawn = Image.open(io.BytesIO(bytes(png))).convert("RGBA").getchannel("A")
        opacity = np.zeros((size, size), np.uint8)
        width, height = drawn.size
        if width > size or height > size:
            drawn.thumbnail((size, size))
            width, height = drawn.size
        top, left = (size - height) // 2, (size - width) // 2
        opacity[top : top + height, left : left + width] = np.asarray(drawn)
        filled = binary_fill_holes(opacity > 96)
        names.append(name)
        sets.append(folder)
        ink.append(opacity)
        inside.append(np.maximum(opacity, np.where(filled, 255, 0).astype(np.uint8)))
    return Icons(names=tuple(names), sets=tuple(sets), ink=np.stack(ink), inside=np.stack(inside))
