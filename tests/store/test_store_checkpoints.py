"""Checkpoints that follow their cell from machine to machine; machines are caches of their own here."""

from __future__ import annotations

import os
import time

import pytest

from bench.contract import BenchError
from bench.store.records import Store

BY, OTHER = "a" * 16, "b" * 16


def saved(checkpoints, text):
    """Save a checkpoint as the process of a cell does."""
    checkpoints.folder.keep(lambda path: path.write_text(text))


def kept(store):
    return sorted(store._files.names("checkpoints/ab12"))


@pytest.fixture
def machine(url, tmp_path):
    """The checkpoints of one cell on a machine of that name, on the same store as all others."""

    def machine(name, by=BY):
        found = Store.open(url, cache=tmp_path / name).artifacts.checkpoints("ab12", by)
        found.fetch()
        return found

    return machine


def test_a_cell_goes_on_on_another_machine_from_its_last_checkpoint(machine, store):
    one = machine("one")
    assert one.folder.last() is None
    assert one.put() is False
    for text in ("1", "2", "3"):
        saved(one, text)
        assert one.put() is one.remote
        assert one.put() is False, "it is there"
    assert [n[16:26] for n in kept(store)] == ["-00000002-", "-00000003-"], "the last two are kept"
    two = machine("two")
    assert two.folder.last().read_text() == "3"
    saved(two, "4")
    two.put()
    one.fetch()
    assert one.folder.last().read_text() == "4"
    one.drop()
    one.drop()
    assert kept(store) == []
    assert not one.folder.path.exists()
    assert machine("three").folder.last() is None


def test_a_checkpoint_that_is_damaged_in_the_store_gives_way_to_the_one_before(machine, store):
    one = machine("one")
    for text in ("1", "2"):
        saved(one, text)
        one.put()
    store._files.write(f"checkpoints/ab12/{kept(store)[-1]}", b"torn")
    assert machine("two").folder.last().read_text() == "1"


def test_a_checkpoint_of_other_code_is_not_even_fetched(machine, store, monkeypatch):
    one = machine("one")
    for text in ("1", "2", "3"):
        saved(one, text)
        one.put()
    two = machine("two", OTHER)
    assert two.folder.last() is None
    assert two.folder.clear() == (not one.remote), "of a folder that both share it is there, and goes"
    saved(two, "anew")
    two.put()
    assert [n[:16] for n in kept(store)] == [OTHER], "the first of the new ones replaces the old ones"


def test_a_key_of_checkpoints_cannot_leave_the_store(local):
    with pytest.raises(BenchError, match="is not a key"):
        local.artifacts.checkpoints("../../x", BY)


def test_a_checkpoint_that_the_cell_removes_meanwhile_is_no_error(tmp_path, monkeypatch):
    checkpoints = Store.open(f"memory://{tmp_path.name}", cache=tmp_path).artifacts.checkpoints("ab12", BY)
    checkpoints.fetch()
    saved(checkpoints, "1")
    (gone,) = checkpoints.folder.found()
    (checkpoints.folder.path / gone.name).unlink()
    monkeypatch.setattr(checkpoints.folder, "found", lambda: [gone])
    assert checkpoints.put() is False


def test_what_a_cell_that_ended_elsewhere_left_in_the_cache_is_removed_in_time(tmp_path):
    url = f"memory://{tmp_path.name}"
    for key in ("old", "new"):
        saved(Store.open(url, cache=tmp_path).artifacts.checkpoints(key, BY), "1")
    base = Store.open(url, cache=tmp_path).artifacts.checkpoints("new", BY).folder.path.parent
    long_ago = time.time() - 8 * 24 * 3600
    os.utime(base / "old", (long_ago, long_ago))
    Store.open(url, cache=tmp_path).artifacts.checkpoints("x", BY)
    assert [p.name for p in base.iterdir()] == ["new"]
