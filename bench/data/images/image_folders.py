"""Image data sets in the layout of DomainBed: ``<data set>/<domain>/<class>/*``, and DomainBed's split.

Domains and classes are counted in the order of their sorted folder names, images in that of torchvision's
ImageFolder: the split is a permutation of positions, so the order is part of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from bench.data.preparing import Progress, silent

if TYPE_CHECKING:
    import numpy as np

#: Template of every data set of this layout in the released code of CLIPood.
TEMPLATE = "a photo of a {}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a whole data set looks like.

    ``domains``: folder names, sorted. ``editions``: images a domain, of each edition that is in use; the
    first is the published one.
    """

    domains: tuple[str, ...]
    classes: int
    editions: tuple[tuple[int, ...], ...]

    @property
    def template(self) -> str:
        """The prompt."""
        return TEMPLATE

    @property
    def places(self) -> tuple[str, ...]:
        """What has to lie in its folder."""
        return self.domains


#: Totals: the table of data sets in DISAM, ICLR 2024. The counts a domain are general knowledge and add up to
#: them. TerraIncognita: 24,788 images as published; what its source gives today has 24,330 (khanrc/miro,
#: issue 9, which also says the published counts by domain).
LAYOUTS: Mapping[str, Layout] = {
    "pacs": Layout(
        domains=("art_painting", "cartoon", "photo", "sketch"),
        classes=7,
        editions=((2_048, 2_344, 1_670, 3_929),),
    ),
    "vlcs": Layout(
        domains=("Caltech101", "LabelMe", "SUN09", "VOC2007"),
        classes=5,
        editions=((1_415, 2_656, 3_282, 3_376),),
    ),
    "office-home": Layout(
        domains=("Art", "Clipart", "Product", "Real World"),
        classes=65,
        editions=((2_427, 4_365, 4_439, 4_357),),
    ),
    "terra-incognita": Layout(
        domains=("location_100", "location_38", "location_43", "location_46"),
        classes=10,
        editions=((4_879, 9_767, 4_020, 6_122), (4_741, 9_736, 3_970, 5_883)),
    ),
    "domain-net": Layout(
        domains=("clipart", "infograph", "painting", "quickdraw", "real", "sketch"),
        classes=345,
        editions=((48_129, 51_605, 72_266, 172_500, 172_947, 69_128),),
    ),
}


def scan(name: str, progress: Progress = silent) -> Images:
    """Every image of a data set of `LAYOUTS`, by domain, class, name; groups are its domains.

    Raises:
        BenchError: a domain or a class folder is missing, too many, or has no image; says which.
    """
    folder, layout = CATALOG[name].folder, LAYOUTS[name]
    _check_domains(name, folder, layout.domains)
    classes = _classes(name, folder, layout.domains)
    pairs = [(d, y) for d in range(len(layout.domains)) for y in range(len(classes))]
    entries = []
    for i, images in in_all(
        [folder / layout.domains[d] / classes[y] for d, y in pairs], progress, f"{name}: class folders"
    ):
        d, y = pairs[i]
        below = f"{layout.domains[d]}/{classes[y]}"
        if not images:
            raise BenchError(f"{name}: no image in {folder / below} (expected {' '.join(EXTENSIONS)})")
        entries += [Entry(d, y, f"{below}/{file}", size) for file, size in images]
    return collect(folder, layout.domains, [class_name(c) for c in classes], entries)


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
    """Class folders of the first domain, once every domain is known to have the same."""
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


def difference(name: str, images: Images) -> str | None:
    """How the counts differ from the published ones, or None. Held against totals, said by domain."""
    layout, counts = LAYOUTS[name], images.counts()
    total, known = len(images.files), [sum(e) for e in layout.editions]
    if len(images.classes) != layout.classes:
        return f"{len(images.classes)} classes, expected {layout.classes}"
    if total in known:
        return None
    by_domain = ", ".join(
        f"{domain} {n:,}{'' if n == told else f' (published {told:,})'}"
        for (domain, n), told in zip(counts.items(), layout.editions[0], strict=True)
    )
    return f"{total:,} images, expected {' or '.join(f'{k:,}' for k in known)}: {by_domain}"


# -------------------------------------------------------------------------------------------------- the split


class Portions(NamedTuple):
    """A domain's two portions, positions in a random order: DomainBed's ``out`` (20 %) and ``in`` (80 %).

    Sources are trained on with ``inside`` and validated with ``outside``. Results are published on the
    target's ``outside`` (CLIPood's released code) or on its ``inside`` (DomainBed).
    """

    inside: np.ndarray
    outside: np.ndarray


def seed_of(*key: int | str) -> int:
    """DomainBed's seed for a tuple: md5 of its text as Python writes it, modulo 2**31."""
    return int(hashlib.md5(repr(key).encode(), usedforsecurity=False).hexdigest(), 16) % 2**31


def split(n: int, *key: int | str, share: float = 0.2) -> Portions:
    """DomainBed's split of ``n`` images: the same permutation, cut at ``int(n * share)``.

    Args:
        n: images of the domain (in the wild: of its base or its new classes).
        key: what the seed is made of: the trial and the domain's position, in the wild also ``"base"`` or
            ``"open"`` (CLIPood's released code).
        share: of the portion held out.
    """
    import numpy as np

    order = np.arange(n)
    # RandomState, not a Generator: its stream is frozen, and the published splits are made with it.
    np.random.RandomState(seed_of(*key)).shuffle(order)
    cut = int(n * share)
    return Portions(inside=order[cut:], outside=order[:cut])
