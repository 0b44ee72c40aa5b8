"""Image data sets that the user brings: missing, made ready once, checked, read; whatever their layout.

Making one ready (`prepare`) lists it once, into ``prepared/<name>`` below `bench.data.catalog.root`: a plan
then asks a small manifest, and a cell reads a list instead of walking through a million files. Nothing is
written into the data set's own folder, where the authors' code would take a new folder for a domain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from bench.contract import BenchError, digest
from bench.data.catalog import CATALOG, VARIABLE, root
from bench.data.images import coop, fmow, image_folders
from bench.data.images.image_files import MANIFEST, Images, Manifest, describe, load, write
from bench.data.preparing import Progress, silent

#: Raise when the order, a label or the format changes: what was prepared before is then prepared again.
VERSION = 1

LAYOUTS: Mapping[str, image_folders.Layout | coop.Layout | fmow.Layout] = {
    **image_folders.LAYOUTS, **coop.LAYOUTS, **fmow.LAYOUTS,
}  # fmt: skip


def _module(name: str) -> ModuleType:
    return next(m for m in (image_folders, coop, fmow) if name in m.LAYOUTS)


def known(name: str) -> str:
    """The name itself.

    Raises:
        BenchError: there is no such image data set; says the nearest.
    """
    import difflib

    if name not in LAYOUTS:
        near = difflib.get_close_matches(name, LAYOUTS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(LAYOUTS)}"
        raise BenchError(f"no image data set {name!r}; {hint}")
    return name


def missing(name: str) -> str | None:
    """Why a data set cannot be read here and what to do about it, or None. Cheap: lists no folder."""
    command = f"bench data prepare {known(name)}"
    if why := _absent(name):
        return f"{name}: {why}, then: {command}"
    try:
        manifest = _manifest(name)
    except FileNotFoundError:
        return f"{name}: {CATALOG[name].folder} is not prepared: {command}"
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
            kind = "file" if Path(place).suffix in (".csv", ".json", ".txt") else "folder"
            return f"no {kind} {place} in {folder} (${VARIABLE}/{folder.name}): get it from {dataset.get}"
    return None


def fingerprint(name: str) -> str:
    """16 hex digits over the classes and every image's group, label, size and path. Cheap: of the manifest.

    Ends in ``-part`` if the data set was not the whole published one.
    """
    manifest = _manifest(known(name))
    return digest(asdict(manifest)) + ("" if manifest.complete else "-part")


def prepare(
    name: str, *, partial: bool = False, again: bool = False, progress: Progress = silent
) -> Manifest:
    """List a data set and keep the list.

    Args:
        name: a key of `LAYOUTS`.
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
    place = _place(name)
    try:
        write(place, manifest, text)
    except OSError as e:
        raise BenchError(f"{place}: cannot be written: {e.strerror}") from e
    return manifest


def _scanned(name: str, progress: Progress) -> tuple[Images, str | None]:
    """What lies there now, and how it differs from the published data set."""
    if why := _absent(known(name)):
        raise BenchError(f"{name}: {why}")
    module = _module(name)
    images: Images = module.scan(name, progress)
    wrong: str | None = module.difference(name, images)
    return images, wrong


def verify(name: str, progress: Progress = silent) -> Manifest:
    """List a data set again and compare with what was kept.

    Raises:
        BenchError: it is not prepared, or a file came, went, or has another size.
    """
    kept = read(name)
    found, wrong = _scanned(name, progress)
    manifest = _manifest(name)
    if describe(name, found, wrong is None, VERSION)[0] == manifest:
        return manifest
    folder, command = CATALOG[name].folder, f"bench data prepare {name} --again"
    raise BenchError(f"{name}: {folder} changed since it was prepared: {_change(kept, found)}: {command}")


def _change(kept: Images, found: Images) -> str:
    before, now = (dict(zip(i.files, i.sizes.tolist(), strict=True)) for i in (kept, found))
    for said, files in (("is gone", before.keys() - now.keys()), ("is new", now.keys() - before.keys())):
        if files:
            more = f" and {len(files) - 1:,} more" if len(files) > 1 else ""
            return f"{min(files)} {said}{more}"
    for file, size in before.items():
        if now[file] != size:
            return f"{file} has {now[file]:,} bytes, had {size:,}"
    return "a label or a class has another name"


def read(name: str) -> Images:
    """The list of a prepared data set. Whether the images are still there is not looked at (`verify` does).

    Raises:
        BenchError: it is not here, not prepared, or the list is damaged.
    """
    if why := missing(name):
        raise BenchError(why)
    try:
        return load(_place(name), _manifest(name), CATALOG[name].folder)
    except BenchError as e:
        raise BenchError(f"{e}: bench data prepare {name} --again") from e


def _place(name: str) -> Path:
    return root() / "prepared" / name


def _manifest(name: str) -> Manifest:
    path = _place(name) / MANIFEST
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _read(path: Path, changed: int) -> Manifest:
    # ``changed`` is part of the cache's key only: a plan asks once a task, the file is read once.
    return Manifest.read(path)
