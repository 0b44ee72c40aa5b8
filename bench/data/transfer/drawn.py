"""The targets of `bench.data.transfer.sets` that were drawn: icons, emoji, flags, avatars."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from bench import data
from bench.contract import digest
from bench.data.drawings import emoji, icons, sheets
from bench.data.transfer.pictures import Drawn, halved

#: Folder of the sheet of flags that travels with the package.
EMBEDDED = data.EMBEDDED / "flags"
#: Its name in there.
SHEET = "flags"

#: Flags that differ by less, of 255 (root of the mean square), are the same one stored twice.
_ALIKE = 5.0

#: Icons in all: every one of the three small sets, and as many of the largest as there is room for.
ICONS = 4_000
#: Set of `bench.data.drawings.icons` that is thinned.
_THINNED = "material"
#: Grey that icons are drawn in, of 255.
_INK = 0x22

#: Avatars that are composed.
AVATARS = 2_000
_HATS = "hat"
#: Tops of python-avatars' hair that are something worn, and hair that falls over the ears or stands wide.
_WORN = frozenset({"ASTRONAUT", "HAT"})
_LONG = frozenset(
    {
        "BIG_HAIR", "BOB", "BRIDE", "CORNROWS", "CURLY", "CURLY_2", "CURVY", "DREADLOCKS", "DREADS",
        "EINSTEIN_HAIR", "FRO", "FRO_BAND", "HALF_SHAVED", "LONG_HAIR_CURLY", "LONG_NOT_TOO_LONG",
        "LOOSE_HAIR", "MIA_WALLACE", "SHAGGY_MULLET", "SHAVED_SIDES", "STRAIGHT_1", "STRAIGHT_2",
        "STRAIGHT_STRAND", "TWIST_LONG_HAIR", "TWIST_LONG_HAIR_2", "WICK", "WILD",
    }
)  # fmt: skip
_TOPS = ("short hair", "long hair", _HATS)


def draw_icons() -> Drawn:
    """Draw icons in dark grey on white; a class is a set of icons, a group the first word of their names.

    The first word, since a set draws the same cloud or the same battery in dozens of variants. The same
    file under a second name is left out. Of the set that would be three quarters of all, only icons whose
    file names have the smallest hashes are taken.
    """
    import numpy as np

    listed: dict[tuple[str, str], tuple[str, str]] = {}
    for s, name, file in icons.listed():
        listed.setdefault((s, file.read_text(encoding="utf-8")), (name, file.stem))
    many = sorted((digest(["icons", listed[key][1]]), key) for key in listed if key[0] == _THINNED)
    room = max(0, ICONS - (len(listed) - len(many)))
    left_out = {key for _, key in many[room:]}
    chosen = [key for key in listed if key not in left_out]
    black = np.stack([sheets.drawn(svg) for _, svg in chosen])
    grey = np.rint(np.arange(256) * ((255 - _INK) / 255) + _INK).astype(np.uint8)  # of the value in black
    sets = list(icons.SETS)
    return Drawn(
        images=halved(grey[black]),
        label=np.array([sets.index(s) for s, _ in chosen], np.int64),
        classes=tuple(icons.SETS[s][0] for s in sets),
        group=np.array([listed[key][0].split()[0] for key in chosen]),
    )


def draw_emoji(style: str) -> Drawn:
    """Draw all emoji of a style except flags; a class is a category, a group a family."""
    return of_emoji(emoji.read([style], everything=True))


def of_emoji(pictures: emoji.Pictures) -> Drawn:
    """The pictures except flags, at half their size; a class is a category, a group a family."""
    import numpy as np

    others = pictures.where(pictures.category != "Flags")
    classes, label = np.unique(others.category, return_inverse=True)
    return Drawn(halved(others.images), label.astype(np.int64), tuple(classes.tolist()), others.family)


def draw_flags() -> Drawn:
    """Read the flags from the embedded sheet: one class; a group is the flags that look alike."""
    import numpy as np

    ids, images = sheets.read(EMBEDDED, SHEET)
    small = halved(images)
    flat = small.reshape(len(small), -1).astype(np.float64)
    apart = np.stack([np.sqrt(((flat - one) ** 2).mean(1)) for one in flat])
    group = np.array(ids)[(apart < _ALIKE).argmax(1)]
    return Drawn(small, np.zeros(len(ids), np.int64), ("flag",), group)


def draw_avatars() -> Drawn:
    """Compose avatars of python-avatars' parts, drawn from a fixed seed; a group is a top and the clothes.

    Tops are equally likely; most avatars have no beard and wear nothing on their noses.
    """
    import numpy as np

    dice = random.Random(int(digest(["avatars", AVATARS]), 16))
    images, labels, groups = [], [], []
    for _ in range(AVATARS):
        chosen, label, group = _composed(dice)
        images.append(sheets.drawn(chosen))
        labels.append(label)
        groups.append(group)
    return Drawn(halved(np.stack(images)), np.array(labels, np.int64), _TOPS, np.array(groups))


def _composed(dice: random.Random) -> tuple[str, int, str]:
    """SVG, label and group of one avatar. The package's own random choice has no seed, so it is not used."""
    import python_avatars as pa

    tops = [*pa.HairType, *pa.HatType]
    top, clothing = dice.choice(tops), dice.choice(list(pa.ClothingType))
    parts: Mapping[str, Any] = {
        "eyebrows": pa.EyebrowType,
        "eyes": pa.EyeType,
        "nose": pa.NoseType,
        "mouth": pa.MouthType,
        "hat_color": pa.ClothingColor,
        "skin_color": pa.SkinColor,
        "hair_color": pa.HairColor,
        "clothing_color": pa.ClothingColor,
        "shirt_graphic": pa.ClothingGraphic,
    }
    picked = {part: dice.choice(list(kind)) for part, kind in parts.items()}
    seldom: Mapping[str, Any] = {"facial_hair": pa.FacialHairType, "accessory": pa.AccessoryType}
    picked |= {part: dice.choice([kind.NONE] * len(kind) + list(kind)) for part, kind in seldom.items()}
    avatar = pa.Avatar(
        style=pa.AvatarStyle.TRANSPARENT,
        top=top,
        clothing=clothing,
        facial_hair_color=picked["hair_color"],
        **picked,
    )
    return avatar.render(), _TOPS.index(_kind(top)), f"{type(top).__name__}.{top.name}/{clothing.name}"


def _kind(top: Any) -> str:
    """Which of `_TOPS` a top is, given as python-avatars' ``HatType`` or ``HairType``."""
    if type(top).__name__ == "HatType" or top.name in _WORN:
        return _HATS
    return "long hair" if top.name in _LONG else "short hair"
