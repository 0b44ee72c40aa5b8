"""The paper's photographs as they lie on disk: COCO 2017 with its captions, and ADE20K."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.contract import BenchError, digest
from bench.data.images.image_files import sizes_of
from bench.data.text import read_text

#: ControlNet's default prompt, which the paper takes for ADE20K and for the bank.
DEFAULT_PROMPT = "a high-quality, detailed, and professional image"
#: Where a part lies: its folder of pictures, and of COCO its file of captions.
_COCO: Mapping[str, tuple[str, str]] = {
    "train": ("train2017", "annotations/captions_train2017.json"),
    "test": ("val2017", "annotations/captions_val2017.json"),
}
_ADE20K: Mapping[str, str] = {"train": "images/training", "test": "images/validation"}
#: Photographs of each part, as their publishers state them (general knowledge, to be verified).
COUNTS: Mapping[str, Mapping[str, int]] = {
    "coco": {"train": 118_287, "test": 5_000},
    "ade20k": {"train": 20_210, "test": 2_000},
}
_GET = {
    "coco": "bring train2017.zip, val2017.zip and annotations_trainval2017.zip of cocodataset.org, unpacked",
    "ade20k": "bring ADEChallengeData2016.zip of the MIT scene parsing benchmark, unpacked",
}


@dataclass(frozen=True, slots=True)
class Photographs:
    """Files of photographs in a fixed order, and what each can be asked for with (one prompt at least)."""

    files: tuple[Path, ...]
    prompts: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.files)


def missing(name: str, folder: Path) -> str | None:
    """Which folder or file of a set is not there, and where it comes from, or None. Cheap."""
    for part in ("train", "test"):
        for place in _COCO[part] if name == "coco" else (_ADE20K[part],):
            if not (folder / place).exists():
                return f"{name}: no {place} in {folder}: {_GET[name]}"
    return None


def fingerprint(name: str, folder: Path) -> str:
    """Identity of a set by the names and sizes of its files of captions and the names of its pictures."""
    found: list[object] = []
    for part in ("train", "test"):
        places: Sequence[str] = _COCO[part] if name == "coco" else (_ADE20K[part],)
        found += [_pictures(folder / places[0]), [(folder / p).stat().st_size for p in places[1:]]]
    return digest(found)


def read(name: str, folder: Path, part: str) -> Photographs:
    """A part of a set, "train" or "test".

    Raises:
        BenchError: the captions cannot be read, a photograph of them is not there, has no bytes or stands
            there twice, or there are fewer or more than were published.
    """
    found = _coco(folder, *_COCO[part]) if name == "coco" else _ade20k(folder, _ADE20K[part])
    if len(found) != (published := COUNTS[name][part]):
        raise BenchError(
            f"{name}: {len(found):,} photographs in its part {part!r} in {folder}, {published:,} were"
            f" published: {_GET[name]}"
        )
    return found


def _pictures(folder: Path) -> list[str]:
    """The names of the photographs in a folder, in order, without what is hidden or no file. Cheap."""
    try:
        with os.scandir(folder) as entries:
            found = [e.name for e in entries if e.name.endswith(".jpg") and not e.name.startswith(".")]
    except OSError as e:
        raise BenchError(f"{folder}: cannot be listed: {e.strerror}") from e
    return sorted(found)


def _coco(folder: Path, pictures: str, captions: str) -> Photographs:
    file = folder / captions
    try:
        whole = json.loads(read_text(file))
        listed = [(int(i["id"]), str(i["file_name"])) for i in whole["images"]]
        names = dict(listed)
        prompts: dict[int, dict[int, str]] = {k: {} for k in names}
        for a in whole["annotations"]:
            text = str(a["caption"]).strip()
            if prompts[int(a["image_id"])].setdefault(int(a["id"]), text) != text:
                raise ValueError(f"two captions with the id {a['id']}")
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as e:
        raise BenchError(f"{file}: no captions of COCO: {e!r}") from e
    seen: set[int | str] = set()
    for k, name in listed:
        if k in seen or name in seen:
            raise BenchError(f"{file}: photograph {name} (id {k}) stands there twice")
        seen |= {k, name}
    here = set(_pictures(folder / pictures))
    for k, name in names.items():
        if name not in here:
            raise BenchError(f"{file}: photograph {name} is not in {folder / pictures}")
        if not prompts[k]:
            raise BenchError(f"{file}: photograph {name} has no caption")
    order = sorted(names)
    sizes_of(folder, [f"{pictures}/{names[k]}" for k in order], file)
    return Photographs(
        tuple(folder / pictures / names[k] for k in order), tuple(tuple(prompts[k].values()) for k in order)
    )


def _ade20k(folder: Path, below: str) -> Photographs:
    names = _pictures(folder / below)
    sizes_of(folder, [f"{below}/{name}" for name in names], folder / below)
    return Photographs(tuple(folder / below / name for name in names), ((DEFAULT_PROMPT,),) * len(names))


def cropped(files: Sequence[Path], size: int) -> np.ndarray:
    """Photographs (n, size, size, 3) uint8: the shorter side resized, the middle cut out.

    Raises:
        BenchError: a file is no picture.
    """
    from PIL import Image, ImageOps

    from bench.data.images.pictures import opened

    found = np.empty((len(files), size, size, 3), np.uint8)
    for k, file in enumerate(files):
        found[k] = np.asarray(ImageOps.fit(opened(file), (size, size), Image.Resampling.LANCZOS))
    return found
