"""The eight targets of Diff-Tuning: missing, made ready once, checked, read.

What `bench.data.images.image_sets` does for its layouts, for those of `class_layouts`. Lists are kept
apart from that module's: four of these data sets have one there too, with another split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.contract import BenchError, digest
from bench.data.catalog import CATALOG, VARIABLE, root
from bench.data.images import class_layouts
from bench.data.images.image_files import MANIFEST, Images, Manifest, describe, load, write
from bench.data.preparing import Progress, silent

if TYPE_CHECKING:
    import numpy as np

LAYOUTS: Mapping[str, class_layouts.Layout] = class_layouts.LAYOUTS
NAMES: tuple[str, ...] = tuple(LAYOUTS)
#: Raise when the order, a label, a part or the format changes: what was prepared before is prepared again.
VERSION = 1

Part = Literal["train", "test", "all"]


@dataclass(frozen=True, slots=True)
class ImageList:
    """Images of one part. ``paths``: n files; ``label``: (n,) int64, positions in ``classes``, the names."""

    paths: tuple[Path, ...]
    label: np.ndarray
    classes: tuple[str, ...]


def known(name: str) -> str:
    """The name itself.

    Raises:
        BenchError: there is no such data set here; says the nearest.
    """
    import difflib

    if name not in LAYOUTS:
        near = difflib.get_close_matches(name, LAYOUTS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(LAYOUTS)}"
        raise BenchError(f"no data set {name!r} of classes; {hint}")
    return name


def missing(name: str) -> str | None:
    """Why a data set cannot be read here and what to do about it, or None. Cheap: lists no folder."""
    command = f"bench data prepare {known(name)}"
    if why := _absent(name):
        return f"{name}: {why}, then: {command}"
    try:
        manifest = _manifest(name)
    except FileNotFoundError:
        return f"{name}: {CATALOG[name].folder} is not prepared as its publisher splits it: {command}"
    except BenchError as e:
        return f"{e}: {command}"
    if manifest.version != VERSION:
        return f"{name}: prepared under rules {manifest.version}, today's are {VERSION}: {command}"
    return None


def _absent(name: str) -> str | None:
    dataset = CATALOG[name]
    folder = dataset.folder
    if not folder.is_dir():
        return f"no folder {folder.name} in {folder.parent} (${VARIABLE}): get it from {dataset.get}"
    for place in LAYOUTS[name].places:
        if not (folder / place).exists():
            kind = "file" if Path(place).suffix else "folder"
            return f"no {kind} {place} in {folder} (${VARIABLE}/{folder.name}): get it from {dataset.get}"
    return None


def fingerprint(name: str) -> str:
    """16 hex digits over the classes and every image's part, label, size and path. Cheap: of the manifest.

    Ends in ``-part`` if the data set was not the whole published one.
    """
    manifest = _manifest(known(name))
    return digest(asdict(manifest)) + ("" if manifest.complete else "-part")


def prepare(
    name: str, *, partial: bool = False, again: bool = False, progress: Progress = silent
) -> Manifest:
    """List a data set and keep the list.

    Args:
        name: one of `NAMES`.
        partial: accept other counts than the published ones.
        again: list it although it has been done.
        progress: told how many folders are read.

    Raises:
        BenchError: something is missing or not as it should be (named), or counts differ from the published
            ones and not ``partial``.
    """
    if not again and missing(name) is None and ((done := _manifest(name)).complete or partial):
        return done
    images, wrong = _scanned(name, progress)
    if wrong and not partial:
        raise BenchError(f"{name}: {wrong}; --partial takes it as it is")
    manifest, text = describe(name, images, wrong is None, VERSION)
    try:
        write(_place(name), manifest, text)
    except OSError as e:
        raise BenchError(f"{_place(name)}: cannot be written: {e.strerror}") from e
    return manifest


def _scanned(name: str, progress: Progress) -> tuple[Images, str | None]:
    """What lies there now, and how it differs from the published data set."""
    if why := _absent(known(name)):
        raise BenchError(f"{name}: {why}")
    images = class_layouts.scan(name, progress)
    return images, class_layouts.difference(name, images)


def verify(name: str, progress: Progress = silent) -> Manifest:
    """List a data set again and compare with what was kept.

    Raises:
        BenchError: it is not prepared, or a file came, went, or has another size, part or label.
    """
    kept = _kept(name)
    found, wrong = _scanned(name, progress)
    manifest = _manifest(name)
    if describe(name, found, wrong is None, VERSION)[0] == manifest:
        return manifest
    before, now = (
        {
            f: row
            for f, *row in zip(i.files, i.sizes.tolist(), i.group.tolist(), i.labels.tolist(), strict=True)
        }
        for i in (kept, found)
    )
    changed = sorted(f for f in before.keys() | now.keys() if before.get(f) != now.get(f))
    what = f"{changed[0]} and {len(changed) - 1:,} more" if changed[1:] else "".join(changed) or "class names"
    folder, command = CATALOG[name].folder, f"bench data prepare {name} --again"
    raise BenchError(f"{name}: {folder} changed since it was prepared: {what}: {command}")


def read(name: str, part: Part) -> ImageList:
    """The images of a part: the publisher's training or test images, or all there are (validation too).

    Whether they are still there is not looked at (`verify` does).

    Raises:
        BenchError: the data set is not here, not prepared, or the list is damaged; there is no such part.
    """
    import numpy as np

    if part not in ("train", "test", "all"):
        raise BenchError(f"{name}: no part {part!r}; expected train, test or all")
    images = _kept(name)
    rows = np.arange(len(images.files)) if part == "all" else images.rows(part)
    return ImageList(tuple(images.paths(rows)), images.labels[rows], images.classes)


def _kept(name: str) -> Images:
    if why := missing(name):
        raise BenchError(why)
    try:
        return load(_place(name), _manifest(name), CATALOG[name].folder)
    except BenchError as e:
        raise BenchError(f"{e}: bench data prepare {name} --again") from e


def _place(name: str) -> Path:
    return root() / "prepared" / "class-trees" / name


def _manifest(name: str) -> Manifest:
    path = _place(name) / MANIFEST
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _read(path: Path, changed: int) -> Manifest:
    # ``changed`` is part of the cache's key only: a plan asks once a task, the file is read once.
    return Manifest.read(path)
