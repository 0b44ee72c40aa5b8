"""Merging two stores: nothing is lost, replicates are told from conflicts, and only the first one grows."""

from dataclasses import replace

import numpy as np
import pytest

from bench.contract import BenchError, Metric, Record, Stage, Units
from bench.store.encoding import dump
from bench.store.upkeep.merging import MergingStore, merge

METRICS = [
    Metric(name=f"metric_{j}", better="higher", kind="cost" if j == 7 else "quality") for j in range(8)
]


def known(track):
    return METRICS if track == "embedding_scale" else None


@pytest.fixture
def other(tmp_path):
    return MergingStore.open(tmp_path / "other")


@pytest.fixture
def into(url):
    return MergingStore.open(url)


def numbers(of, **changed):
    return replace(of, metrics={**of.metrics, **changed})


def test_records_of_both_are_there_and_a_second_merge_brings_nothing(into, other, record, cell):
    for i in range(3):
        into.write(record(i))
    for i in range(2, 6):
        other.write(record(i))
    out = merge(into, other, known)
    assert (out.added, out.there, out.replicates) == (3, 1, [])
    again = MergingStore.open(into.url) if "memory" not in into.url else into
    assert {r.key for r in map(again.read, again.summaries())} == {cell(i).key for i in range(6)}
    assert dump(again.read(cell(4).key)) == dump(record(4))
    out = merge(into, other, known)
    assert (out.added, out.there) == (0, 4)


def test_the_other_store_is_not_written(into, other, tmp_path, record):
    other.write(record(1))
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "other").rglob("*")}
    merge(into, other, known)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "other").rglob("*")} == before


def test_equal_numbers_are_a_replicate_and_both_records_stay(local, other, record, cell):
    into = MergingStore.open(local.url)
    into.write(record(1, ended="2026-01-02T00:00:00+00:00"))
    other.write(numbers(record(1, ended="2026-01-03T00:00:00+00:00"), metric_7=9.0))
    out = merge(into, other, known)
    assert [(r.conflict, r.differs, r.apart) for r in out.replicates] == [(False, (), ())], "7 is a cost"
    assert [r.ended[:10] for r in into.history(cell(1).key)] == ["2026-01-02", "2026-01-03"]


def test_other_numbers_with_the_same_hardware_and_packages_are_a_conflict(local, other, record, cell):
    into, key = MergingStore.open(local.url), cell(1).key
    mine = record(1, ended="2026-01-02T00:00:00+00:00")
    theirs = numbers(record(1, ended="2026-01-03T00:00:00+00:00"), metric_0=0.25)
    into.write(mine)
    other.write(theirs)
    out = merge(into, other, known)
    (pair,) = out.replicates
    assert pair.conflict
    assert pair.differs == (f"metric_0 was {mine.metrics['metric_0']}, is 0.25",)
    assert (out.left_out, out.added) == ([key], 0)
    assert [dump(r) for r in into.history(key)] == [dump(mine)], "nothing changes in silence"
    out = merge(into, other, known, both=True)
    assert (out.left_out, out.added) == ([], 1)
    into.summaries()
    assert dump(into.read(key)) == dump(theirs), "the one that ended last counts"
    assert len(into.history(key)) == 2, "and no number is lost"


@pytest.mark.parametrize(
    ("changed", "apart"),
    [
        ({"where": {"label": "Slow CPU × 1"}}, "hardware: Fast CPU × 2, Slow CPU × 1"),
        (
            {"provenance": {"packages": {"torch": "2.15.0"}}},
            "packages: numpy 2.4.0, absent, torch 2.14.0, 2.15.0",
        ),
        ({"provenance": {"data": "flights-2"}}, "data"),
        ({"provenance": {"code": "sha256-" + "0" * 32 + ".json"}}, "code: ccccccc, ccccccc"),
        ({"marks": ["fallback: batch=2"]}, "marks: none; fallback: batch=2"),
    ],
    ids=["hardware", "packages", "data", "code", "fallback"],
)
def test_other_numbers_are_no_conflict_where_something_explains_them(local, other, changed, apart, record):
    into, mine = MergingStore.open(local.url), record(1)
    parts = {k: {**getattr(mine, k), **v} if isinstance(v, dict) else v for k, v in changed.items()}
    into.write(mine)
    other.write(numbers(replace(mine, ended="2026-02-01T00:00:00+00:00", **parts), metric_0=0.25))
    (pair,) = merge(into, other, known).replicates
    assert not pair.conflict
    assert pair.differs
    assert apart in pair.apart


def test_a_failure_there_does_not_replace_a_number_here(local, other, record, cell):
    into = MergingStore.open(local.url)
    into.write(record(1))
    other.write(record(1, status="failed", metrics={}, series={}, ended="2026-03-01T00:00:00+00:00"))
    out = merge(into, other, known)
    assert (out.added, out.replicates) == (1, [])
    assert into.read(cell(1).key).status == "ok"


def test_artifacts_come_along_and_a_missing_one_is_told(into, other, record):
    units = Units(ids=np.arange(5), values=np.linspace(0, 1, 5))
    name = other.artifacts.put_units(units)
    lost = "sha256-" + "1" * 32 + ".webp"
    other.write(record(1, units={"metric_0": name}, views={"samples": lost}))
    out = merge(into, other, known)
    assert into.artifacts.units(name).values == pytest.approx(units.values, abs=1e-3)
    assert out.added == 1
    assert any(lost in note for note in out.notes)


def stage_record(record, stage: Stage, ended: str) -> Record:
    cell = {"track": "t", "stage": stage.name, "address": stage.address, "shard": 0, "params": {}, "run": {}}
    return replace(
        record(0, ended=ended), key=f"{stage.address}-0", kind="stage", cell=cell, metrics={}, series={}
    )


def build(store, stage, text, tmp_path, record):
    folder = tmp_path / f"out-{text}"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "weights.bin").write_text(text)
    store.artifacts.put_stage(stage.address, 0, folder)
    store.write(stage_record(record, stage, f"2026-01-0{len(text)}T00:00:00+00:00"))


def test_a_stage_comes_along_and_one_that_both_built_stays(into, other, tmp_path, record):
    only, twice = (Stage(name=n, build=build) for n in ("only", "twice"))
    build(other, only, "one", tmp_path, record)
    build(into, twice, "here", tmp_path, record)
    build(other, twice, "there", tmp_path, record)
    out = merge(into, other, known)
    path = into.artifacts.stage_path(only)
    assert out.stages == 1
    assert (path / "deep" / "weights.bin").read_text() == "one"
    assert (into.artifacts.stage_path(twice) / "deep" / "weights.bin").read_text() == "here"
    assert any("stage twice was built in both stores" in note for note in out.notes)
    assert other.artifacts.stage_path(only) is not None, "it was copied, not moved"


def test_what_cannot_be_merged_is_said(local, other, tmp_path, record):
    into = MergingStore.open(local.url)
    with pytest.raises(BenchError, match="holds no record"):
        merge(into, other, known)
    into.write(record(1))
    with pytest.raises(BenchError, match="both are the store"):
        merge(into, into, known)
    with pytest.raises(BenchError, match="no such folder"):
        MergingStore.existing(str(tmp_path / "nowhere"))


def test_a_damaged_record_is_left_out_and_told(local, other, tmp_path, record, cell):
    into = MergingStore.open(local.url)
    other.write(record(1))
    other.write(record(2))
    other.every()
    (broken,) = (tmp_path / "other" / "records").glob(f"{cell(1).key}*")
    broken.write_text("{")
    out = merge(into, other, known)
    assert out.added == 1
    assert any(cell(1).key in note for note in out.notes)
