"""Nine sets of small pictures that a generator of emoji is moved to, near to far, and the emoji themselves.

Each is drawn or cut from what ships inside packages (flags: inside this one), and split into a training and a
test part by the unit that must stay whole: a drawing's family, a flag, a combination of parts, a
scene, a region. Drawing one takes up to 20 s: `stages` does it once for all cells of a store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import packages
from bench.contract import BenchError, Needs, Stage, StageContext, digest
from bench.data.drawings import emoji, icons, sheets
from bench.data.source import DataSource, Shipped
from bench.data.transfer import cut as transfer_cut
from bench.data.transfer import drawn as transfer_drawn
from bench.data.transfer.pictures import SIDE, Drawn, joined, parts
from bench.errors import nearest

if TYPE_CHECKING:
    import numpy as np

__all__ = ["NAMES", "SIDE", "SOURCE_STYLES", "Transfer", "fingerprint", "missing", "read", "source", "stages"]

#: Raise when the meaning of a picture, a label, a group or a part changes: records before become stale.
VERSION = 1

#: The targets, near to the emoji of `source` to far from them.
NAMES = (
    "icons", "fluent-flat", "fluent-3d", "line-art", "flags", "avatars", "photos", "relief", "earth",
)  # fmt: skip

#: What a generator is trained on before it is moved.
SOURCE_STYLES = ("twemoji", "openmoji", "noto")

#: Share of the pictures that are for the test; flags are too few for a third of them to be a test.
_TEST: Mapping[str, float] = {"flags": 1 / 2}
_THIRD = 1 / 3

_FILE = "pictures.npz"


@dataclass(frozen=True, slots=True)
class Transfer:
    """Pictures with a class, in a fixed order.

    Attributes:
        images: (n, 32, 32, 3) uint8, RGB.
        label: (n,) int64, positions in ``classes``.
        classes: names of the classes.
        part: (n,) strings, "train" or "test".
        group: (n,) strings; a group lies in one part only.
    """

    images: np.ndarray
    label: np.ndarray
    classes: tuple[str, ...]
    part: np.ndarray
    group: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def where(self, which: np.ndarray) -> Transfer:
        """The pictures that a mask or an array of positions picks; the classes stay."""
        return Transfer(
            self.images[which], self.label[which], self.classes, self.part[which], self.group[which]
        )


@dataclass(frozen=True, slots=True)
class _Set:
    """How a target is drawn, and which files or folders of each distribution are read (none if imported)."""

    draw: Callable[[], Drawn]
    packages: Mapping[str, tuple[str, ...]]


_SVG: Mapping[str, tuple[str, ...]] = {"resvg-py": ()}
_ICONS = {icons.PACKAGE: (icons.FOLDER,)}
_PARTS = {"python-avatars": ("python_avatars/avatar_parts",)}
_PHOTOS = {transfer_cut.PHOTO_PACKAGE: (transfer_cut.IMAGES,), "pillow": ()}
_MAPS = {
    transfer_cut.MAP_PACKAGE: tuple(f"{transfer_cut.MAPS}/{f}" for f in transfer_cut.MAP_FILES),
    "pillow": (),
}
_SETS: Mapping[str, _Set] = {
    "icons": _Set(transfer_drawn.draw_icons, {**_ICONS, **_SVG}),
    "fluent-flat": _Set(lambda: transfer_drawn.draw_emoji("fluent-flat"), {}),
    "fluent-3d": _Set(lambda: transfer_drawn.draw_emoji("fluent-3d"), {}),
    "flags": _Set(transfer_drawn.draw_flags, {}),
    "line-art": _Set(lambda: transfer_drawn.draw_emoji("openmoji-line"), {}),
    "avatars": _Set(transfer_drawn.draw_avatars, {**_PARTS, **_SVG}),
    "photos": _Set(transfer_cut.draw_photos, _PHOTOS),
    "relief": _Set(lambda: transfer_cut.draw_map(transfer_cut.RELIEF), _MAPS),
    "earth": _Set(lambda: transfer_cut.draw_map(transfer_cut.EARTH), _MAPS),
}
#: Targets that are a style of emoji.
_STYLES: Mapping[str, str] = {
    "fluent-flat": "fluent-flat",
    "fluent-3d": "fluent-3d",
    "line-art": "openmoji-line",
}


def read(name: str, *, stage: Callable[[str], Path] | None = None) -> Transfer:
    """Read one target.

    Args:
        name: of `NAMES`.
        stage: gives the folder of the stage of `stages`, as `Inputs.stage` does; without it the pictures are
            made here and now.

    Raises:
        BenchError: the name is unknown, a package is missing, or the stage's file is damaged.
    """
    if why := missing(name):
        raise BenchError(why)
    return _split(name) if stage is None else _loaded(stage(_stage_name(name)) / _FILE)


def source(*, stage: Callable[[str], Path] | None = None) -> Transfer:
    """The emoji, without flags, in three styles, all of them for training; a class is a category.

    Args:
        stage: gives the folder of a stage of ``bench.data.drawings.emoji.stages(SOURCE_STYLES)``.

    Raises:
        BenchError: a package is missing, or a sheet is damaged.
    """
    import numpy as np

    drawn = transfer_drawn.of_emoji(emoji.read(SOURCE_STYLES, stage=stage, everything=True))
    part = np.full(len(drawn.label), "train")
    return Transfer(drawn.images, drawn.label, drawn.classes, part, drawn.group)


def _split(name: str) -> Transfer:
    drawn = _SETS[name].draw()
    group = joined(drawn.images, drawn.group)
    part = parts(drawn.label, group, test=_TEST.get(name, _THIRD), seed="transfer")
    return Transfer(drawn.images, drawn.label, drawn.classes, part, group)


# ------------------------------------------------------------------------------------------------- as a stage


def stages(name: str) -> tuple[Stage, ...]:
    """The stage, for `Track.stages`, that makes a target once for all cells of a store; none if missing.

    Raises:
        BenchError: the name is unknown.
    """
    if missing(name):
        return ()
    params = {"set": name, "fingerprint": fingerprint(name)}
    needs = Needs(mem_gb=2, minutes=5)
    return (Stage(name=_stage_name(name), build=draw_stage, params=params, needs=needs),)


def draw_stage(ctx: StageContext) -> None:
    """Make one target and write it into one file."""
    import numpy as np

    found = _split(str(ctx.params["set"]))
    arrays: dict[str, Any] = {f.name: np.asarray(getattr(found, f.name)) for f in fields(found)}
    np.savez(ctx.outdir / _FILE, **arrays)  # not compressed: a cell reads it in milliseconds


def _loaded(file: Path) -> Transfer:
    import zipfile

    import numpy as np

    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = {f.name: arrays[f.name] for f in fields(Transfer)}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BenchError(f"{file} is no set of pictures ({error}): remove the stage's folder") from error
    return Transfer(**{**found, "classes": tuple(found["classes"].tolist())})


def _stage_name(name: str) -> str:
    return f"transfer-{name}"


# ----------------------------------------------------------------------------------------- is it here, which


def data_source(name: str) -> DataSource:
    """A target as an entry of the catalogue."""
    needs = emoji.needs([_STYLES[name]]) if name in _STYLES else _known(name).packages
    embedded = ((transfer_drawn.EMBEDDED, transfer_drawn.SHEET),) if name == "flags" else ()
    return Shipped(
        name=name, why_missing=lambda: missing(name), identity=lambda: fingerprint(name),
        needs=needs, sheets=embedded,
    )  # fmt: skip


def _known(name: str) -> _Set:
    if name not in _SETS:
        raise BenchError(f"no target {name!r}{nearest(name, NAMES)}")
    return _SETS[name]


def missing(name: str) -> str | None:
    """Why a target cannot be made here and the command that helps, or None.

    Raises:
        BenchError: an unknown name; names the nearest.
    """
    needs = _known(name).packages
    if name in _STYLES:
        return emoji.missing([_STYLES[name]])
    sheet = transfer_drawn.EMBEDDED / f"{transfer_drawn.SHEET}.webp"
    if name == "flags" and not sheet.is_file():
        return f"flags: no file {sheet}: install gridbench again"
    return packages.missing(name, needs)


def fingerprint(name: str) -> str:
    """16 hexadecimal digits over the packages' versions, the digests of embedded sheets, and `VERSION`."""
    known: dict[str, Any] = {"version": VERSION, "set": name}
    known["packages"] = {p: metadata.version(p) for p in _SETS[name].packages}
    if name in _STYLES:
        known["emoji"] = emoji.fingerprint([_STYLES[name]])
    if name == "flags":
        known["sheet"] = sheets.stated(transfer_drawn.EMBEDDED, transfer_drawn.SHEET)
    return digest(known)
