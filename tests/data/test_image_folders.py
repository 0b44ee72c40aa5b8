"""Data sets in DomainBed's layout: what is listed in which order, how it is split, and what is refused."""

from __future__ import annotations

import shutil

import image_reference as reference
import numpy as np
import pytest
from data_command import bench

from bench.contract import BenchError
from bench.data.catalog import CATALOG
from bench.data.images import image_files, image_folders, image_sets
from bench.data.images.image_folders import LAYOUTS, seed_of, split

#: Images a data set as DISAM's table says (the sheet, 3a).
TOTALS = {
    "pacs": 9_991, "vlcs": 10_729, "office-home": 15_588, "terra-incognita": 24_788, "domain-net": 586_575,
}  # fmt: skip


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


# -------------------------------------------------------------------------------------------------- the lists


def test_the_published_counts_add_up():
    assert {name: sum(layout.counts.values()) for name, layout in LAYOUTS.items()} == TOTALS
    for layout in LAYOUTS.values():
        assert list(layout.counts) == list(layout.places) == sorted(layout.places)
    assert sum(len(layout.places) for layout in LAYOUTS.values()) == 22  # leave-one-out runs a seed


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_domain_is_listed_as_imagefolder_lists_it(data, name):
    from torchvision.datasets import ImageFolder

    folder = reference.folders(name)
    first = folder / image_folders.domains(name)[0] / "bike"
    reference.picture(first / "inner" / "deep.JPG")
    reference.picture(first / "a-b" / "other.png")
    (first / "notes.txt").write_text("no image")
    (folder / "README.txt").write_text("no domain")
    image_sets.image_set(name).prepare(partial=True)
    images = image_sets.image_set(name).read()
    assert images.groups == image_folders.domains(name)
    assert images.classes == ("Alarm Clock", "bike", "dog", "horse")
    for d, domain in enumerate(images.groups):
        rows = images.rows(domain)
        theirs = ImageFolder(str(folder / domain)).samples
        assert [(str(p), y) for p, y in zip(images.paths(rows), images.labels[rows], strict=True)] == theirs
        assert len(rows) == 12 + d + (2 if d == 0 else 0)
        assert (images.group[rows] == d).all()
    sizes = [p.stat().st_size for p in images.paths(range(len(images.files)))]
    assert images.sizes.tolist() == sizes
    dogs = images.rows(images.groups[1], [2])
    assert all("/dog/" in images.files[i] for i in dogs)
    assert len(dogs) == 3


def test_the_fingerprint_is_of_the_data_and_not_of_the_place(data, tmp_path, monkeypatch):
    reference.folders("pacs")
    image_sets.image_set("pacs").prepare(partial=True)
    one = image_sets.image_set("pacs").fingerprint()
    assert one.endswith("-part")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "elsewhere"))
    shutil.copytree(data / "PACS", tmp_path / "elsewhere" / "PACS")
    image_sets.image_set("pacs").prepare(partial=True)
    assert image_sets.image_set("pacs").fingerprint() == one
    (CATALOG["pacs"].folder / "photo" / "dog" / "pic_9.jpg").unlink()
    image_sets.image_set("pacs").prepare(partial=True, again=True)
    assert image_sets.image_set("pacs").fingerprint() != one


def test_whole_data_sets_need_no_partial(data, monkeypatch):
    reference.folders("vlcs")
    whole = image_folders.layout(image_folders.domains("vlcs"), 4, (12, 13, 14, 15))
    monkeypatch.setitem(LAYOUTS, "vlcs", whole)
    assert image_sets.image_set("vlcs").prepare().complete
    assert not image_sets.image_set("vlcs").fingerprint().endswith("-part")
    # Another edition that is in use, by its total.
    other = image_folders.layout(whole.places, 4, (99, 99, 99, 99), (12, 13, 14, 15))
    monkeypatch.setitem(LAYOUTS, "vlcs", other)
    assert image_sets.image_set("vlcs").prepare(again=True).complete


# -------------------------------------------------------------------------------------------------- the split


@pytest.mark.parametrize(
    ("n", "key", "text"),
    [(1, (0, 0), "(0, 0)"), (10, (0, 0), "(0, 0)"), (2_048, (0, 1), "(0, 1)"), (777, (3, 5), "(3, 5)"),
     (1_300, (0, 2, "base"), "(0, 2, 'base')"), (65, (1, 3, "open"), "(1, 3, 'open')")],
)  # fmt: skip
def test_the_split_is_domainbeds_permutation(n, key, text):
    order = reference.permutation(n, text)
    cut = int(n * 0.2)
    portions = split(n, *key)
    assert portions.outside.tolist() == order[:cut]
    assert portions.inside.tolist() == order[cut:]
    assert sorted([*portions.inside, *portions.outside]) == list(range(n))


def test_the_permutation_is_that_of_a_shuffled_list():
    """DomainBed shuffles a list, we an array: numpy has two paths for that."""
    keys = list(range(9_991))
    np.random.RandomState(seed_of(0, 1)).shuffle(keys)
    assert [*split(9_991, 0, 1).outside, *split(9_991, 0, 1).inside] == keys


def test_trials_and_domains_have_their_own_split():
    splits = [tuple(split(50, trial, d).outside) for trial in range(3) for d in range(4)]
    assert len(set(splits)) == 12
    assert splits[0] == tuple(split(50, 0, 0).outside)
    assert len(splits[0]) == 10


def test_the_split_leaves_the_global_generator_alone():
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    split(100, 0, 0)
    assert np.array_equal(np.random.get_state()[1], before)


# ------------------------------------------------------------------------------------------ what is refused


def test_nothing_there(data):
    said = image_sets.image_set("office-home").missing()
    assert f"no folder office_home in {data} ($BENCH_DATA)" in said
    assert "bench data prepare office-home" in said
    with pytest.raises(BenchError, match="no folder office_home"):
        image_sets.image_set("office-home").prepare()
    with pytest.raises(BenchError, match="no folder office_home"):
        image_sets.image_set("office-home").read()


def test_not_prepared_then_prepared_then_a_domain_lost(data):
    reference.folders("pacs")
    assert (
        image_sets.image_set("pacs").missing()
        == f"pacs: {data / 'PACS'} is not prepared: bench data prepare pacs"
    )
    image_sets.image_set("pacs").prepare(partial=True)
    assert image_sets.image_set("pacs").missing() is None
    shutil.rmtree(data / "PACS" / "sketch")
    assert "no folder sketch in" in image_sets.image_set("pacs").missing()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: shutil.rmtree(f / "photo" / "dog"), r"no class folder 'dog' in domain 'photo' "),
        (lambda f: shutil.rmtree(f / "art_painting" / "dog"), "no class folder 'dog' in domain 'art_paint"),
        (lambda f: shutil.rmtree(f / "photo"), "no folder photo in"),
        (lambda f: [p.unlink() for p in (f / "photo" / "dog").iterdir()], r"no image in .*photo.dog .*\.jpg"),
        (lambda f: [shutil.rmtree(p) for p in (f / "sketch").iterdir()], "domain 'sketch' is empty"),
        (lambda f: [shutil.rmtree(p) for p in (f / "art_painting").iterdir()], "'art_painting' is empty"),
        (lambda f: (f / "__MACOSX").mkdir(), "__MACOSX is none of its domains"),
        (lambda f: (f / "photo" / "zebra").mkdir(), "no class folder 'zebra' in domain 'art_painting'"),
        (lambda f: (f / "photo" / "dog" / "pic_9.jpg").rename(f / "photo" / "dog" / "a\tb.jpg"), "rename it"),
    ],
)  # fmt: skip
def test_a_damaged_tree_is_named(data, spoil, said):
    spoil(reference.folders("pacs"))
    with pytest.raises(BenchError, match=said):
        image_sets.image_set("pacs").prepare(partial=True)
    assert not (data / "prepared" / "pacs").exists()


def test_other_counts_are_an_error_that_says_which_domain_has_how_many(data, monkeypatch):
    reference.folders("pacs")
    with pytest.raises(BenchError, match=r"pacs: 4 classes, expected 7 \(in .*PACS\); --partial"):
        image_sets.image_set("pacs").prepare()
    whole = image_folders.layout(image_folders.domains("pacs"), 4, (12, 13, 14, 16))
    monkeypatch.setitem(LAYOUTS, "pacs", whole)
    said = r"54 images, expected 55: art_painting 12, cartoon 13, photo 14, sketch 15 \(published 16\)"
    with pytest.raises(BenchError, match=said):
        image_sets.image_set("pacs").prepare()
    assert image_sets.image_set("pacs").prepare(partial=True).counts == (12, 13, 14, 15)
    with pytest.raises(BenchError, match="54 images"):
        image_sets.image_set("pacs").prepare()


def test_an_unknown_name_gets_the_nearest(data):
    with pytest.raises(BenchError, match="no image data set 'ofice-home'; did you mean 'office-home'"):
        image_sets.image_set("ofice-home")
    with pytest.raises(BenchError, match="there is caltech101, domain-net, dtd"):
        image_sets.image_set("xyzzy").read()


def test_a_damaged_list_is_named(data):
    reference.folders("pacs")
    image_sets.image_set("pacs").prepare(partial=True)
    place = data / "prepared" / "pacs"
    files = place / image_files.FILES
    files.write_bytes(files.read_bytes()[:-5])
    with pytest.raises(BenchError, match=r"files\.tsv: is not the list.*bench data prepare pacs --again"):
        image_sets.image_set("pacs").read()
    files.unlink()
    with pytest.raises(BenchError, match=r"files\.tsv: cannot be read"):
        image_sets.image_set("pacs").read()
    (place / image_files.MANIFEST).write_text("{")
    assert "no manifest of this version" in image_sets.image_set("pacs").missing()


def test_a_list_of_other_rules_is_made_again(data, monkeypatch):
    reference.folders("pacs")
    image_sets.image_set("pacs").prepare(partial=True)
    monkeypatch.setattr(image_sets, "VERSION", 3)
    assert (
        "prepared under rules 2, today's are 3: bench data prepare pacs"
        in image_sets.image_set("pacs").missing()
    )
    image_sets.image_set("pacs").prepare(partial=True)
    assert image_sets.image_set("pacs").missing() is None


# ------------------------------------------------------------------------------------------ the commands


def test_prepare_and_check_say_what_is_there(data):
    folder = reference.folders("pacs")
    assert "is not prepared: bench data prepare pacs" in bench("check", "pacs", code=1)
    with pytest.raises(BenchError, match=r"expected 7 .*; --partial"):
        bench("prepare", "pacs")
    said = bench("prepare", "pacs", "--partial")
    assert "pacs: 54 images (art_painting 12, cartoon 13, photo 14, sketch 15), 4 classes: not the" in said
    assert bench("check", "pacs") == said
    one = folder / "photo" / "dog" / "pic_9.jpg"
    kept = one.read_bytes()
    one.write_bytes(kept + b" ")
    assert f"photo/dog/pic_9.jpg has another size ({len(kept) + 1} bytes, had {len(kept)})" in bench(
        "check", "pacs", code=1
    )
    one.unlink()
    assert "photo/dog/pic_9.jpg is gone: bench data prepare pacs --again" in bench("check", "pacs", code=1)
    assert "53 images" in bench("prepare", "pacs", "--partial", "--again")


def test_the_terms_of_every_image_data_set_are_listed(data):
    said = bench("list", "-t", "embedding_scale")
    for name in image_sets.LAYOUTS:
        assert name in CATALOG
        assert CATALOG[name].title.split(":")[0] in said
    assert "general knowledge, verify" in said


def test_refuses_with_the_nearest_word(data):
    with pytest.raises(BenchError, match="did you mean 'terra-incognita'"):
        bench("prepare", "terra-incognito")
    with pytest.raises(BenchError, match="which\\? criteo, avazu, pacs"):
        bench("prepare")
