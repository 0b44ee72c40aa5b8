"""Tracks on data of the user's own: they are the same tracks, their code is kept apart, and nothing leaks."""

from __future__ import annotations

from types import SimpleNamespace

import brought_files as files
import numpy as np
import pytest
from leak_walker import leaks

from bench.data.brought import entries, images, tables
from bench.registry import Registry
from bench.store.code import closure

REGISTRY = Registry()
TRACKS = [n for n in REGISTRY.track_names() if REGISTRY.brought(n) is not None]
INPUTS = SimpleNamespace(seed=None, device="cpu", stage=None)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    return tmp_path


def code_of(track, row):
    found = REGISTRY.row(track.name, row)
    reached = closure.code({}).of_cell(track, found.method, found.method.hp_of(row))
    return set(closure.unpack_listing(reached.listing))


def test_the_tracks_that_take_data_of_the_users():
    assert TRACKS == ["dit_transfer", "embedding_scale", "forecasting", "multi_domain", "ood"]


@pytest.mark.parametrize("name", TRACKS)
def test_what_opens_own_data_is_no_part_of_the_code_of_cells_on_ours(name):
    ours, theirs = REGISTRY.track(name), REGISTRY.brought(name).TRACK
    assert isinstance(theirs, type(ours))
    assert (theirs.name, theirs.version, theirs.metrics) == (ours.name, ours.version, ours.metrics)
    row = ours.reference
    on_ours, on_theirs = code_of(ours, row), code_of(theirs, row)
    mine = {definition for definition, _ in on_ours}
    assert not [n for n in mine if n.startswith("Brought")]
    assert {f"{type(theirs).__name__}.load", "Entry"} <= {n for n, _ in on_theirs}
    assert on_ours - on_theirs == set(), "a derived track is all that the track is, and more"


def data_of(name, entry):
    """What a method is given of the first task on a data set, and the ground truth."""
    entries.write(*entry)
    module = REGISTRY.brought(name)
    track = REGISTRY.track(name)
    section = module.section(entry[0])
    task = track.tasks(track.Grid(**{k: tuple(v) for k, v in section.grid.items()}))[0]
    assert task.brought == "mine"
    run = track.Run()
    assert REGISTRY.track_of(name, task)[0] is module.TRACK
    return module.TRACK.load(task, run, INPUTS), module.TRACK.truth(task, run, INPUTS)


@pytest.mark.parametrize("name", ["ood", "multi_domain"])
def test_pictures_are_given_without_names_and_test_labels(here, name):
    folder = files.pictures(here / "data" / "pics", each=10)
    made = images.add("mine", folder, files.DOMAINS, seed=0, prompt="", network="laptop", terms="")
    given, truth = data_of(name, made)
    listed = [str(p.relative_to(folder)) for p in folder.rglob("*.png")]
    if name == "ood":
        secrets = [truth.targets[0].labelled.y]
        assert set(truth.targets[0].labelled.ids) <= set(listed)
        assert given.classes == ("cat", "red fox")
        assert len(given.train) == 32, "four fifths of two domains"
        assert not set(given.train.ids) & set(given.val.ids)
    else:
        secrets = [truth.test_y]
        assert (len(given.train), len(given.val), len(given.test)) == (36, 12, 12)
    known = [given.train.y, given.val.y]  # few labels: those of validation are those of test by value
    assert leaks(given, secrets=secrets, known=known, root_folder=here / "data", names=listed) == []


@pytest.mark.parametrize("name", ["embedding_scale", "multi_domain"])
def test_a_table_is_given_without_test_labels(here, name):
    file = files.table(here / "ads.csv")
    given, truth = data_of(
        name, tables.add("mine", file, tables.Asked(label="clicked", domains="site"), terms="")
    )
    table = tables.read("mine")
    first, second = table.cuts
    assert leaks(given, secrets=[truth.test_y], root_folder=here / "data") == []
    if name == "embedding_scale":
        assert (truth.test_y == table.label[second:]).all()
        assert (truth.val_y == table.label[first:second]).all()
        assert given.fields == ("user", "item", "price", "day", "site")
        assert given.train_x.max(axis=0).tolist() <= [c - 1 for c in given.cardinalities]
    else:
        assert given.domains == ("s0", "s1", "s2")
        assert np.bincount(truth.test_domain, minlength=3).sum() == len(truth.test_y) == 60
