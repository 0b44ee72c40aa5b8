"""The eight targets of Diff-Tuning in their publishers' layouts: parts, labels, splits, and refusals."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
from data_command import bench
from image_reference import picture
from publisher_reference import MAKERS, artbench, caltech101, cars, flowers, food101, sun397
from scipy.io import savemat

from bench.contract import BenchError
from bench.data.catalog import CATALOG
from bench.data.images import image_sets
from bench.data.images.class_layouts import LAYOUTS, random_parts

TABLE = "DF20M-train_metadata_PROD.csv"


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


def ready(name):
    MAKERS[name]()
    return image_sets.publisher_set(name).prepare(partial=True)


def listed(name, part):
    images = image_sets.publisher_set(name).read()
    images = images if part == "all" else images.only(part)
    assert images.labels.dtype == np.int64
    return list(zip(images.files, (images.classes[y] for y in images.labels), strict=True))


# ----------------------------------------------------------------------------------------------- what is read


def test_names_are_the_papers_eight_and_every_one_is_in_the_catalogue():
    assert set(image_sets.PUBLISHER_LAYOUTS) == set(MAKERS)
    assert [LAYOUTS[n].classes for n in image_sets.PUBLISHER_LAYOUTS] == [
        101,
        397,
        182,
        101,
        200,
        10,
        102,
        196,
    ]
    totals = {n: sum(LAYOUTS[n].counts.values()) for n in image_sets.PUBLISHER_LAYOUTS}
    assert totals == {
        "food101": 101_000, "sun397": 108_753, "df20-mini": 36_393, "caltech101": 8_677,
        "cub-200-2011": 11_788, "artbench-10": 60_000, "oxford-flowers": 8_189, "stanford-cars": 16_185,
    }  # fmt: skip


def test_food101():
    lists = food101()
    image_sets.publisher_set("food101").prepare(partial=True)
    for part, files in lists.items():
        assert [f for f, _ in listed("food101", part)] == [f"images/{f}.jpg" for f in files]
    assert image_sets.publisher_set("food101").read().classes == ("apple pie", "waffles")


def test_sun397_has_nested_classes_and_leaves_out_the_file_that_cannot_be_decoded():
    assert ready("sun397").counts == (14, 2, 4)
    found = listed("sun397", "all")
    assert len(found) == 20
    classes = {"abbey": "a/abbey", "apse/indoor": "a/apse/indoor", "church/indoor": "c/church/indoor",
               "church/outdoor": "c/church/outdoor"}  # fmt: skip
    assert image_sets.publisher_set("sun397").read().classes == tuple(classes)
    assert all(file.startswith(f"SUN397/{classes[c]}/sun_") for file, c in found)


def test_caltech101_leaves_the_background_out():
    assert ready("caltech101").counts == (14, 2, 4)
    assert {c for _, c in listed("caltech101", "all")} == {"Faces", "airplanes"}


def test_df20_mini():
    ready("df20-mini")
    assert listed("df20-mini", "train") == [
        ("DF20M/2-1.JPG", "Boletus edulis Bull."),
        ("DF20M/3-2.JPG", "Amanita muscaria (L.) Lam., 1783"),
    ]
    assert listed("df20-mini", "test") == [("DF20M/9-9.JPG", "Boletus edulis Bull.")]
    assert image_sets.publisher_set("df20-mini").read().only("train").labels.tolist() == [1, 0]


def test_cub():
    ready("cub-200-2011")
    albatross, bobolink = "images/001.Laysan_Albatross/Laysan_Albatross", "images/002.Bobolink/Bobolink"
    assert listed("cub-200-2011", "train") == [
        (f"{albatross}_0.jpg", "Laysan Albatross"),
        (f"{albatross}_2.jpg", "Laysan Albatross"),
        (f"{bobolink}_2.jpg", "Bobolink"),
    ]
    assert len(listed("cub-200-2011", "test")) == 3


def test_artbench():
    ready("artbench-10")
    assert [c for _, c in listed("artbench-10", "test")] == ["art nouveau"] * 2 + ["ukiyo e"] * 2
    assert all(f.startswith("train/") for f, _ in listed("artbench-10", "train"))


def test_flowers_labels_are_in_the_order_of_the_numbers():
    ready("oxford-flowers")
    assert image_sets.publisher_set("oxford-flowers").read().classes == ("1", "2", "10")
    assert listed("oxford-flowers", "train") == [
        ("jpg/image_00006.jpg", "1"), ("jpg/image_00004.jpg", "2"), ("jpg/image_00001.jpg", "10")
    ]  # fmt: skip
    assert [c for _, c in listed("oxford-flowers", "test")] == ["2", "1", "10"]
    assert len(listed("oxford-flowers", "all")) == 7  # with the one for validation


def test_cars_and_a_table_of_one_row():
    ready("stanford-cars")
    assert image_sets.publisher_set("stanford-cars").read().only("train").labels.tolist() == [2, 0, 1]
    assert listed("stanford-cars", "test") == [("cars_test/00001.jpg", "BMW M3")]


# -------------------------------------------------------------------------------------------------- the split


def test_the_split_has_the_quoted_sizes_and_needs_no_order():
    files = [f"SUN397/x/{i}.jpg" for i in range(108_753)]
    parts = random_parts(files)
    assert [parts.count(p) for p in ("train", "val", "test")] == [76_128, 10_875, 21_750]
    assert random_parts(files[::-1]) == parts[::-1]
    # Over the whole list, not one end of it: a fifth of each half, give or take five deviations.
    assert abs(parts[:50_000].count("test") - 10_000) < 5 * 90


def test_copies_of_a_picture_come_into_one_part_and_the_sizes_stay():
    files = [f"f{i}" for i in range(100)]
    pictures = [i // 2 for i in range(100)]
    parts = random_parts(files, pictures)
    assert all(parts[i] == parts[i + 1] for i in range(0, 100, 2))
    assert [parts.count(p) for p in ("train", "val", "test")] == [70, 10, 20]
    assert random_parts(files, files) == random_parts(files), "without copies nothing changes"


def test_copies_are_found_by_their_content(data):
    caltech101()
    folder = CATALOG["caltech101"].folder / "101_ObjectCategories"
    for i in range(10):
        shutil.copy(folder / "Faces" / f"image_{i:04d}.jpg", folder / "airplanes" / f"again_{i:04d}.jpg")
    ready("caltech101")
    part = {f: p for p in ("train", "val", "test") for f, _ in listed("caltech101", p)}
    for i in range(10):
        first = part[f"101_ObjectCategories/Faces/image_{i:04d}.jpg"]
        assert part[f"101_ObjectCategories/airplanes/again_{i:04d}.jpg"] == first


def test_the_split_stays_what_it_is():
    assert "".join(p[1] for p in random_parts([f"f{i}" for i in range(20)])) == "rrerrrrerrrarererrar"


def test_parts_are_disjoint_and_all_has_validation_too():
    for name in MAKERS:
        ready(name)
        train, test, every = ({f for f, _ in listed(name, p)} for p in ("train", "test", "all"))
        assert train
        assert test
        assert not train & test
        assert train | test <= every


# --------------------------------------------------------------------------------- missing, prepared, changed


@pytest.mark.parametrize("name", MAKERS)
def test_says_what_is_missing_from_the_folder_to_the_list(data, name):
    folder = CATALOG[name].folder
    assert f"no folder {folder.name} in {data}" in image_sets.publisher_set(name).missing()
    MAKERS[name]()
    assert (
        image_sets.publisher_set(name)
        .missing()
        .endswith(f"not prepared as its publisher splits it: bench data prepare {name}")
    )
    with pytest.raises(BenchError, match="is not prepared"):
        image_sets.publisher_set(name).read().only("train")
    place = folder / LAYOUTS[name].places[-1]
    place.rename(folder / "away")
    kind = "file" if place.suffix else "folder"
    assert f"no {kind} {LAYOUTS[name].places[-1]} in {folder}" in image_sets.publisher_set(name).missing()
    (folder / "away").rename(place)
    image_sets.publisher_set(name).prepare(partial=True)
    assert image_sets.publisher_set(name).missing() is None


@pytest.mark.parametrize("name", MAKERS)
def test_class_counts_are_checked_with_folder_found_and_expected(name):
    MAKERS[name]()
    folder = CATALOG[name].folder
    said = rf"{name}: [234] classes, expected {LAYOUTS[name].classes} \(in {re.escape(str(folder))}\);"
    with pytest.raises(BenchError, match=said):
        image_sets.publisher_set(name).prepare()
    assert image_sets.publisher_set(name).missing() is not None


def test_image_counts_are_checked_and_partial_ones_marked(monkeypatch):
    food101()
    layout = dataclasses.replace(LAYOUTS["food101"], classes=2, counts={"train": 4, "test": 3})
    monkeypatch.setitem(image_sets.PUBLISHER_LAYOUTS, "food101", layout)
    with pytest.raises(BenchError, match=r"images: test 2 \(published 3\) \(in .*food-101\)"):
        image_sets.publisher_set("food101").prepare()
    image_sets.publisher_set("food101").prepare(partial=True)
    part = image_sets.publisher_set("food101").fingerprint()
    assert part.endswith("-part")
    monkeypatch.setitem(
        image_sets.PUBLISHER_LAYOUTS, "food101", dataclasses.replace(layout, counts={"train": 4, "test": 2})
    )
    image_sets.publisher_set("food101").prepare()
    assert not image_sets.publisher_set("food101").fingerprint().endswith("-part")


def test_the_fingerprint_follows_the_split_and_the_images(data):
    ready("cub-200-2011")
    before = image_sets.publisher_set("cub-200-2011").fingerprint()
    path = CATALOG["cub-200-2011"].folder / "train_test_split.txt"
    path.write_text(path.read_text().replace("2 0", "2 1"))
    with pytest.raises(
        BenchError,
        match=r"changed since it was prepared: .*Laysan_Albatross_1.jpg has another class or part: b",
    ):
        image_sets.publisher_set("cub-200-2011").verify()
    image_sets.publisher_set("cub-200-2011").prepare(partial=True, again=True)
    assert image_sets.publisher_set("cub-200-2011").fingerprint() != before
    assert image_sets.publisher_set("cub-200-2011").verify().counts == (4, 2)


def test_a_list_that_was_tampered_with_is_refused(data):
    ready("artbench-10")
    path = data / "prepared/class-trees/artbench-10/files.tsv"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(
        BenchError, match="not the list that was written: bench data prepare artbench-10 --again"
    ):
        image_sets.publisher_set("artbench-10").read()


# ---------------------------------------------------------------------------------------- damaged annotations


def spoilt(name, file, change):
    MAKERS[name]()
    path = CATALOG[name].folder / file
    if isinstance(change, bytes):
        path.write_bytes(change)
    else:
        path.write_text(change(path.read_text()))
    with pytest.raises(BenchError) as said:
        image_sets.publisher_set(name).prepare(partial=True)
    return str(said.value).replace(str(CATALOG[name].folder) + "/", "")


@pytest.mark.parametrize(
    ("name", "file", "change", "said"),
    [
        (
            "food101",
            "meta/train.txt",
            lambda t: t.replace("apple_pie/11", "11"),
            "meta/train.txt:2: '11', expected",
        ),
        (
            "food101",
            "meta/test.txt",
            lambda t: t + "waffles/5\n",
            "meta/test.txt:3: images/waffles/5.jpg is in test",
        ),
        ("food101", "meta/test.txt", lambda t: "", "test is empty"),
        ("food101", "meta/test.txt", lambda t: t + "../7\n", "leads out of the data set"),
        ("food101", "meta/test.txt", lambda t: t + "waffles/8\n", "1 image of 3 listed in test.txt missing"),
        ("food101", "meta/test.txt", b"\xff\xfe", "test.txt:1: cannot be read"),
        ("cub-200-2011", "images.txt", lambda t: t.replace("3 001", "x 001"), "images.txt:3: 'x 001"),
        (
            "cub-200-2011",
            "images.txt",
            lambda t: t + "1 again.jpg\n",
            "images.txt:7: image 1 stands there again",
        ),
        (
            "cub-200-2011",
            "image_class_labels.txt",
            lambda t: t.replace("5 2", "5 1"),
            "class_labels.txt:5: image 5",
        ),
        (
            "cub-200-2011",
            "train_test_split.txt",
            lambda t: t.replace("6 1", "6 7"),
            "test_split.txt:6: '7', expected",
        ),
        (
            "cub-200-2011",
            "train_test_split.txt",
            lambda t: t.replace("6 1\n", ""),
            "images.txt:6: image 6 is not in",
        ),
        (
            "cub-200-2011",
            "train_test_split.txt",
            lambda t: t + "9 1\n",
            "test_split.txt:7: image 9 is not in images",
        ),
        (
            "df20-mini",
            TABLE,
            lambda t: t.replace("image_path", "path"),
            "PROD.csv:1: no column 'image_path'; found ImageUniqueID, scientificName, path",
        ),
        (
            "df20-mini",
            TABLE,
            lambda t: t.replace("Boletus edulis Bull.", ""),
            "PROD.csv:3: expected a value in image_path and in scientificName",
        ),
        ("df20-mini", TABLE, lambda t: t[:-4], "PROD.csv:5: not CSV"),
        ("oxford-flowers", "setid.mat", b"", "setid.mat: not a readable MATLAB file"),
        ("oxford-flowers", "setid.mat", b"MATLAB 5.0" * 40, "setid.mat: not a readable MATLAB file"),
        ("stanford-cars", "devkit/cars_meta.mat", b"\0" * 300, "cars_meta.mat: not a readable MATLAB file"),
    ],
)
def test_a_damaged_annotation_is_refused_with_file_and_line(name, file, change, said):
    assert said in spoilt(name, file, change)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("file", ["setid.mat", "imagelabels.mat"])
def test_a_matlab_file_that_was_cut_off_is_refused(file, share):
    flowers()
    data = (CATALOG["oxford-flowers"].folder / file).read_bytes()
    assert file in spoilt_flowers(file, data[: int(len(data) * share)])


def spoilt_flowers(file, data):
    (CATALOG["oxford-flowers"].folder / file).write_bytes(data)
    with pytest.raises(BenchError) as said:
        image_sets.publisher_set("oxford-flowers").prepare(partial=True)
    return str(said.value)


@pytest.mark.parametrize(
    ("file", "values", "said"),
    [
        (
            "setid.mat",
            {"trnid": [6, 99], "valid": [2], "tstid": [3]},
            r"setid.mat: trnid\[1\] is 99, expected",
        ),
        (
            "setid.mat",
            {"trnid": [6], "valid": [2], "tstid": [3, 6]},
            r"setid.mat: tstid\[1\]: jpg/image_00006",
        ),
        ("setid.mat", {"trnid": [6], "tstid": [3]}, "setid.mat: no variable 'valid'"),
        ("imagelabels.mat", {"labels": [1, 0, 0, 2, 2, 2, 2]}, r"labels\[1\] is 0, expected a whole number"),
        ("imagelabels.mat", {"labels": ["a", "b", "c", "d", "e", "f", "g"]}, r"labels\[0\] is '.', expected"),
    ],
)
def test_matlab_values_that_are_none_are_refused(file, values, said):
    flowers()
    savemat(CATALOG["oxford-flowers"].folder / file, values)
    with pytest.raises(BenchError, match=said):
        image_sets.publisher_set("oxford-flowers").prepare(partial=True)


def test_cars_of_a_class_without_a_name_are_refused():
    cars()
    savemat(
        CATALOG["stanford-cars"].folder / "devkit/cars_meta.mat",
        {"class_names": np.array(["a", "b"], object)},
    )
    with pytest.raises(BenchError, match=r"annotations.class\[0\] is 3, expected a whole number from 1 to 2"):
        image_sets.publisher_set("stanford-cars").prepare(partial=True)


def test_trees_with_holes_are_refused():
    artbench()
    folder = CATALOG["artbench-10"].folder
    (folder / "test/ukiyo_e").rename(folder / "test/surrealism")
    with pytest.raises(BenchError, match=re.escape(f"no class folder 'ukiyo_e' in {folder}/test")):
        image_sets.publisher_set("artbench-10").prepare(partial=True)
    sun397()
    picture(CATALOG["sun397"].folder / "SUN397/c/sun_x.jpg")
    with pytest.raises(BenchError, match=r"SUN397/c/sun_x.jpg lies beside the class folders"):
        image_sets.publisher_set("sun397").prepare(partial=True)
    caltech101()
    (CATALOG["caltech101"].folder / "101_ObjectCategories/brain").mkdir()
    with pytest.raises(BenchError, match=r"no image in .*brain"):
        image_sets.publisher_set("caltech101").prepare(partial=True)


def test_names_and_parts_that_are_none_are_refused():
    with pytest.raises(BenchError, match="did you mean 'caltech101'"):
        image_sets.publisher_set("caltech-101").missing()
    ready("artbench-10")
    with pytest.raises(BenchError, match="no part 'vla'; there is test, train"):
        image_sets.publisher_set("artbench-10").read().only("vla")


# ------------------------------------------------------------------------------------------- the command line


def test_the_command_prepares_and_checks_the_list_whose_files_are_there():
    """Food101 has a list in CoOp's layout too: without its file only the publisher's is made."""
    food101()
    said = bench("prepare", "food101", "--partial")
    assert said == "food101: 6 images (train 4, test 2), 2 classes: not the published counts"
    assert bench("check", "food101") == said
    assert image_sets.image_set("food101").missing().startswith("food101: no file split_zhou_Food101.json")
    numbers = {"train": 5, "val": 7, "test": 11}
    kinds = list(enumerate(("apple_pie", "waffles")))
    lists = {p: [[f"{c}/{n}.jpg", y, c] for y, c in kinds] for p, n in numbers.items()}
    (CATALOG["food101"].folder / "split_zhou_Food101.json").write_text(json.dumps(lists))
    both = bench("prepare", "food101", "--partial")
    assert both.count("food101:") == 2
    assert said in both
    assert "6 images (train 2, val 2, test 2)" in both
    assert image_sets.image_set("food101").missing() is None
    assert image_sets.publisher_set("food101").read().only("train").classes == ("apple pie", "waffles")


def test_the_command_says_of_each_new_set_where_it_comes_from():
    said = bench("check", "cub-200-2011", "artbench-10", code=1)
    assert "no folder CUB_200_2011" in said
    assert "get it from the README of liaopeiyuan/artbench" in said
