"""Two layers read as one: which record counts, and where its artifacts are."""

import itertools

import numpy as np
import pytest

from bench.contract import STATUSES, BenchError, Units
from bench.store.committed.layers import Layered, committed_records, store_name
from bench.store.committed.writing import publish
from bench.store.records import Store


@pytest.mark.parametrize(("own", "under"), [*itertools.product(STATUSES, STATUSES)])
def test_a_record_that_says_nothing_never_hides_a_published_result(local, record, tmp_path, own, under):
    there = Store.open(tmp_path / "there")
    there.write(record(1, status=under, metrics={"auc": 0.7} if under == "ok" else {}))
    publish(there, there.summaries(), tmp_path / "results" / "laptop")
    local.write(record(1, status=own, metrics={"auc": 0.6} if own == "ok" else {}))
    layered = Layered(local, committed_records(tmp_path / "results", "laptop"))
    (head,) = layered.summaries().values()
    # A skip here is the method's own word: one for a stage that failed says so in its error.
    hides = own == "lost" and under != "lost"
    assert (head.status, head.layer) == ((under, "published") if hides else (own, ""))
    read = layered.read(head.key)
    assert (read.status, dict(read.metrics)) == (head.status, dict(head.metrics))
    assert [h.status for pair in layered.pairs() for h in pair] == (
        ["ok", "ok"] if own == under == "ok" else []
    )


def test_what_is_written_to_the_store_is_seen_and_artifacts_of_both_are_found(local, record, tmp_path):
    there = Store.open(tmp_path / "there")
    theirs = there.artifacts.put_units(Units(np.arange(3), np.ones(3)))
    there.write(record(1, units={"auc": theirs}))
    publish(there, there.summaries(), tmp_path / "results" / "laptop")
    layered = Layered(local, committed_records(tmp_path / "results", None))
    mine = local.artifacts.put_units(Units(np.arange(2), np.zeros(2)))
    local.write(record(2, units={"auc": mine}))
    heads = layered.summaries()
    assert sorted(h.layer for h in heads.values()) == ["", "published"]
    for key in heads:
        found = layered.artifacts.units(layered.read(key).units["auc"])
        assert len(found.ids) == (3 if heads[key].layer else 2)
    with pytest.raises(BenchError, match="no artifact"):
        layered.artifacts.get("sha256-" + "0" * 32 + ".npz")
    sidecar = tmp_path / "results" / "laptop" / "embedding_scale" / theirs
    sidecar.write_bytes(b"x")
    local.artifacts.put_units(Units(np.arange(3), np.ones(3)))
    assert len(layered.artifacts.units(theirs).ids) == 3, "the store's copy of a damaged one"
    assert layered.match(next(iter(heads))[:10]) in heads
    with pytest.raises(BenchError, match="or the published records has key"):
        layered.match("zzz")


def test_there_is_no_layer_where_nothing_is_published(tmp_path):
    assert committed_records(tmp_path / "nowhere", "laptop") is None
    (tmp_path / "laptop").mkdir()
    assert committed_records(tmp_path, "laptop", ["embedding_scale"]) is None
    assert committed_records(tmp_path, None) is None


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("https://me:secret@host/place", "https://host/place"),
        ("memory://x", "memory://x"),
        ("/somebody/private/place", "place"),
    ],
)
def test_a_store_is_named_without_what_is_private(url, name):
    assert store_name(url) == name


def test_a_store_of_the_clone_is_named_by_its_path_there(monkeypatch, tmp_path):
    monkeypatch.setattr("bench.CLONE", tmp_path)
    assert store_name(str(tmp_path / "results" / "store")) == "results/store"
