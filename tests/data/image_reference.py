"""Tiny image data sets in the real layouts, and DomainBed's split worked out from its definition."""

from __future__ import annotations

import hashlib
import json

from PIL import Image

from bench.data.catalog import CATALOG
from bench.data.images.coop import LAYOUTS as COOP
from bench.data.images.image_folders import domains

CLASSES = ("Alarm_Clock", "bike", "dog", "horse")
IDS = ("n01440764", "n01443537", "n01484850", "n01491361", "n01494475")
NAMES = ("tench", "goldfish", "great white shark", "tiger shark", "hammerhead shark")


def picture(path, shade=0, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade % 256, 90, 200)).save(path, "PNG" if path.suffix == ".png" else "JPEG")


def folders(name, classes=CLASSES, images=3):
    """``images`` + d of class 0 in domain d, so that the domains differ; ``images`` of the other classes."""
    for d, domain in enumerate(domains(name)):
        for y, c in enumerate(classes):
            for i in range(images + (d if y == 0 else 0)):
                # Names whose order as strings is not that of their numbers.
                picture(
                    CATALOG[name].folder / domain / c / f"pic_{9 + i}.{'png' if i % 2 else 'jpg'}", d * 40
                )
    return CATALOG[name].folder


def split_file(name, classes, train=6, val=5, test=3):
    """A data set with a ``split_zhou`` file: labels stand in it in reverse, class names with ``_``."""
    folder, layout = CATALOG[name].folder, COOP[name]
    split = {"train": [], "val": [], "test": []}
    for label in reversed(range(classes)):
        for part, n in (("train", train), ("val", val), ("test", test)):
            for i in range(n):
                file = f"kind_{label}/{part}_{i}.jpg"
                picture(folder / layout.images / file, label)
                split[part].append([file, label, f"Kind_{label}"])
    (folder / layout.listed[0]).write_text(json.dumps(split))
    return folder


def aircraft():
    folder = CATALOG["fgvc-aircraft"].folder
    variants = ("747-300", "ATR-42", "F/A-18", "Boeing 717")
    for part in ("train", "val", "test"):
        lines = []
        for y, variant in enumerate(variants):
            for i in range(5):
                image = f"{part}{y}{i}"
                picture(folder / "images" / f"{image}.jpg")
                lines.append(f"{image} {variant}\n")
        (folder / f"images_variant_{part}.txt").write_text("".join(lines))
    (folder / "variants.txt").write_text("".join(f"{v}\n" for v in variants))
    return folder


def class_names(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classnames.txt").write_text("".join(f"{i} {n}\n" for i, n in zip(IDS, NAMES, strict=True)))


def imagenet(train=24):
    folder = CATALOG["imagenet"].folder
    class_names(folder)
    for y, i in enumerate(IDS):
        for k in range(train):
            picture(folder / "images" / "train" / i / f"{i}_{k}.JPEG", y)
        for k in range(2):
            picture(folder / "images" / "val" / i / f"ILSVRC2012_val_{y}{k}.JPEG", y)
    return folder


def variant(name, chosen=IDS):
    folder = CATALOG[name].folder
    class_names(folder)
    for y, i in enumerate(chosen):
        below = str(y) if name == "imagenet-v2" else i
        picture(folder / COOP[name].images / below / f"{y}.jpg", y)
    (folder / COOP[name].images / "README.txt").write_text("not a class")
    return folder


# ----------------------------------------------------------------------------- the split, from its definition


def _mt19937(seed):
    """MT19937 with its plain seeding (Matsumoto and Nishimura, 2002): 32-bit numbers."""
    state = [seed & 0xFFFFFFFF]
    for i in range(1, 624):
        state.append((1812433253 * (state[-1] ^ state[-1] >> 30) + i) & 0xFFFFFFFF)
    while True:
        for i in range(624):
            y = state[i] & 0x80000000 | state[(i + 1) % 624] & 0x7FFFFFFF
            state[i] = state[(i + 397) % 624] ^ y >> 1 ^ (0x9908B0DF if y & 1 else 0)
        for y in state:
            y ^= y >> 11
            y ^= y << 7 & 0x9D2C5680
            y ^= y << 15 & 0xEFC60000
            yield (y ^ y >> 18) & 0xFFFFFFFF


def permutation(n, text):
    """Fisher and Yates from the top; partners by masking and rejection; seeded by the md5 of a text."""
    numbers = _mt19937(int(hashlib.md5(text.encode()).hexdigest(), 16) % 2**31)
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        mask = (1 << i.bit_length()) - 1
        j = next(v for v in (x & mask for x in numbers) if v <= i)
        order[i], order[j] = order[j], order[i]
    return order
