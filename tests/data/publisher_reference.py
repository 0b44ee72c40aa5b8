"""The eight targets of Diff-Tuning as tiny sets in their publishers' layouts."""

from __future__ import annotations

import csv

import numpy as np
from image_reference import picture
from scipy.io import savemat

from bench.data.catalog import CATALOG


def at(name):
    folder = CATALOG[name].folder
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def food101():
    folder = at("food101")
    (folder / "meta").mkdir()
    for part, numbers in (("train", (5, 11)), ("test", (7,))):
        lines = [f"{c}/{n}" for c in ("apple_pie", "waffles") for n in numbers]
        for line in lines:
            picture(folder / "images" / f"{line}.jpg")
        (folder / "meta" / f"{part}.txt").write_text("\n".join(lines) + "\n")
    return {
        "train": ["apple_pie/5", "apple_pie/11", "waffles/5", "waffles/11"],
        "test": ["apple_pie/7", "waffles/7"],
    }


def sun397():
    folder = at("sun397")
    for k, c in enumerate(("a/abbey", "a/apse/indoor", "c/church/indoor", "c/church/outdoor")):
        for i in range(5):
            picture(folder / "SUN397" / c / f"sun_{'abcde'[i]}.jpg", 12 * (5 * k + i))
    picture(folder / "SUN397/c/church/outdoor/sun_bhenjvsvrtumjuri.jpg")
    (folder / "SUN397/ClassName.txt").write_text("/a/abbey\n")


def caltech101():
    folder = at("caltech101")
    for k, c in enumerate(("BACKGROUND_Google", "Faces", "airplanes")):
        for i in range(10):
            picture(folder / "101_ObjectCategories" / c / f"image_{i:04d}.jpg", 8 * (10 * k + i))


def df20():
    folder = at("df20-mini")
    rows = {
        "train": [("2-1.JPG", "Boletus edulis Bull."), ("3-2.JPG", "Amanita muscaria (L.) Lam., 1783")],
        "public_test": [("9-9.JPG", "Boletus edulis Bull.")],
    }
    for part, items in rows.items():
        with open(folder / f"DF20M-{part}_metadata_PROD.csv", "w", newline="") as f:
            table = csv.writer(f)
            table.writerow(("ImageUniqueID", "scientificName", "image_path", "Habitat"))
            for i, (file, species) in enumerate(items):
                picture(folder / "DF20M" / file)
                table.writerow((i, species, file, "in two\nlines"))


def cub():
    folder = at("cub-200-2011")
    files = [f"{c}/{c[4:]}_{i}.jpg" for c in ("001.Laysan_Albatross", "002.Bobolink") for i in range(3)]
    for file in files:
        picture(folder / "images" / file)
    numbers = range(1, len(files) + 1)
    lists = {
        "images": files,
        "image_class_labels": [1, 1, 1, 2, 2, 2],
        "train_test_split": [1, 0, 1, 0, 0, 1],
    }
    for name, values in lists.items():
        text = "".join(f"{n} {v}\n" for n, v in zip(numbers, values, strict=True))
        (folder / f"{name}.txt").write_text(text)


def artbench():
    folder = at("artbench-10")
    for part, n in (("train", 3), ("test", 2)):
        for c in ("art_nouveau", "ukiyo_e"):
            for i in range(n):
                picture(folder / part / c / f"some-one_{part}-{i}.jpg")


def flowers():
    folder = at("oxford-flowers")
    for i in range(1, 8):
        picture(folder / "jpg" / f"image_{i:05d}.jpg")
    savemat(folder / "imagelabels.mat", {"labels": np.array([[10, 10, 2, 2, 1, 1, 10]], np.uint8)})
    parts = {"trnid": [6, 4, 1], "valid": [2], "tstid": [3, 5, 7]}
    savemat(folder / "setid.mat", {k: np.array([v], np.uint16) for k, v in parts.items()})


def cars():
    folder = at("stanford-cars")
    (folder / "devkit").mkdir()
    names = np.array(["Acura RL", "BMW M3", "smart fortwo"], object)
    savemat(folder / "devkit/cars_meta.mat", {"class_names": names})
    tables = {
        "devkit/cars_train_annos.mat": ("cars_train", [("00001.jpg", 3), ("00002.jpg", 1), ("00003.jpg", 2)]),
        "cars_test_annos_withlabels.mat": ("cars_test", [("00001.jpg", 2)]),
    }
    kind = [("bbox_x1", object), ("class", object), ("fname", object)]
    for file, (below, rows) in tables.items():
        for image, _ in rows:
            picture(folder / below / image)
        table = np.array([(39, np.uint8(c), f) for f, c in rows], dtype=kind)
        savemat(folder / file, {"annotations": table})


MAKERS = {
    "food101": food101, "sun397": sun397, "df20-mini": df20, "caltech101": caltech101, "cub-200-2011": cub,
    "artbench-10": artbench, "oxford-flowers": flowers, "stanford-cars": cars,
}  # fmt: skip
