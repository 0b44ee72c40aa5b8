"""FMoW in WILDS' layout: which images are listed, with which region and class, and what is refused."""

from __future__ import annotations

import pytest
import rating_reference as reference

from bench.contract import BenchError
from bench.data.images import fmow, image_sets


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


def test_images_before_2013_by_part_and_region(data):
    reference.satellites()
    image_sets.image_set("fmow").prepare(partial=True)
    images = image_sets.image_set("fmow").read()
    assert images.classes == ("airport", "multi-unit residential", "zoo")
    assert images.counts() == {
        f"{part}/{region}": 3 * n for part, n in reference.SPLITS for region in reference.regions()
    }
    # The row of the table is the image's number: rows 1 and 2 are of 2013 and sequestered.
    assert images.files[:2] == ("images/rgb_img_0.png", "images/rgb_img_3.png")
    assert "images/rgb_img_1.png" not in images.files
    assert "images/rgb_img_2.png" not in images.files
    first = images.files.index("images/rgb_img_0.png")
    assert images.classes[images.labels[first]] == "zoo"
    assert images.groups[images.group[first]] == "train/Africa"


def test_other_counts_than_the_published_are_said(data):
    reference.satellites()
    with pytest.raises(BenchError, match=r"fmow: 3 classes, expected 62 .*; --partial"):
        image_sets.image_set("fmow").prepare()
    assert image_sets.image_set("fmow").prepare(partial=True).complete is False
    assert image_sets.image_set("fmow").verify().complete is False


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("rgb_metadata.csv", "country_code", "country", "rgb_metadata.csv: no column 'country_code'; expect"),
        ("country_code_mapping.csv", "alpha-3", "code", "mapping.csv: no column 'alpha-3'"),
        ("rgb_metadata.csv", "2013-01-01T00:00:00Z", "soon", "rgb_metadata.csv:3: timestamp 'soon' is no ti"),
    ],
)
def test_a_table_against_the_layout_is_named(data, file, old, new, words):
    path = reference.satellites() / file
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(BenchError, match=words):
        fmow.scan("fmow")


def test_a_missing_image_or_table_is_named(data):
    folder = reference.satellites()
    (folder / "images" / "rgb_img_5.png").unlink()
    with pytest.raises(BenchError, match=r"1 image of .* missing,\s+the first images/rgb_img_5\.png"):
        fmow.scan("fmow")
    (folder / "country_code_mapping.csv").unlink()
    assert "no file country_code_mapping.csv" in image_sets.image_set("fmow").missing()
