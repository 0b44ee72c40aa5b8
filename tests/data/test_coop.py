"""Data sets in CoOp's layout: lists, halves of the classes, few shots, ImageNet's variants, and refusals."""

from __future__ import annotations

import json
import pickle
import shutil

import image_reference as reference
import numpy as np
import pytest

from bench.contract import BenchError
from bench.data.catalog import CATALOG
from bench.data.images import coop, image_sets
from bench.data.images.coop import LAYOUTS, few_shot, halves

SPLIT = [n for n in LAYOUTS if LAYOUTS[n].listed[0].startswith("split_zhou_")]
FOLDERS = {
    "imagenet": "imagenet", "caltech101": "caltech-101", "oxford-pets": "oxford_pets",
    "stanford-cars": "stanford_cars", "flowers102": "oxford_flowers", "food101": "food-101",
    "fgvc-aircraft": "fgvc_aircraft", "sun397": "sun397", "dtd": "dtd", "eurosat": "eurosat",
    "ucf101": "ucf101", "imagenet-v2": "imagenetv2", "imagenet-sketch": "imagenet-sketch",
    "imagenet-a": "imagenet-adversarial", "imagenet-r": "imagenet-rendition",
}  # fmt: skip


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


def ready(name):
    image_sets.image_set(name).prepare(partial=True)
    return image_sets.image_set(name).read()


# -------------------------------------------------------------------------------------------------- the lists


def test_folders_and_templates_are_those_of_the_papers_code():
    assert {n: CATALOG[n].place for n in LAYOUTS} == FOLDERS
    assert len(coop.OPEN_CLASS) == 11
    special = {n: layout.template for n, layout in LAYOUTS.items() if layout.template != "a photo of a {}."}
    assert special == {
        "oxford-pets": "a photo of a {}, a type of pet.",
        "flowers102": "a photo of a {}, a type of flower.",
        "fgvc-aircraft": "a photo of a {}, a type of aircraft.",
        "dtd": "{} texture.",
        "eurosat": "a centered satellite photo of {}.",
        "food101": "a photo of {}, a type of food.",
        "ucf101": "a photo of a person doing {}.",
    }


def test_the_counts_add_up_to_what_publishers_state():
    total = {n: sum(layout.counts.values()) for n, layout in LAYOUTS.items()}
    assert total["flowers102"] == 8_189
    assert total["food101"] == 101 * 1_000
    assert total["fgvc-aircraft"] == 100 * 100
    assert total["dtd"] == 47 * 120
    assert total["eurosat"] == 27_000
    assert total["stanford-cars"] == 16_185
    assert total["sun397"] == 397 * 100
    assert total["imagenet"] == 1_331_167


@pytest.mark.parametrize("name", SPLIT)
def test_a_split_file_is_followed(data, name):
    folder = reference.split_file(name, classes=5)
    images = ready(name)
    assert images.groups == ("train", "val", "test")
    assert images.counts() == {"train": 30, "val": 25, "test": 15}
    assert images.classes == ("Kind 0", "Kind 1", "Kind 2", "Kind 3", "Kind 4")
    split = json.loads((folder / LAYOUTS[name].listed[0]).read_text())
    for part, items in split.items():
        rows = images.rows(part)
        assert images.labels[rows].tolist() == [label for _, label, _ in items]
        assert images.paths(rows) == [folder / LAYOUTS[name].images / file for file, _, _ in items]
        assert all(p.is_file() for p in images.paths(rows))


def test_labels_that_do_not_count_from_zero_are_put_in_order(data):
    folder = reference.split_file("dtd", classes=3)
    path = folder / "split_zhou_DescribableTextures.json"
    split = json.loads(path.read_text())
    path.write_text(json.dumps({k: [[f, 10 * y + 7, c] for f, y, c in v] for k, v in split.items()}))
    images = ready("dtd")
    assert images.classes == ("Kind 0", "Kind 1", "Kind 2")
    assert sorted(set(images.labels.tolist())) == [0, 1, 2]


def test_aircraft_comes_from_its_text_files(data):
    reference.aircraft()
    images = ready("fgvc-aircraft")
    assert images.classes == ("747-300", "ATR-42", "F/A-18", "Boeing 717")
    assert images.counts() == {"train": 20, "val": 20, "test": 20}
    rows = images.rows("val", [2])
    assert [images.files[i] for i in rows] == [f"images/val2{i}.jpg" for i in range(5)]


def test_imagenet_tests_on_its_validation_images(data):
    folder = reference.imagenet()
    images = ready("imagenet")
    assert images.groups == ("train", "test")
    assert images.counts() == {"train": 120, "test": 10}
    assert images.classes == reference.NAMES
    assert images.paths(images.rows("test", [1]))[0] == (
        folder / "images" / "val" / "n01443537" / "ILSVRC2012_val_10.JPEG"
    )


@pytest.mark.parametrize("name", ["imagenet-v2", "imagenet-sketch", "imagenet-a", "imagenet-r"])
def test_a_variant_is_a_test_set_with_the_names_of_its_own_folders(data, name):
    chosen = reference.IDS if name in ("imagenet-v2", "imagenet-sketch") else reference.IDS[1::2]
    reference.variant(name, chosen)
    images = ready(name)
    assert images.groups == ("test",)
    assert images.classes == (reference.NAMES if len(chosen) == 5 else reference.NAMES[1::2])
    assert images.labels.tolist() == list(range(len(chosen)))


def test_v2_folders_are_numbers_in_the_order_of_the_names(data):
    """With 12 folders ``10`` comes before ``2`` in a listing: the number counts."""
    folder = CATALOG["imagenet-v2"].folder
    folder.mkdir()
    (folder / "classnames.txt").write_text("".join(f"n{99 - i:08} name {i}\n" for i in range(12)))
    for i in range(12):
        reference.picture(folder / LAYOUTS["imagenet-v2"].images / str(i) / f"{i}.jpeg")
    images = ready("imagenet-v2")
    for file, label in zip(images.files, images.labels, strict=True):
        assert file.endswith(f"/{label}.jpeg")
        assert images.classes[label] == f"name {label}"


# ------------------------------------------------------------------------------------------- base, new, shots


@pytest.mark.parametrize(
    ("n", "base", "new"), [(37, 19, 18), (47, 24, 23), (10, 5, 5), (1, 1, 0), (397, 199, 198), (101, 51, 50)]
)
def test_the_first_half_is_base_and_the_middle_one_too(n, base, new):
    first, second = halves(n)
    assert (len(first), len(second)) == (base, new)
    assert [*first, *second] == list(range(n))


def test_few_shots_of_the_base_classes(data):
    reference.split_file("eurosat", classes=5, train=20, val=6)
    images = ready("eurosat")
    base, new = halves(5)
    drawn = few_shot(images, base)
    assert np.bincount(images.labels[drawn.train]).tolist() == [16, 16, 16]
    assert np.bincount(images.labels[drawn.val]).tolist() == [4, 4, 4]
    assert len(set(drawn.train)) == 48
    assert {images.groups[g] for g in images.group[drawn.train]} == {"train"}
    assert {images.groups[g] for g in images.group[drawn.val]} == {"val"}
    assert not set(new) & set(images.labels[drawn.train])


def test_a_draw_is_of_the_seed_and_of_the_class_alone(data):
    reference.split_file("eurosat", classes=5, train=20, val=6)
    images = ready("eurosat")
    one, again, other = (few_shot(images, halves(5)[0], seed=s) for s in (0, 0, 1))
    assert np.array_equal(one.train, again.train)
    assert np.array_equal(one.val, again.val)
    assert not np.array_equal(one.train, other.train)
    alone = few_shot(images, [1])
    assert np.array_equal(alone.train, one.train[images.labels[one.train] == 1])
    # The same places within their class would be one draw used three times.
    places = [tuple(images.files[i].rpartition("_")[2] for i in one.train[k : k + 16]) for k in (0, 16, 32)]
    assert len(set(places)) == 3


def test_two_shots_validate_with_two_and_few_images_are_all_taken(data):
    reference.split_file("eurosat", classes=4, train=6, val=3)
    images = ready("eurosat")
    two = few_shot(images, range(2), shots=2)
    assert (len(two.train), len(two.val)) == (4, 4)
    sixteen = few_shot(images, range(2))
    assert (len(sixteen.train), len(sixteen.val)) == (12, 6)


def test_imagenet_validates_on_further_training_images_never_on_the_test(data):
    reference.imagenet()
    images = ready("imagenet")
    drawn = few_shot(images, halves(5)[0])
    assert (len(drawn.train), len(drawn.val)) == (48, 12)
    assert not set(drawn.train) & set(drawn.val)
    assert {images.groups[g] for g in images.group[drawn.val]} == {"train"}


def test_a_pickled_draw_is_never_opened(data):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    folder = reference.split_file("eurosat", classes=3)
    (folder / "split_fewshot").mkdir()
    (folder / "split_fewshot" / "shot_16-seed_0.pkl").write_bytes(pickle.dumps(Bomb()))
    assert len(few_shot(ready("eurosat"), [0]).train) == 6


# ------------------------------------------------------------------------------------------ what is refused


def test_a_missing_split_file_is_named_with_where_it_comes_from(data):
    folder = reference.split_file("ucf101", classes=3)
    (folder / "split_zhou_UCF101.json").unlink()
    said = f"no file split_zhou_UCF101.json in {folder} ($BENCH_DATA/ucf101): get it from where DATASETS.md"
    assert said in image_sets.image_set("ucf101").missing()
    with pytest.raises(BenchError, match=r"no file split_zhou_UCF101\.json"):
        image_sets.image_set("ucf101").prepare()


def edit(change):
    def spoil(folder):
        path = folder / "split_zhou_EuroSAT.json"
        split = json.loads(path.read_text())
        change(split)
        path.write_text(json.dumps(split))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "split_zhou_EuroSAT.json").write_text('{"train": [\n'), r"EuroSAT\.json:2: not JSON"),
        (lambda f: (f / "split_zhou_EuroSAT.json").write_text("[]"), "an object with the lists train"),
        (lambda f: (f / "split_zhou_EuroSAT.json").write_bytes(b"\xff\xfe"), "cannot be read"),
        (edit(lambda s: s.pop("val")), "the lists train, val, test"),
        (edit(lambda s: s["val"].clear()), "val is empty"),
        (edit(lambda s: s["train"].__setitem__(3, ["a.jpg", "1", "x"])), r'train\[3\] is \["a.jpg", "1", '),
        (edit(lambda s: s["test"][0].__setitem__(2, "Other")), "label 2 is 'Kind_2' and 'Other'"),
        (edit(lambda s: s["test"].append(s["train"][0])), "is in train and again in test"),
        (edit(lambda s: s["test"][0].__setitem__(0, "../../x.jpg")), r"'../../x\.jpg' leads out"),
        (edit(lambda s: s["test"].append(["x.jpg", 9, "Nine"])), "class 'Nine' has no image in train"),
        (lambda f: (f / "2750" / "kind_1" / "val_0.jpg").unlink(),
         r"1 image of 42 listed in split_zhou_EuroSAT\.json missing, the first 2750/kind_1/val_0\.jpg"),
        (lambda f: shutil.rmtree(f / "2750" / "kind_1"), "14 images of 42 .* missing, the first 2750/"),
        (lambda f: shutil.rmtree(f / "2750"), "no folder 2750 in"),
    ],
)  # fmt: skip
def test_a_damaged_data_set_is_named(data, spoil, said):
    spoil(reference.split_file("eurosat", classes=3))
    with pytest.raises(BenchError, match=said):
        image_sets.image_set("eurosat").prepare(partial=True)


def test_other_counts_are_said_by_part(data, monkeypatch):
    reference.split_file("eurosat", classes=10)
    with pytest.raises(
        BenchError, match=r"eurosat: images: train 60 \(published 13,500\), val 50 .*--partial"
    ):
        image_sets.image_set("eurosat").prepare()
    reference.split_file("dtd", classes=3)
    with pytest.raises(BenchError, match="dtd: 3 classes, expected 47"):
        image_sets.image_set("dtd").prepare()


def emptied(folder):
    for p in folder.iterdir():
        p.unlink()


def test_aircraft_names_the_line(data):
    folder = reference.aircraft()
    path = folder / "images_variant_val.txt"
    path.write_text(path.read_text() + "x1 Concorde\n")
    with pytest.raises(BenchError, match=r"images_variant_val\.txt:21: 'x1 Concorde', expected an image and"):
        image_sets.image_set("fgvc-aircraft").prepare(partial=True)
    path.unlink()
    with pytest.raises(BenchError, match=r"no file images_variant_val\.txt"):
        image_sets.image_set("fgvc-aircraft").prepare(partial=True)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "classnames.txt").write_text(""), r"classnames\.txt: is empty"),
        (lambda f: (f / "classnames.txt").write_text("n01440764\n"), r"names\.txt:1: 'n01440764', expected"),
        (lambda f: (f / "images" / "train" / "n99").mkdir(), r"n99: classnames\.txt does not know"),
        (lambda f: shutil.rmtree(f / "images" / "val" / "n01443537"), "no class folder 'n01443537' in .*val"),
        (lambda f: shutil.rmtree(f / "images" / "train" / "n01443537"),
         r"no class folder 'n01443537' in .*train"),
        (lambda f: shutil.rmtree(f / "images" / "val"), r"images.val: cannot be listed: No such file"),
        (lambda f: emptied(f / "images" / "val" / "n01443537"), "no image in .*val.n01443537"),
    ],
)  # fmt: skip
def test_damaged_imagenet_is_named(data, spoil, said):
    spoil(reference.imagenet(train=1))
    with pytest.raises(BenchError, match=said):
        image_sets.image_set("imagenet").prepare(partial=True)


def test_damaged_variants_are_named(data):
    folder = reference.variant("imagenet-v2")
    (folder / LAYOUTS["imagenet-v2"].images / "3" / "3.jpg").unlink()
    with pytest.raises(BenchError, match=r"no image in .*3"):
        image_sets.image_set("imagenet-v2").prepare(partial=True)
    (folder / LAYOUTS["imagenet-v2"].images / "3").rmdir()
    with pytest.raises(BenchError, match=r"no class folder '3' in .*expected 0 to 4"):
        image_sets.image_set("imagenet-v2").prepare(partial=True)
    sketch = reference.variant("imagenet-sketch")
    shutil.rmtree(sketch / "images")
    (sketch / "images").mkdir()
    with pytest.raises(BenchError, match="no class folder in it"):
        image_sets.image_set("imagenet-sketch").prepare(partial=True)
