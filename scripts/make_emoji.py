"""Makes the sheets of ``embedded/emoji`` out of four unpacked npm packages.

``python -m scripts.make_emoji NOTO FLUENT_3D FLUENT_FLAT FLUENT_HC [INTO]``: folders that hold each
package's ``package.json``. Takes four minutes. Run twice it gives the same bytes,
with the same Pillow and resvg-py. Versions and licences: ``embedded/emoji/SOURCES.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from bench.contract import BenchError
from bench.data.drawings import emoji, sheets

if TYPE_CHECKING:
    import numpy as np

PACKAGES: Mapping[str, tuple[str, str]] = {
    "noto": ("@iconify-json/noto", "1.2.9"),
    "fluent-3d": ("@lobehub/fluent-emoji-3d", "1.1.0"),
    "fluent-flat": ("@iconify-json/fluent-emoji-flat", "1.2.6"),
    "fluent-hc": ("@iconify-json/fluent-emoji-high-contrast", "1.2.6"),
}
#: What ``currentColor`` means: black is SVG's own; Fluent's high contrast is drawn in this grey.
INK = {"fluent-hc": "#212121"}
#: Fluent 3D is rounded to multiples of this (255 stays 255): at most 2 off, and the sheet is a third smaller.
ROUNDED = 5

Picture = Callable[[], "np.ndarray"]


def main(arguments: Sequence[str]) -> None:
    """Check the packages, draw what all four independent artists have, write the sheets.

    Raises:
        BenchError: not four packages; another package or version than `PACKAGES` says.
    """
    import numpy as np

    if len(arguments) not in (4, 5):
        raise BenchError(f"expected {' '.join(p for p, _ in PACKAGES.values())} [INTO], as folders")
    into = Path(arguments[4]) if len(arguments) == 5 else emoji.EMBEDDED
    found = {s: _pictures(s, Path(f)) for s, f in zip(PACKAGES, arguments[:4], strict=True)}
    drawn = [{emoji.bare(e) for e in _packaged(s)} for s in emoji.COMMON if emoji.STYLES[s].package]
    common = set.intersection(*drawn, set(found["noto"]), set(found["fluent-3d"]))
    ids = [e.id for e in emoji.labels() if emoji.bare(e.id) in common]
    made: dict[str, tuple[Sequence[str], np.ndarray]] = {}
    for style, pictures in found.items():
        has = [i for i in ids if emoji.bare(i) in pictures]
        images = np.stack([pictures[emoji.bare(i)]() for i in has])
        if style == "fluent-3d":
            images = ((images.astype(np.uint16) + ROUNDED // 2) // ROUNDED * ROUNDED).astype(np.uint8)
        made[style] = has, images
    sheets.write(into, made, small=True)


def _packaged(style: str) -> list[str]:
    """Ids of the emoji that a package on PyPI draws."""
    return [str(i) for i in emoji.read([style], everything=True).id]


def _pictures(style: str, folder: Path) -> Mapping[tuple[int, ...], Picture]:
    """Code points -> a function that draws the emoji."""
    about = orjson.loads((folder / "package.json").read_bytes())
    if (about["name"], about["version"]) != PACKAGES[style]:
        raise BenchError(
            f"{folder} holds {about['name']} {about['version']}, not {' '.join(PACKAGES[style])}"
        )
    if style == "fluent-3d":
        return {emoji.bare(f.stem): _opened(f) for f in sorted((folder / "assets").glob("*.webp"))}
    icons = orjson.loads((folder / "icons.json").read_bytes())
    codes = orjson.loads((folder / "chars.json").read_bytes())
    ink = INK.get(style, "#000")
    return {
        emoji.bare(code): _drawn(icons, icon, ink) for code, icon in codes.items() if icon in icons["icons"]
    }


def _opened(file: Path) -> Picture:
    from PIL import Image

    return lambda: sheets.on_white(Image.open(file))


def _drawn(icons: Mapping[str, Mapping[str, Mapping[str, str]]], name: str, ink: str) -> Picture:
    icon = icons["icons"][name]
    width, height = (icon.get(side) or icons.get(side) or 16 for side in ("width", "height"))
    body = icon["body"].replace("currentColor", ink)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return lambda: sheets.drawn(f'<svg {names} viewBox="0 0 {width} {height}">{body}</svg>')


if __name__ == "__main__":
    main(sys.argv[1:])
