"""Lists of pictures as they are after an accident: the same pictures in every part, or a named refusal."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import image_reference as coop_sets
import numpy as np
import publisher_reference as reference
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import OF_BYTES, OF_TEXT, mutated
from scipy.io import loadmat, savemat

from bench.contract import BenchError
from bench.data.catalog import CATALOG
from bench.data.images import class_layouts, coop
from bench.data.preparing import silent


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    return tmp_path


def df20():
    """DF20-Mini with rows of one line each, several of each species."""
    reference.df20()
    folder = CATALOG["df20-mini"].folder
    for part, numbers in (("train", range(6)), ("public_test", range(6, 10))):
        with open(folder / f"DF20M-{part}_metadata_PROD.csv", "w", newline="") as f:
            table = csv.writer(f, lineterminator="\n")
            table.writerow(("ImageUniqueID", "scientificName", "image_path", "Habitat"))
            for i in numbers:
                reference.picture(folder / "DF20M" / f"2-{i}.JPG")
                species = ("Boletus edulis Bull.", "Amanita muscaria (L.) Lam., 1783")[i % 2]
                table.writerow((i, species, f"2-{i}.JPG", "wood"))


def eurosat():
    coop_sets.split_file("eurosat", classes=3, train=2, val=1, test=1)


MAKERS = {
    **reference.MAKERS, "df20-mini": df20, "eurosat": eurosat, "fgvc-aircraft": coop_sets.aircraft,
    "imagenet-a": lambda: coop_sets.variant("imagenet-a", coop_sets.IDS[:3]),
}  # fmt: skip
LAYOUTS = {**coop.LAYOUTS, **class_layouts.LAYOUTS}


def ready(here, name, file):
    """A small data set, made once for all examples of a test: the file, and what it was when it was whole."""
    path, whole = CATALOG[name].folder / file, here / "whole"
    if not whole.exists():
        MAKERS[name]()
        whole.write_bytes(path.read_bytes())
    path.write_bytes(whole.read_bytes())
    return path


def content(images):
    """Part, class and path of every picture."""
    names = ((images.groups[g], images.classes[y]) for g, y in zip(images.group, images.labels, strict=True))
    return sorted((*of, file) for of, file in zip(names, images.files, strict=True))


def pictures(images):
    """Part and path of every picture."""
    return sorted((part, file) for part, _, file in content(images))


def same_or_refused(name, before, has_to_be_read=False):
    """Read a list whose file was changed: it has all the pictures, or what differs is said by name.

    ``before`` is what was listed when it was whole. Numbers of classes and pictures are compared with the
    published ones whenever a data set is prepared, here with those of ``before``.
    """
    layout = replace(LAYOUTS[name], classes=len(before.classes), counts=before.counts(), totals=())
    try:
        found = layout.scan(name, silent)
        told = layout.difference(found)
    except BenchError as e:
        told = str(e)
        assert str(CATALOG[name].folder) in told
        assert any(path.name in told for path in map(Path, layout.listed)), "names a file that lists pictures"
    assert not (has_to_be_read and told), told
    if not told:
        assert pictures(found) == pictures(before)
    if has_to_be_read:
        assert content(found) == content(before)


CUB = ("images.txt", "image_class_labels.txt", "train_test_split.txt")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        *(("cub-200-2011", file) for file in CUB),
        *(("df20-mini", f"DF20M-{part}_metadata_PROD.csv") for part in ("train", "public_test")),
        ("food101", "meta/train.txt"),
        ("fgvc-aircraft", "images_variant_val.txt"),
        ("fgvc-aircraft", "variants.txt"),
        ("imagenet-a", "classnames.txt"),
    ],
)
@given(harm=OF_TEXT)
def test_a_mutated_list_of_lines(here, name, file, harm):
    path = ready(here, name, file)
    before = LAYOUTS[name].scan(name, silent)
    data, same = mutated(path.read_bytes(), harm, header=file.endswith(".csv"))
    path.write_bytes(data)
    same &= (harm[0], file) != ("shuffled", "variants.txt")  # it counts the classes
    same_or_refused(name, before, same)


# ------------------------------------------------------------------------------------------ lists of MATLAB


MATLAB = [
    ("oxford-flowers", "imagelabels.mat", "labels"),
    ("oxford-flowers", "setid.mat", "tstid"),
    ("stanford-cars", "devkit/cars_meta.mat", "class_names"),
    ("stanford-cars", "devkit/cars_train_annos.mat", "annotations"),
    ("stanford-cars", "cars_test_annos_withlabels.mat", "annotations"),
]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize(("name", "file", "key"), MATLAB)
@given(harm=OF_BYTES)
def test_a_mutated_file_of_matlab(here, name, file, key, packed, harm):
    path = ready(here, name, file)
    before = LAYOUTS[name].scan(name, silent)
    if packed:  # as MATLAB writes by default
        found = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
        savemat(path, found, do_compression=True)
    data, _ = mutated(path.read_bytes(), harm)
    path.write_bytes(data)
    same_or_refused(name, before)


def spoilt(values, i):
    """Numbers with one that is none at a place."""
    values = values.astype(float)
    values.flat[i % values.size] = np.nan
    return values


#: What a variable of numbers or of structures becomes.
VALUES = {
    "nan": spoilt,
    "infinite": lambda v, i: v.astype(float) + np.inf,
    "complex": lambda v, i: v + 1j,
    "a fraction": lambda v, i: v + 0.5,
    "text": lambda v, i: np.array([str(x) for x in v.ravel()]),
    "objects": lambda v, i: np.array([[x, "x"] for x in v.ravel()], object),
    "a matrix": lambda v, i: np.concatenate([v, v]),
    "a column": lambda v, i: v.T,
    "empty": lambda v, i: v[:, :0],
    "cut": lambda v, i: v[:, : i % v.size],
    "doubled": lambda v, i: np.concatenate([v, v], 1),
    "one again": lambda v, i: np.concatenate([v, v[:, i % v.size][:, None]], 1),
    "shuffled": lambda v, i: np.random.default_rng(i).permutation(v, 1),
    "renamed": lambda v, i: v,
    "of version 7.3": lambda v, i: v,
}
#: Of structures the rows change; what else changes is the class of one of them.
OF_ROWS = {"empty", "cut", "doubled", "one again", "shuffled", "renamed", "of version 7.3"}


def changed(values, what, i):
    """The values with one change; None where it makes no sense."""
    try:
        if not values.dtype.names or what in OF_ROWS:
            return VALUES[what](values, i)
        row = values.copy()
        row["class"][0, i % row.size] = VALUES[what](row["class"][0, i % row.size], i)
        return row
    except (TypeError, ValueError):
        return None  # names of classes are no numbers


@pytest.mark.parametrize(("name", "file", "key"), MATLAB)
@given(what=st.sampled_from(sorted(VALUES)), i=st.integers(0, 9))
def test_mutated_values_of_matlab(here, name, file, key, what, i):
    path = ready(here, name, file)
    before = LAYOUTS[name].scan(name, silent)
    found = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    values = changed(found.pop(key), what, i)
    listed_in_order = key in ("labels", "class_names")
    if values is None or (what == "shuffled" and listed_in_order):  # whose order no reader can check
        return
    if what == "of version 7.3":  # HDF5 behind 512 bytes of MATLAB's
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w", userblock_size=512) as new:
            new[key] = np.arange(3)
        head = b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM"
        path.write_bytes(head.ljust(512, b"\0") + path.read_bytes()[512:])
    else:
        savemat(path, {**found, key + "s" * (what == "renamed"): values})
    same_or_refused(name, before, what == "shuffled")
