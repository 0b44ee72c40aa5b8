"""Image data sets in the layout of DomainBed: ``<data set>/<domain>/<class>/*``, and DomainBed's split.

Domains and classes are counted in the order of their sorted folder names, images in that of torchvision's
ImageFolder: the split is a permutation of positions, so the order is part of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.contract import BenchError
from bench.data.catalog import CATALOG
from bench.data.images.image_files import (
    EXTENSIONS,
    Entry,
    Images,
    class_name,
    collect,
    in_all,
    subfolders,
)
from bench.data.images.layout import Layout
from bench.data.preparing import Progress, silent

if TYPE_CHECKING:
    import numpy as np


def layout(domains: Sequence[str], classes: int, *editions: Sequence[int]) -> Layout:
    """The layout of a data set of this kind.

    Args:
        domains: folder names of its domains, sorted.
        classes: number of classes.
        editions: images of each domain, for each edition that is in use; the first is the published one.
    """
    return Layout(
        places=tuple(domains), scan=scan, classes=classes,
        counts=dict(zip(domains, editions[0], strict=True)), totals=tuple(sum(e) for e in editions),
    )  # fmt: skip


def domains(name: str) -> tuple[str, ...]:
    """The domains of a data set of `LAYOUTS`, as its folders are called."""
    return LAYOUTS[name].places


def scan(name: str, progress: Progress = silent) -> Images:
    """List every image of a data set of `LAYOUTS`, by domain, class and name; its groups are the domains.

    Raises:
        BenchError: a domain or a class folder is missing, too many, or has no image; names which.
    """
    folder, groups = CATALOG[name].folder, domains(name)
    _check_domains(name, folder, groups)
    classes = _classes(name, folder, groups)
    pairs = [(d, y) for d in range(len(groups)) for y in range(len(classes))]
    entries = []
    for i, images in in_all(
        [folder / groups[d] / classes[y] for d, y in pairs], progress, f"{name}: class folders"
    ):
        d, y = pairs[i]
        below = f"{groups[d]}/{classes[y]}"
        if not images:
            raise BenchError(f"{name}: no image in {folder / below} (expected {' '.join(EXTENSIONS)})")
        entries += [Entry(d, y, f"{below}/{file}", size) for file, size in images]
    return collect(folder, groups, [class_name(c) for c in classes], entries)


def _check_domains(name: str, folder: Path, expected: Sequence[str]) -> None:
    found = subfolders(folder)
    for domain in expected:
        if domain not in found:
            raise BenchError(
                f"{name}: no domain folder {domain!r} in {folder}; expected {', '.join(expected)};"
                f" found {', '.join(found) or 'no folder'}"
            )
    if extra := [f for f in found if f not in expected]:
        raise BenchError(
            f"{name}: {folder / extra[0]} is none of its domains ({', '.join(expected)}): move it away"
        )


def _classes(name: str, folder: Path, domains: Sequence[str]) -> list[str]:
    """The class folders of the first domain, once every domain is known to have the same."""
    classes = subfolders(folder / domains[0])
    if not classes:
        raise BenchError(f"{name}: domain {domains[0]!r} is empty: no class folder in {folder / domains[0]}")
    for domain in domains[1:]:
        found = subfolders(folder / domain)
        if not found:
            raise BenchError(f"{name}: domain {domain!r} is empty: no class folder in {folder / domain}")
        # Compared with all before: a folder that only the first domain lacks is missing there.
        if missing := [c for c in classes if c not in found]:
            raise BenchError(
                f"{name}: no class folder {missing[0]!r} in domain {domain!r} ({folder / domain}),"
                f" but in domain {domains[0]!r}"
            )
        if extra := [c for c in found if c not in classes]:
            raise BenchError(
                f"{name}: no class folder {extra[0]!r} in domain {domains[0]!r} ({folder / domains[0]}),"
                f" but in domain {domain!r}"
            )
    return classes


#: Totals: the table of data sets in DISAM, ICLR 2024. The counts a domain are general knowledge and add up to
#: them. TerraIncognita: 24,788 images as published; what its source gives today has 24,330 (khanrc/miro,
#: issue 9, which also says the published counts by domain).
LAYOUTS: dict[str, Layout] = {
    "pacs": layout(("art_painting", "cartoon", "photo", "sketch"), 7, (2_048, 2_344, 1_670, 3_929)),
    "vlcs": layout(("Caltech101", "LabelMe", "SUN09", "VOC2007"), 5, (1_415, 2_656, 3_282, 3_376)),
    "office-home": layout(("Art", "Clipart", "Product", "Real World"), 65, (2_427, 4_365, 4_439, 4_357)),
    "terra-incognita": layout(
        ("location_100", "location_38", "location_43", "location_46"),
        10,
        (4_879, 9_767, 4_020, 6_122),
        (4_741, 9_736, 3_970, 5_883),
    ),
    "domain-net": layout(
        ("clipart", "infograph", "painting", "quickdraw", "real", "sketch"),
        345,
        (48_129, 51_605, 72_266, 172_500, 172_947, 69_128),
    ),
}


# -------------------------------------------------------------------------------------------------- the split


class Portions(NamedTuple):
    """A domain's two portions, as positions in a random order: DomainBed's ``in`` (80 %) and ``out`` (20 %).

    Sources are trained on with ``inside`` and validated with ``outside``. Results are published on the
    target's ``outside`` (CLIPood's released code) or on its ``inside`` (DomainBed).
    """

    inside: np.ndarray
    outside: np.ndarray


def seed_of(*key: int | str) -> int:
    """DomainBed's seed for a tuple: the md5 of its text as Python writes it, modulo 2**31."""
    return int(hashlib.md5(repr(key).encode(), usedforsecurity=False).hexdigest(), 16) % 2**31


def split(n: int, *key: int | str, share: float = 0.2) -> Portions:
    """DomainBed's split of ``n`` images: the same permutation, cut at ``int(n * share)``.

    Args:
        n: number of images of the domain (in the wild: of its base or its new classes).
        key: what the seed is made of: the trial and the domain's position, in the wild also ``"base"`` or
            ``"open"`` (CLIPood's released code).
        share: share of the images in the portion that is held out.
    """
    import numpy as np

    order = np.arange(n)
    # RandomState, not a Generator: its stream is frozen, and the published splits are made with it.
    np.random.RandomState(seed_of(*key)).shuffle(order)
    cut = int(n * share)
    return Portions(inside=order[cut:], outside=order[:cut])
