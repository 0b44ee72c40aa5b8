"""Images as people bring them: litter, names, empty files, one picture under two names, byte order marks."""

from __future__ import annotations

import json
import os
import shutil
import socket

import image_reference as reference
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bench.contract import BenchError
from bench.data.catalog import CATALOG
from bench.data.images import image_sets

BOM = b"\xef\xbb\xbf"


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


def listed(name="pacs"):
    source = image_sets.image_set(name)
    source.prepare(partial=True, again=True)
    return source.read().files


def test_what_no_publisher_put_there_is_not_listed(data, tmp_path_factory):
    dog = reference.folders("pacs") / "photo" / "dog"
    before = listed()
    (dog / "._pic_9.jpg").write_bytes(b"\0\5\x16\7" + bytes(90))
    (dog / ".hidden.png").write_bytes(b"")
    for folder in (".ipynb_checkpoints", "__MACOSX", ".git"):
        (dog / folder).mkdir()
        shutil.copy(dog / "pic_9.jpg", dog / folder / "pic_9-copy.jpg")
    os.mkfifo(dog / "pipe.jpg")
    short = tmp_path_factory.mktemp("s")
    with socket.socket(socket.AF_UNIX) as open_socket:
        open_socket.bind(str(short / "s.jpg"))
        (dog / "socket.jpg").symlink_to(short / "s.jpg")
        (dog / "device.jpg").symlink_to("/dev/null")
        assert listed() == before


def test_a_link_to_an_image_is_one(data):
    dog = reference.folders("pacs") / "photo" / "dog"
    (dog / "linked.jpg").symlink_to(dog / "pic_9.jpg")
    assert "photo/dog/linked.jpg" in listed()


#: What is done to one class folder -> what is said.
DAMAGED = {
    "no bytes": (lambda f: (f / "pic_9.jpg").write_bytes(b""), r"photo/dog/pic_9\.jpg: has 0 bytes: get it"),
    "link to nothing": (lambda f: (f / "x.jpg").symlink_to(f / "none.jpg"), r"x\.jpg: is a link to nothing"),
    "link to itself": (lambda f: (f / "x.jpg").symlink_to(f / "x.jpg"), r"x\.jpg: is a link to nothing"),
    "Latin-1": (
        lambda f: shutil.copy(f / "pic_9.jpg", os.fsencode(f) + b"/caf\xe9.jpg"),
        r"the name of photo/dog/caf\\xe9\.jpg is not UTF-8: rename it",
    ),
    "Latin-1 folder": (
        lambda f: (
            os.mkdir(os.fsencode(f) + b"/\xe9"),
            shutil.copy(f / "pic_9.jpg", os.fsencode(f) + b"/\xe9/a.jpg"),
        ),
        r"the name of photo/dog/\\xe9/a\.jpg is not UTF-8: rename it",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_cannot_be_an_image_is_named_when_it_is_listed(data, name):
    spoil, said = DAMAGED[name]
    spoil(reference.folders("pacs") / "photo" / "dog")
    with pytest.raises(BenchError, match=said):
        listed()


def test_one_class_is_no_data_set(data):
    reference.folders("pacs", classes=("dog",))
    with pytest.raises(
        BenchError, match=r"pacs: the one class 'dog' in .*PACS, expected several to tell apart"
    ):
        listed()


# ------------------------------------------------------------------------------------------------------ lists


def coop(change=lambda split: None):
    """EuroSAT with CoOp's list, changed and written with a byte order mark; the folder."""
    folder = reference.split_file("eurosat", classes=3)
    path = folder / "split_zhou_EuroSAT.json"
    split = json.loads(path.read_text())
    change(split)
    path.write_bytes(BOM + json.dumps(split).encode())
    return folder


def test_a_byte_order_mark_is_no_content_of_a_list(data):
    reference.split_file("eurosat", classes=3)
    plain = listed("eurosat")
    coop()
    assert listed("eurosat") == plain
    reference.variant("imagenet-a", reference.IDS[:2])
    plain = listed("imagenet-a")
    names = CATALOG["imagenet-a"].folder / "classnames.txt"
    names.write_bytes(BOM + names.read_bytes().replace(b"\n", b"\r\n"))
    assert listed("imagenet-a") == plain
    reference.aircraft()
    plain = listed("fgvc-aircraft")
    for path in CATALOG["fgvc-aircraft"].folder.glob("*.txt"):
        path.write_bytes(BOM + path.read_bytes())
    assert listed("fgvc-aircraft") == plain


def test_a_byte_order_mark_is_no_content_of_a_publishers_list(data):
    folder = CATALOG["food101"].folder
    for part, i in (("train", 0), ("test", 1)):
        for dish in ("apple_pie", "ramen"):
            reference.picture(folder / "images" / dish / f"{i}.jpg")
        (folder / "meta").mkdir(exist_ok=True)
        (folder / "meta" / f"{part}.txt").write_bytes(BOM + f"apple_pie/{i}\r\nramen/{i}\r\n".encode())
    source = image_sets.publisher_set("food101")
    source.prepare(partial=True)
    assert source.read().classes == ("apple pie", "ramen")


@pytest.mark.parametrize("spelt", ["./{}", "/./{}", "kind_0/.//{}", "other/{}", "LINK"])
def test_one_picture_in_two_parts_is_noticed_however_its_path_is_spelt(data, spelt):
    def twice(split):
        file, label, cname = split["train"][-1]
        split["test"].append([{"LINK": "kind_0/linked.jpg"}.get(spelt, spelt.format(file)), label, cname])

    folder = coop(twice) / "2750"
    (folder / "other").symlink_to(folder)  # the same folder by another name, as another case of it may be
    (folder / "kind_0" / "linked.jpg").symlink_to(folder / "kind_0" / "train_5.jpg")
    if spelt.startswith("kind_0"):
        (folder / "kind_0" / "kind_0").symlink_to(folder / "kind_0")
    said = "leads out of the data set" if spelt.startswith("/") else "are one and the same file"
    with pytest.raises(BenchError, match=said):
        listed("eurosat")


def test_two_pictures_with_equal_names_in_two_folders_are_two(data):
    coop()
    assert len(listed("eurosat")) == 42


#: Edits of a list: where, how many bytes go, and what stands there instead.
EDITS = st.lists(
    st.tuples(st.integers(0, 800), st.integers(0, 3), st.binary(max_size=3)), min_size=1, max_size=3
)


@given(EDITS)
def test_a_mutated_list_is_the_same_or_refused_by_name(data, edits):
    path = CATALOG["eurosat"].folder / "split_zhou_EuroSAT.json"
    if not path.exists():
        reference.split_file("eurosat", classes=2, train=1, val=1, test=1)
        path.with_suffix(".good").write_bytes(path.read_bytes())
    text = path.with_suffix(".good").read_bytes()
    for at, gone, new in edits:
        text = text[:at] + new + text[at + gone :]
    path.write_bytes(text)
    try:
        files = listed("eurosat")
    except BenchError as e:
        refused = str(e)
    else:
        refused = ""
        whole = [f"2750/kind_{c}/{part}_0.jpg" for c in (0, 1) for part in ("train", "val", "test")]
        assert sorted(map(os.path.normpath, files)) == sorted(whole), "never a silent change of the counts"
    assert not refused or str(path) in refused or str(path.parent) in refused


# ----------------------------------------------------------------------------------------------------- pixels


def test_grey_of_sixteen_bits_is_scaled_and_not_cut_off(tmp_path):
    from bench.data.images.pictures import opened

    ramp = np.tile(np.linspace(0, 65_535, 64).astype(np.uint16), (4, 1))
    for name in ("grey.png", "grey.tif"):
        Image.fromarray(ramp).save(tmp_path / name)
        found = np.asarray(opened(tmp_path / name))
        assert found.shape == (4, 64, 3)
        assert np.abs(found[0, :, 0] - np.linspace(0, 255, 64)).max() <= 1
    assert opened(tmp_path / "grey.png").getpixel((63, 0)) == (255, 255, 255)


@pytest.mark.parametrize("values", [np.float32([[0.0, 0.5]]), np.int32([[0, 70_000]])])
def test_numbers_whose_range_is_not_known_are_refused(tmp_path, values):
    from bench.data.images.pictures import opened

    Image.fromarray(values).save(tmp_path / "wide.tif")
    with pytest.raises(BenchError, match=r"wide\.tif: grey of .* whose range the file does not say"):
        opened(tmp_path / "wide.tif")
