"""The paper's photographs as they lie on disk: COCO 2017 with its captions, and ADE20K."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.contract import BenchError, digest

#: ControlNet's default prompt, which the paper takes for ADE20K and for the bank.
DEFAULT_PROMPT = "a high-quality, detailed, and professional image"
#: Where a part lies: its folder of pictures, and of COCO its file of captions.
_COCO: Mapping[str, tuple[str, str]] = {
    "train": ("train2017", "annotations/captions_train2017.json"),
    "test": ("val2017", "annotations/captions_val2017.json"),
}
_ADE20K: Mapping[str, str] = {"train": "images/training", "test": "images/validation"}
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
        pictures = sorted(f.name for f in (folder / places[0]).iterdir())
        found += [pictures, [(folder / p).stat().st_size for p in places[1:]]]
    return digest(found)


def read(name: str, folder: Path, part: str) -> Photographs:
    """A part of a set, "train" or "test".

    Raises:
        BenchError: the captions cannot be read, a photograph of them is not there, or there is none.
    """
    found = _coco(folder, *_COCO[part]) if name == "coco" else _ade20k(folder / _ADE20K[part])
    if not len(found):
        raise BenchError(f"{name}: no photograph in its part {part!r} in {folder}")
    return found


def _coco(folder: Path, pictures: str, captions: str) -> Photographs:
    file = folder / captions
    try:
        whole = json.loads(file.read_text(encoding="utf-8"))
        names = {int(i["id"]): str(i["file_name"]) for i in whole["images"]}
        prompts: dict[int, list[str]] = {k: [] for k in names}
        for a in whole["annotations"]:
            prompts[int(a["image_id"])].append(str(a["caption"]).strip())
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise BenchError(f"{file}: no captions of COCO: {e!r}") from e
    here = {f.name for f in (folder / pictures).iterdir()}
    for k, name in names.items():
        if name not in here:
            raise BenchError(f"{file}: photograph {name} is not in {folder / pictures}")
        if not prompts[k]:
            raise BenchError(f"{file}: photograph {name} has no caption")
    order = sorted(names)
    return Photographs(
        tuple(folder / pictures / names[k] for k in order), tuple(tuple(prompts[k]) for k in order)
    )


def _ade20k(folder: Path) -> Photographs:
    files = tuple(sorted(folder.glob("*.jpg")))
    return Photographs(files, ((DEFAULT_PROMPT,),) * len(files))


def cropped(files: Sequence[Path], size: int) -> np.ndarray:
    """Photographs (n, size, size, 3) uint8: the shorter side resized, the middle cut out.

    Raises:
        BenchError: a file is no picture.
    """
    from PIL import Image, ImageOps

    found = np.empty((len(files), size, size, 3), np.uint8)
    for k, file in enumerate(files):
        try:
            with Image.open(file) as opened:
                whole = opened.convert("RGB")
        except OSError as e:
            raise BenchError(f"{file}: no picture: {e}") from e
        found[k] = np.asarray(ImageOps.fit(whole, (size, size), Image.Resampling.LANCZOS))
    return found
