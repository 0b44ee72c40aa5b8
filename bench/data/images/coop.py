"""The data sets of CoOp in its layout: fixed splits, base and new classes, few shots; ImageNet's variants.

Groups are ``train``, ``val`` and ``test``; ImageNet has no ``val`` (its validation images are the test), a
variant only ``test``. A split comes from text (JSON or lines). CoOp keeps few-shot draws as pickles in
``split_fewshot/``: those are never read, nothing here is unpickled. So the draw is another one: CoOp's
depends on the state of Python's global generator when a pickle was first written, ours on the split file and
the seed alone. The number of images a class is the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contract import BenchError
from bench.data.catalog import CATALOG
from bench.data.images.image_files import (
    Entry,
    Images,
    class_name,
    collect,
    in_all,
    sizes_of,
    subfolders,
)
from bench.data.images.layout import PHOTO, Layout
from bench.data.preparing import Progress
from bench.data.text import read_text

if TYPE_CHECKING:
    import numpy as np

PARTS = ("train", "val", "test")
NAMES = "classnames.txt"


@dataclass(frozen=True, slots=True)
class FewShot:
    """Positions in a list of images for training and for validation: disjoint, and sorted by class."""

    train: np.ndarray
    val: np.ndarray


def halves(n: int) -> tuple[range, range]:
    """The labels of the base classes, the first ceil(n/2), and of the new classes."""
    middle = math.ceil(n / 2)
    return range(middle), range(middle, n)


def few_shot(images: Images, labels: Sequence[int], shots: int = 16, seed: int = 0) -> FewShot:
    """Draw ``shots`` training images a class, and min(``shots``, 4) for validation; all, if there are fewer.

    Each class has a random generator of its own, seeded by the seed, the part and the label: which other
    classes are drawn changes nothing. Where a data set has no ``val``, validation images are further ones
    of ``train``: CoOp takes test images there, which would choose by what is tested.
    """
    import numpy as np

    few = min(shots, 4)
    own = "val" in images.groups
    drawn = _drawn(images, "train", labels, shots if own else shots + few, seed)
    train = [rows[:shots] for rows in drawn]
    val = _drawn(images, "val", labels, few, seed) if own else [rows[shots:] for rows in drawn]
    return FewShot(*(np.concatenate([np.sort(rows) for rows in part]) for part in (train, val)))


def _drawn(images: Images, part: str, labels: Sequence[int], n: int, seed: int) -> list[np.ndarray]:
    """Draw ``n`` images of each class, in a random order."""
    import numpy as np

    rows = images.rows(part)
    rows = rows[np.argsort(images.labels[rows], kind="stable")]
    cuts = np.searchsorted(images.labels[rows], np.arange(len(images.classes) + 1))
    return [
        np.random.default_rng([seed, PARTS.index(part), y]).permutation(rows[cuts[y] : cuts[y + 1]])[:n]
        for y in labels
    ]


# -------------------------------------------------------------------------------------------------- the lists


def _split_file(name: str, progress: Progress) -> Images:
    """A data set whose split is a file ``split_zhou_*.json``."""
    folder, layout = CATALOG[name].folder, LAYOUTS[name]
    path = folder / layout.listed[0]
    try:
        split = json.loads(read_text(path))
    except json.JSONDecodeError as e:
        raise BenchError(f"{path}:{e.lineno}: not JSON: {e.msg} (column {e.colno})") from e
    if not isinstance(split, dict) or any(not isinstance(split.get(part), list) for part in PARTS):
        raise BenchError(f"{path}: expected an object with the lists {', '.join(PARTS)}")
    items = [(part, *_item(path, part, i, item)) for part in PARTS for i, item in enumerate(split[part])]
    return _listed(name, path, items)


def _item(path: Path, part: str, i: int, item: Any) -> tuple[str, int, str]:
    match item:
        case [str(file), int(label), str(cname)] if file and cname and not isinstance(label, bool):
            return file, label, cname
    raise BenchError(f"{path}: {part}[{i}] is {json.dumps(item)[:80]}, expected [path, label, class name]")


def _aircraft(name: str, progress: Progress) -> Images:
    """FGVC-Aircraft: ``variants.txt`` counts the classes, a file for each part lists image and variant."""
    folder = CATALOG[name].folder
    order, *parts = (folder / file for file in LAYOUTS[name].listed)
    labels = {
        v: i for i, v in enumerate(line.strip() for line in read_text(order).splitlines() if line.strip())
    }
    items = []
    for part, path in zip(PARTS, parts, strict=True):
        for number, line in enumerate(read_text(path).splitlines(), 1):
            image, _, variant = line.strip().partition(" ")
            if variant not in labels:
                raise BenchError(
                    f"{path}:{number}: {line!r}, expected an image and a variant of {order.name}"
                )
            items.append((part, f"{image}.jpg", labels[variant], variant))
    return _listed(name, order, items)


def _listed(name: str, listed_in: Path, items: Sequence[tuple[str, str, int, str]]) -> Images:
    """The list of images, from (part, path, label, class name), once it is sound and all files are there."""
    folder = CATALOG[name].folder
    base = LAYOUTS[name].images
    names: dict[int, str] = {}
    parts: dict[str, str] = {}
    for part, file, label, cname in items:
        if (known := names.setdefault(label, cname)) != cname:
            raise BenchError(f"{listed_in}: label {label} is {known!r} and {cname!r} ({part}: {file})")
        if file.startswith("/") or ".." in file.split("/"):
            raise BenchError(f"{listed_in}: {part}: path {file!r} leads out of the data set")
        if file in parts:
            raise BenchError(f"{listed_in}: {file} is in {parts[file]} and again in {part}")
        parts[file] = part
    trained = {label for part, _, label, _ in items if part == "train"}
    if lacking := sorted(set(names) - trained):
        raise BenchError(f"{listed_in}: class {names[lacking[0]]!r} has no image in train")
    for part in PARTS:
        if part not in parts.values():
            raise BenchError(f"{listed_in}: {part} is empty")
    files = [f"{base}/{file}" if base != "." else file for _, file, _, _ in items]
    sizes = sizes_of(folder, files, listed_in)
    place = {label: i for i, label in enumerate(sorted(names))}
    entries = [
        Entry(PARTS.index(part), place[label], file, size)
        for (part, _, label, _), file, size in zip(items, files, sizes, strict=True)
    ]
    return collect(folder, PARTS, [class_name(names[y]) for y in place], entries)


# ---------------------------------------------------------------------------------------- ImageNet's folders


def _class_names(path: Path) -> dict[str, str]:
    """WordNet id -> class name, in the order of ``classnames.txt``."""
    names: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        folder, _, cname = line.strip().partition(" ")
        if not cname.strip():
            raise BenchError(f"{path}:{number}: {line!r}, expected a WordNet id and a class name")
        names[folder] = cname.strip()
    if not names:
        raise BenchError(f"{path}: is empty, expected a WordNet id and a class name a line")
    return names


def _imagenet(name: str, progress: Progress) -> Images:
    """ImageNet: folders of training images, and of validation images, which are the test."""
    folder = CATALOG[name].folder
    names = _class_names(folder / NAMES)
    below = LAYOUTS[name].images
    ids = _known(folder / below / "train", subfolders(folder / below / "train"), names)
    found = subfolders(folder / below / "val")
    for first, second in ((ids, "val"), (found, "train")):
        if absent := sorted(set(first) - set(ids if second == "train" else found)):
            raise BenchError(f"{name}: no class folder {absent[0]!r} in {folder / below / second}")
    return _by_class(name, {"train": f"{below}/train", "test": f"{below}/val"}, ids, names, progress)


def _variant(name: str, progress: Progress) -> Images:
    """A test set with ImageNet's classes or some of them, one folder for each, called by its WordNet id."""
    folder, below = CATALOG[name].folder, LAYOUTS[name].images
    names = _class_names(folder / NAMES)
    ids = _known(folder / below, subfolders(folder / below), names)
    return _by_class(name, {"test": below}, ids, names, progress)


def _numbered(name: str, progress: Progress) -> Images:
    """ImageNet-V2: its folders are called by the line numbers of ``classnames.txt``, from 0."""
    folder, below = CATALOG[name].folder, LAYOUTS[name].images
    names = list(_class_names(folder / NAMES).values())
    numbers = [str(i) for i in range(len(names))]
    found = subfolders(folder / below)
    for a, b, what in ((numbers, found, "no class folder"), (found, numbers, "unknown class folder")):
        if wrong := sorted(set(a) - set(b)):
            raise BenchError(
                f"{name}: {what} {wrong[0]!r} in {folder / below}, expected 0 to {len(names) - 1}"
            )
    return _by_class(name, {"test": below}, numbers, dict(zip(numbers, names, strict=True)), progress)


def _known(folder: Path, ids: Sequence[str], names: Mapping[str, str]) -> Sequence[str]:
    if not ids:
        raise BenchError(f"{folder}: no class folder in it, expected one a WordNet id")
    if strange := [i for i in ids if i not in names]:
        raise BenchError(f"{folder / strange[0]}: {NAMES} does not know this class folder")
    return ids


def wordnet_ids(name: str, images: Images) -> tuple[str, ...]:
    """The WordNet id of every class of ImageNet or of a variant; unlike class names, no two are the same."""
    import numpy as np

    _, first = np.unique(images.labels, return_index=True)
    folders = [images.files[i].split("/")[-2] for i in first.tolist()]
    if LAYOUTS[name].scan is not _numbered:
        return tuple(folders)
    ids = list(_class_names(CATALOG[name].folder / NAMES))
    return tuple(ids[int(f)] for f in folders)


def _by_class(
    name: str, groups: Mapping[str, str], ids: Sequence[str], names: Mapping[str, str], progress: Progress
) -> Images:
    """The images of each group's class folders; labels count ``ids``."""
    folder = CATALOG[name].folder
    triples = [(g, below, y) for g, below in enumerate(groups.values()) for y in range(len(ids))]
    entries = []
    folders = [folder / below / ids[y] for _, below, y in triples]
    for i, images in in_all(folders, progress, f"{name}: class folders"):
        g, below, y = triples[i]
        if not images:
            raise BenchError(f"{name}: no image in {folders[i]}")
        entries += [Entry(g, y, f"{below}/{ids[y]}/{file}", size) for file, size in images]
    return collect(folder, list(groups), [names[i] for i in ids], entries)


# ------------------------------------------------------------------------------------------------ the layouts


def _zhou(
    images: str, split: str, classes: int, counts: tuple[int, int, int], template: str = PHOTO
) -> Layout:
    return Layout(
        places=(images, f"split_zhou_{split}.json"), scan=_split_file, classes=classes,
        counts=dict(zip(PARTS, counts, strict=True)), template=template,
    )  # fmt: skip


def _test_only(images: str, classes: int, count: int, *, numbered: bool = False) -> Layout:
    read = _numbered if numbered else _variant
    return Layout(places=(images, NAMES), scan=read, classes=classes, counts={"test": count})


#: Templates: the released code of CLIPood. Counts: general knowledge (CoOp's table of data sets), to be
#: verified; where a data set's publisher states a total, they add up to it.
LAYOUTS: dict[str, Layout] = {
    "imagenet": Layout(
        places=("images", NAMES), scan=_imagenet, classes=1_000,
        counts={"train": 1_281_167, "test": 50_000},
    ),
    "caltech101": _zhou("101_ObjectCategories", "Caltech101", 100, (4_128, 1_649, 2_465)),
    "oxford-pets": _zhou("images", "OxfordPets", 37, (2_944, 736, 3_669), "a photo of a {}, a type of pet."),
    "stanford-cars": _zhou(".", "StanfordCars", 196, (6_509, 1_635, 8_041)),
    "flowers102": _zhou(
        "jpg", "OxfordFlowers", 102, (4_093, 1_633, 2_463), "a photo of a {}, a type of flower."
    ),
    "food101": _zhou("images", "Food101", 101, (50_500, 20_200, 30_300), "a photo of {}, a type of food."),
    "fgvc-aircraft": Layout(
        places=("images", "variants.txt", *(f"images_variant_{part}.txt" for part in PARTS)),
        scan=_aircraft, classes=100, counts=dict(zip(PARTS, (3_334, 3_333, 3_333), strict=True)),
        template="a photo of a {}, a type of aircraft.",
    ),
    "sun397": _zhou("SUN397", "SUN397", 397, (15_880, 3_970, 19_850)),
    "dtd": _zhou("images", "DescribableTextures", 47, (2_820, 1_128, 1_692), "{} texture."),
    "eurosat": _zhou("2750", "EuroSAT", 10, (13_500, 5_400, 8_100), "a centered satellite photo of {}."),
    "ucf101": _zhou(
        "UCF-101-midframes", "UCF101", 101, (7_639, 1_898, 3_783), "a photo of a person doing {}."
    ),
    "imagenet-v2": _test_only("imagenetv2-matched-frequency-format-val", 1_000, 10_000, numbered=True),
    "imagenet-sketch": _test_only("images", 1_000, 50_889),
    "imagenet-a": _test_only("imagenet-a", 200, 7_500),
    "imagenet-r": _test_only("imagenet-r", 200, 30_000),
}  # fmt: skip

#: The data sets of the open-class setting; the rest are targets of a model trained on ImageNet.
OPEN_CLASS = tuple(name for name in LAYOUTS if not name.startswith("imagenet-"))
