"""What the tasks of `multi_domain` are made of: sizes, splits without a leak, files in real layouts."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import image_reference
import numpy as np
import pytest
import rating_reference

from bench.contract import BenchError
from bench.data.catalog import CATALOG
from bench.data.drawings import digits as drawings
from bench.data.images import fmow, image_folders, image_sets
from bench.data.tables import ratings, tabular
from bench.tracks.common.fields import encode_fields
from bench.tracks.multi_domain import settings
from bench.tracks.multi_domain.sources import digits as digits_task
from bench.tracks.multi_domain.sources import emoji as emoji_task
from bench.tracks.multi_domain.sources import photos as photo_task
from bench.tracks.multi_domain.sources import tables as table_task
from bench.tracks.multi_domain.track import TRACK

SPLITS = ("train", "val", "test")
INPUTS = SimpleNamespace(seed=None, device="cpu", stage=None)


def task(name):
    return TRACK.tasks(settings.Grid(datasets=(name,)))[0]


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


def sizes(splits):
    return {
        d: tuple(int((splits.domain[getattr(splits, p)] == i).sum()) for p in SPLITS)
        for i, d in enumerate(splits.domains)
    }


def groups(splits):
    """What each split holds: nothing of it may be in two."""
    return [set(splits.groups[getattr(splits, p)].tolist()) for p in SPLITS]


def apart(sets):
    return not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])


# ----------------------------------------------------------------------------------------------------- digits


@pytest.fixture(scope="module")
def digits():
    return digits_task.splits(task("digits"), settings.Run(), INPUTS)


def test_digits_have_three_domains_whose_parts_share_nothing(digits):
    assert sizes(digits) == {
        "mnist": (3_000, 1_000, 1_000), "uci": (1_079, 359, 359), "fonts": (1_080, 600, 960),
    }  # fmt: skip
    assert apart(groups(digits))
    assert apart([set(getattr(digits, p).tolist()) for p in SPLITS])
    assert len(set(digits.ids.tolist())) == len(digits.ids)
    for d in range(3):
        for p in SPLITS:
            rows = getattr(digits, p)
            assert len(set(digits.y[rows[digits.domain[rows] == d]].tolist())) == 10


def test_no_family_of_fonts_lies_in_two_parts_and_writers_stay_together(digits):
    font = {f: family for family, fonts in drawings.FAMILIES.items() for f in fonts}
    of = [digits.groups[getattr(digits, p)].tolist() for p in SPLITS]
    families = [{font[g.split("/")[1]] for g in part if g.startswith("fonts/")} for part in of]
    assert apart(families)
    assert set().union(*families) == set(digits_task.FAMILIES)
    # UCI's rows stand writer by writer: every part is one stretch of them.
    for p in SPLITS:
        mine = [i for i in digits.ids[getattr(digits, p)].tolist() if i.startswith("uci/")]
        numbers = sorted(int(i.removeprefix("uci/")) for i in mine)
        assert numbers == list(range(numbers[0], numbers[-1] + 1))


def test_unequal_digits_differ_in_training_alone(digits):
    unequal = digits_task.splits(task("digits-unequal"), settings.Run(), INPUTS)
    assert {d: n[0] for d, n in sizes(unequal).items()} == {"mnist": 3_000, "uci": 300, "fonts": 60}
    assert set(unequal.train.tolist()) < set(digits.train.tolist())
    for p in ("val", "test"):
        assert np.array_equal(getattr(unequal, p), getattr(digits, p))
    for d in range(3):
        n = np.bincount(unequal.y[unequal.train[unequal.domain[unequal.train] == d]])
        assert n.min() == n.max()


def test_renderings_of_a_glyph_are_a_group_and_written_digits_are_none(digits):
    sizes_of = dict(zip(*np.unique(digits.groups, return_counts=True), strict=True))
    assert {n for g, n in sizes_of.items() if g.startswith("fonts/")} == {drawings.RENDERED}
    assert {n for g, n in sizes_of.items() if not g.startswith("fonts/")} == {1}
    test = set(digits.groups[digits.test[digits.domain[digits.test] == 2]].tolist())
    assert len(test) == 8 * 10  # so many that their spread can be estimated; there are two families


def test_conflicting_digits_have_the_pictures_of_unequal_ones_and_exchange_three_labels(digits):
    unequal, conflict = (
        digits_task.splits(task(f"digits-{n}"), settings.Run(), INPUTS) for n in ("unequal", "conflict")
    )
    for p in SPLITS:
        assert np.array_equal(getattr(conflict, p), getattr(unequal, p))
    assert np.array_equal(conflict.ids, digits.ids)
    means = []
    for d, name in enumerate(conflict.domains):
        mine = conflict.domain == d
        pairs = set(zip(digits.y[mine].tolist(), conflict.y[mine].tolist(), strict=True))
        means.append(dict(pairs))
        assert len(pairs) == len(means[-1]) == 10, "a digit has one label in a domain"
        assert sorted(means[-1].values()) == list(range(10)), "and a label one digit"
        assert {a for a, b in pairs if a != b} == set(digits_task.EXCHANGED[name])
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert sum(means[a][digit] != means[b][digit] for digit in range(10)) == 6


@pytest.mark.parametrize("name", ["digits", "insteval", "flights"])
def test_the_order_of_test_examples_says_nothing_of_their_labels(name):
    truth = TRACK.truth(task(name), settings.Run(), INPUTS)
    n = len(truth.test_y)
    for what in (truth.test_y, truth.test_domain):
        same = (what[1:] == what[:-1]).mean()
        chance = np.square(np.bincount(what) / n).sum()
        assert abs(same - chance) < 5 / np.sqrt(n)  # in their sources' order: .9 of digits


def test_tasks_on_digits_have_their_test_pictures_in_one_order():
    first, *others = (
        TRACK.truth(task(name), settings.Run(), INPUTS)
        for name in ("digits", "digits-unequal", "digits-conflict")
    )
    for other in others:
        assert np.array_equal(first.test_ids, other.test_ids)


def test_test_pictures_lie_at_the_places_of_their_ids():
    data, truth = (f(task("digits"), settings.Run(rows=30), INPUTS) for f in (TRACK.load, TRACK.truth))
    found = drawings.read()
    place = {i: k for k, i in enumerate(found.id.tolist())}
    at = [place[i] for i in truth.test_ids.tolist()]
    assert np.array_equal(data.test.inputs.read(np.arange(len(at))), found.images[at])
    assert np.array_equal(truth.test_y, found.y[at])


def test_what_a_method_is_given_and_what_is_kept_are_of_the_same_rows():
    run = settings.Run(rows=20)
    data = TRACK.load(task("digits"), run, INPUTS)
    truth = TRACK.truth(task("digits"), run, INPUTS)
    assert (data.kind, data.domains, data.classes) == ("images", ("mnist", "uci", "fonts"), 10)
    assert len(data.train) == len(data.val) == len(data.test) == 60
    assert np.array_equal(data.val.y, truth.val_y)
    assert np.array_equal(data.test.domain, truth.test_domain)
    assert len(truth.test_y) == len(truth.test_ids) == 60
    images = data.train.inputs.read(np.arange(5))
    assert (images.shape, images.dtype) == ((5, 28, 28, 1), np.uint8)
    (batch,) = data.train.inputs.stream([np.arange(5)], seed=0, first=0)
    assert np.array_equal(batch.numpy(), images)
    images[:] = 0
    assert data.train.inputs.read(np.arange(5)).any(), "what is read may be changed without harm"
    assert TRACK.load(task("digits"), run, INPUTS).train.inputs.read(np.arange(5)).any()


# ------------------------------------------------------------------------------------------------------ emoji


@pytest.fixture(scope="module")
def emoji():
    return emoji_task.splits(task("emoji"), settings.Run(), INPUTS)


def test_emoji_have_four_artists_and_no_family_in_two_parts(emoji):
    assert emoji.domains == ("twemoji", "openmoji", "noto", "fluent-3d")
    assert emoji.classes == 8
    assert apart(groups(emoji))
    # The same emoji in the same part for every artist: no test picture was drawn by another in training.
    assert len(set(sizes(emoji).values())) == 1
    of = [{i.split("/")[1] for i in emoji.ids[getattr(emoji, p)].tolist()} for p in SPLITS]
    assert apart(of)
    total = sum(map(len, of))
    assert [len(s) / total for s in of] == pytest.approx([0.6, 0.15, 0.25], abs=0.03)
    for p in SPLITS:
        assert np.bincount(emoji.y[getattr(emoji, p)], minlength=8).min() >= 4 * 4


def test_emoji_are_cut_to_the_networks_size_at_random_only_in_training(emoji):
    rows = emoji.train[:6]
    inputs = emoji.inputs(rows)
    side = settings.RECIPES["emoji"].size
    fixed = inputs.read(np.arange(6))
    assert (fixed.shape, fixed.dtype) == ((6, side, side, 3), np.uint8)
    assert np.array_equal(fixed, inputs.read(np.arange(6)))
    batches = [np.arange(6), np.arange(6)]
    first, second = inputs.stream(batches, seed=0, first=0)
    (again,) = inputs.stream(batches[:1], seed=0, first=1)
    assert first.shape == fixed.shape
    assert not np.array_equal(first.numpy(), second.numpy())
    assert np.array_equal(again.numpy(), second.numpy()), "a batch's number is its randomness"


# ----------------------------------------------------------------------------------------------------- tables


def test_departments_are_fourteen_domains_and_no_field():
    splits = table_task.splits(task("insteval"), settings.Run(), INPUTS)
    assert len(splits.domains) == 14
    assert splits.domains[:2] == ("dept-1", "dept-2")
    found = sizes(splits)
    assert sum(map(sum, found.values())) == 73_421
    totals = [sum(n) for n in found.values()]
    assert (min(totals), max(totals)) == (2_520, 9_528)
    assert len(splits.cardinalities) == len(tabular.SOURCES["insteval"].fields) - 1
    x = splits.inputs(splits.train).read(np.arange(len(splits.train)))
    assert x.shape == (len(splits.train), 5)
    assert (x.max(axis=0) < splits.cardinalities).all()
    assert x.min() >= 0


def test_flights_are_split_by_time_in_every_airport():
    splits = table_task.splits(task("flights"), settings.Run(), INPUTS)
    assert splits.domains == ("EWR", "JFK", "LGA")
    day = tabular.read("flights").day
    for d in range(3):
        of = [day[rows[splits.domain[rows] == d]] for rows in (splits.train, splits.val, splits.test)]
        assert of[0].max() < of[1].min()
        assert of[1].max() < of[2].min()
    assert sum(map(sum, sizes(splits).values())) == 327_346
    assert len(set(splits.groups[splits.test].tolist())) == 36, "days"


def test_rows_of_a_student_are_a_cluster_whatever_the_department():
    splits = table_task.splits(task("insteval"), settings.Run(), INPUTS)
    student = tabular.read("insteval").columns["student"]
    assert splits.groups.tolist() == [f"student/{s}" for s in student.tolist()]


def test_the_vocabulary_is_of_training():
    columns = {"a": np.array(["x", "y", "x", "y", "z", "z"]), "b": np.array([5, 5, 5, 6, 6, 6])}
    x, cardinalities = encode_fields(columns, np.arange(4), 2)
    assert x.T.tolist() == [[1, 2, 1, 2, 0, 0], [1, 1, 1, 0, 0, 0]]
    assert cardinalities == (3, 2)


def test_a_domain_without_both_labels_cannot_be_scored():
    with pytest.raises(BenchError, match=r"of domain '.*' has only the labels .*raise run.rows"):
        TRACK.truth(task("insteval"), settings.Run(rows=1), INPUTS)


# ----------------------------------------------------------------------------------------------------- photos


def weights(data, name="resnet50"):
    (data / "timm").mkdir(exist_ok=True)
    (data / "timm" / f"{name}.safetensors").write_bytes(b"weights")


def test_every_class_of_every_domain_is_split_the_same_way(data):
    image_reference.folders("office-home", images=10)
    image_sets.image_set("office-home").prepare(partial=True)
    weights(data)
    splits = photo_task.splits(task("office-home"), settings.Run(), INPUTS)
    assert splits.domains == image_folders.domains("office-home")
    assert splits.classes == 4
    assert sum(map(sum, sizes(splits).values())) == len(splits.y)
    assert apart([set(splits.ids[getattr(splits, p)].tolist()) for p in SPLITS])
    for d in range(4):
        for p, n in (("train", 6), ("val", 2), ("test", 2)):
            rows = getattr(splits, p)
            assert np.bincount(splits.y[rows[splits.domain[rows] == d]])[1:].tolist() == [n] * 3
    again = photo_task.splits(task("office-home"), settings.Run(), INPUTS)
    assert np.array_equal(splits.train, again.train)
    given = TRACK.load(task("office-home"), settings.Run(), INPUTS)
    assert given.test.inputs.read(np.arange(2)).shape == (2, 224, 224, 3)
    assert len(given.train) == len(splits.train)


def test_the_weights_that_have_to_be_brought_are_named(data):
    image_reference.folders("office-home")
    image_sets.image_set("office-home").prepare(partial=True)
    why = TRACK.missing(task("office-home"), settings.Run())
    assert why is not None
    assert f"resnet50: no file resnet50.safetensors in {data / 'timm'} ($BENCH_DATA/timm)" in why
    weights(data)
    assert TRACK.missing(task("office-home"), settings.Run()) is None
    before = TRACK.fingerprint(task("office-home"), settings.Run())
    (data / "timm" / "resnet50.safetensors").write_bytes(b"others")
    assert TRACK.fingerprint(task("office-home"), settings.Run()) != before


def test_regions_of_fmow_are_domains_and_no_region_is_none(data):
    rating_reference.satellites()
    image_sets.image_set("fmow").prepare(partial=True)
    weights(data)
    splits = photo_task.splits(task("fmow"), settings.Run(), INPUTS)
    assert splits.domains == fmow.REGIONS
    assert sizes(splits) == dict.fromkeys(fmow.REGIONS, (6, 3, 3))
    used = np.concatenate([splits.train, splits.val, splits.test])
    assert (splits.domain[used] >= 0).all()
    assert len(used) < len(splits.y), "images of no region are left out"


# ----------------------------------------------------------------------------------------------------- amazon


def test_ratings_come_prepared(data):
    rating_reference.write_ratings()
    ratings.prepare(partial=True)
    splits = TRACK.load(task("amazon"), settings.Run(), INPUTS)
    truth = TRACK.truth(task("amazon"), settings.Run(), INPUTS)
    assert splits.domains == ratings.DOMAINS
    assert splits.kind == "table"
    x = splits.test.inputs.read(np.arange(len(splits.test)))
    assert x.shape == (len(truth.test_y), 2)
    assert truth.test_y.mean() == 0.5
    shutil.rmtree(data / "prepared")
    assert "is not prepared: bench data prepare amazon" in TRACK.missing(task("amazon"), settings.Run())
    shutil.rmtree(CATALOG["amazon"].folder)
    with pytest.raises(BenchError, match=r"no file ratings_Books\.csv"):
        TRACK.load(task("amazon"), settings.Run(), INPUTS)
