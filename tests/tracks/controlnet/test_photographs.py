"""COCO and ADE20K as people bring them: all photographs with their captions, or a named refusal."""

import json
import os

import controlnet_brought as brought
import pytest
from controlnet_brought import TEST
from hypothesis import given
from hypothesis import strategies as st
from mutations import OF_BYTES, mutated
from PIL import Image

from bench.contract import BenchError
from bench.tracks.controlnet.sources import photographs


@pytest.fixture
def root(tmp_path, monkeypatch):
    brought.coco(tmp_path / "coco")
    brought.ade20k(tmp_path / "ade20k")
    monkeypatch.setattr(photographs, "COUNTS", brought.COUNTS)
    return tmp_path


def content(found):
    return [(f.name, sorted(p)) for f, p in zip(found.files, found.prompts, strict=True)]


ENCODED = st.tuples(st.just("encoded"), st.sampled_from(("utf-16", "utf-8-sig", "latin-1")))


@given(harm=OF_BYTES | ENCODED)
def test_mutated_captions(root, harm):
    file, whole = root / "coco/annotations/captions_val2017.json", root / "whole"
    if not whole.exists():
        whole.write_bytes(file.read_bytes())
    file.write_bytes(whole.read_bytes())
    before = photographs.read("coco", root / "coco", "test")
    data, same = mutated(whole.read_bytes(), harm)
    file.write_bytes(data)
    try:
        found = photographs.read("coco", root / "coco", "test")
    except BenchError as e:
        said = str(e)
        assert str(file) in said
        assert not same
    else:
        assert found.files == before.files
        if same:
            assert found == before


def without(key):
    return lambda whole: whole.pop(key)


CAPTIONS = {
    "a photograph twice": lambda w: w["images"].append(w["images"][0]),
    "a photograph under two numbers": lambda w: w["images"].append({**w["images"][0], "id": 99}),
    "a caption of no photograph": lambda w: w["annotations"][0].update(image_id=99),
    "two captions with one number": lambda w: w["annotations"][1].update(id=w["annotations"][2]["id"]),
    "an infinite number": lambda w: w["annotations"][0].update(image_id=float("inf")),
    "a number that is none": lambda w: w["images"][0].update(id=float("nan")),
    "a path": lambda w: w["images"][0].update(file_name="../val2017/" + w["images"][0]["file_name"]),
    "without images": without("images"),
    "without captions": without("annotations"),
    "instances, not captions": lambda w: [a.pop("caption") for a in w["annotations"]],
}


@pytest.mark.parametrize("what", CAPTIONS)
def test_captions_of_another_form(root, what):
    file = root / "coco/annotations/captions_val2017.json"
    whole = json.loads(file.read_text())
    CAPTIONS[what](whole)
    file.write_text(json.dumps(whole))
    with pytest.raises(BenchError, match=rf"^{file}: "):
        photographs.read("coco", root / "coco", "test")


def test_captions_that_are_there_twice_are_the_same(root):
    file = root / "coco/annotations/captions_val2017.json"
    before = photographs.read("coco", root / "coco", "test")
    whole = json.loads(file.read_text())
    file.write_text(json.dumps({**whole, "annotations": whole["annotations"] * 2}))
    assert photographs.read("coco", root / "coco", "test") == before


def test_litter_is_no_photograph_and_no_part_of_the_identity(root):
    folder = root / "ade20k" / "images" / "validation"
    before = photographs.read("ade20k", root / "ade20k", "test")
    of = photographs.fingerprint("ade20k", root / "ade20k")
    (folder / "._ADE_val_00000001.jpg").write_bytes(b"\0\5\x16\7")
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / ".ipynb_checkpoints").mkdir()
    assert photographs.read("ade20k", root / "ade20k", "test") == before
    assert photographs.fingerprint("ade20k", root / "ade20k") == of


@pytest.mark.parametrize("harm", ["gone", "another", "empty", "a pipe", "a link to nothing"])
def test_photographs_that_are_too_few_too_many_or_none_are_refused(root, harm):
    folder = root / "ade20k" / "images" / "validation"
    file = folder / "ADE_val_00000003.jpg"
    said = file.name
    if harm == "another":
        brought.photograph(folder / "ADE_val_00000099.jpg", 1)
        said = f"{TEST + 1} photographs in its part 'test'"
    else:
        file.unlink()
    if harm == "gone":
        said = f"{TEST - 1} photographs in its part 'test'"
    elif harm == "empty":
        file.write_bytes(b"")
    elif harm == "a pipe":
        os.mkfifo(file)
    elif harm == "a link to nothing":
        file.symlink_to(folder / "nothing.jpg")
    with pytest.raises(BenchError, match=said):
        photographs.read("ade20k", root / "ade20k", "test")


def test_grey_of_sixteen_bits_is_scaled_and_a_broken_picture_named(root):
    import numpy as np

    file = root / "deep.png"
    Image.fromarray(np.full((64, 64), 32_896, np.uint16)).save(file)
    assert np.unique(photographs.cropped([file], 64)).tolist() == [128]
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(BenchError, match=rf"{file}: not a readable image"):
        photographs.cropped([file], 64)
