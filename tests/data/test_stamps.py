"""Tux Paint's stamps: classes by folder and table, domains, and what is said when they are not here."""

from __future__ import annotations

import logging
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from bench.contract import BenchError
from bench.data.drawings import emoji, stamps
from bench.data.drawings.stamp_classes import CARTOONS, FILES, FOLDERS

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="4pt" height="4pt"><rect width="3pt" height="3pt"/></svg>'
)


@pytest.fixture
def brought(tmp_path, monkeypatch):
    """A few stamps below the folder of brought data."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    monkeypatch.setattr(stamps, "INSTALLED", tmp_path / "nowhere")
    top = tmp_path / "stamps"
    for name, caption in {
        "animals/mammals/cats/lion.png": "A lion.",
        "animals/mammals/cats/cartoon/lion.png": "A happy lion!",
        "animals/mammals/aquatic/orca.png": "An orca.",
        "animals/mammals/aquatic/otter.png": "An otter.",
        "animals/mammals/bears/toys/edward_bear.png": "Edward Bear.",
        "food/fruit/cartoon/apple.png": "A red apple.",
        "food/fruit/cartoon/apple.svg": "A red apple.",
        "vehicles/dumper_mirror.png": "",
        "seasonal/easter/chick.png": "",
        "symbols/math/7.png": "Seven.",
    }.items():
        file = top / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".svg":
            file.write_text(SVG)
        else:
            Image.new("RGBA", (300, 200), (200, 10, 10, 255)).save(file)
        if caption:
            file.with_suffix(".txt").write_text(f"{caption}\nde.utf8=Etwas.\n", encoding="utf-8")
    stamps._chosen.cache_clear()
    yield top
    stamps._chosen.cache_clear()


def test_classes_domains_and_captions(brought):
    s = stamps.read()
    rows = dict(zip(s.id.tolist(), zip(s.subcategory, s.domain, s.caption, strict=True), strict=True))
    assert rows == {
        "animals/mammals/aquatic/orca": ("animal-marine", "photo", "An orca."),
        "animals/mammals/aquatic/otter": ("animal-mammal", "photo", "An otter."),
        "animals/mammals/cats/cartoon/lion": ("animal-mammal", "cartoon", "A happy lion!"),
        "animals/mammals/cats/lion": ("animal-mammal", "photo", "A lion."),
        "food/fruit/cartoon/apple": ("food-fruit", "cartoon", "A red apple."),
        "seasonal/easter/chick": ("animal-bird", "cartoon", ""),
    }
    assert s.images.shape == (6, 64, 64, 3)
    lion = s.images[s.id.tolist().index("animals/mammals/cats/lion")]
    assert (lion[:7] == 255).all()  # 3 x 2: centred, white above and below
    assert lion[32, 32].tolist() == [200, 10, 10]
    apple = s.images[s.id.tolist().index("food/fruit/cartoon/apple")]
    assert apple[10, 10].tolist() == [0, 0, 0]  # the SVG, not the PNG made of it
    assert len(s.where(s.domain == "photo")) == 3


def test_the_stage_draws_what_reading_draws(brought, tmp_path):
    (stage,) = stamps.stages()
    stage.build(SimpleNamespace(outdir=tmp_path / "0", params=stage.params, log=logging.getLogger()))
    got, direct = stamps.read(stage=lambda name: tmp_path / "0"), stamps.read()
    for field in got.__dataclass_fields__:
        assert np.array_equal(getattr(got, field), getattr(direct, field)), field


def test_a_changed_file_changes_the_fingerprint_and_the_stage(brought):
    before, stage = stamps.fingerprint(), stamps.stages()[0].address
    Image.new("RGBA", (300, 200), (0, 10, 10, 255)).save(brought / "animals/mammals/cats/lion.png")
    assert stamps.fingerprint() != before
    assert stamps.stages()[0].address != stage


def test_a_file_that_is_no_picture_is_named(brought):
    (brought / "animals/mammals/cats/lion.png").write_bytes(b"no picture")
    with pytest.raises(BenchError, match=r"lion\.png cannot be read as a picture"):
        stamps.read()
    (brought / "animals/mammals/cats/lion.png").unlink()
    (brought / "food/fruit/cartoon/apple.svg").write_text("<svg")
    stamps._chosen.cache_clear()
    with pytest.raises(BenchError, match=r"apple\.svg cannot be read as a picture"):
        stamps.read()


def test_without_them_it_says_where_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    monkeypatch.setattr(stamps, "INSTALLED", tmp_path / "nowhere")
    assert "apt-get install tuxpaint-stamps-default" in stamps.missing()
    assert stamps.stages() == ()
    with pytest.raises(BenchError, match=str(tmp_path / "stamps")):
        stamps.read()


def test_every_class_of_the_tables_is_one_of_emoji():
    known = {e.subcategory for e in emoji.labels()}
    assert set(FOLDERS.values()) <= known
    assert {c for c in FILES.values() if c} <= known
    assert {c for c in CARTOONS if stamps.subcategory(c) is None} == set()


@pytest.mark.slow
def test_debians_package():
    if not stamps.INSTALLED.is_dir():
        pytest.skip("Debian's tuxpaint-stamps-default is not installed")
    s = stamps.read()
    assert (s.images.reshape(len(s), -1).min(axis=1) < 200).all()
    assert set(FILES) <= {
        f.relative_to(stamps.INSTALLED).with_suffix("").as_posix() for f in stamps.INSTALLED.rglob("*")
    }
    assert set(s.id.tolist()) >= CARTOONS
    count = Counter(zip(s.domain.tolist(), s.subcategory.tolist(), strict=True))
    assert len(s) == 562
    assert count["photo", "animal-mammal"] == 61
    assert count["photo", "food-fruit"] == 26
    assert count["cartoon", "clothing"] == 46
    assert np.mean([c != "" for c in s.caption]) > 0.95
