from __future__ import annotations

import dataclasses
import subprocess
import sys

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.contract import BenchError, Cell, Record, digest
from bench.store import encoding
from bench.store import records as records_module
from bench.store import segments as segments_module
from bench.store.encoding import SCHEMA, dump, parse, record_of
from bench.store.records import Store
from bench.store.segments import write_segment


def loose(store: Store) -> list[str]:
    return sorted(store._files.names("records"))


def segments(store: Store) -> list[str]:
    return sorted(store._files.names("segments"))


def plain(record):
    return orjson.loads(dump(record))


# ------------------------------------------------------------------------------------ every kind of store


def test_what_is_written_is_read_loose_and_sealed(url, record):
    store = Store.open(url)
    assert store.summaries() == {}
    assert store.read("0" * 16) is None
    wanted = {r.key: r for r in (record(i) for i in range(7))}
    for r in wanted.values():
        store.write(r)
    for seen in (store, Store.open(url)):
        assert set(seen.summaries()) == set(wanted)
        assert {k: plain(seen.read(k)) for k in wanted} == {k: plain(r) for k, r in wanted.items()}
    assert store.seal(minimum=8) == 0
    assert len(loose(store)) == 7
    assert store.seal(minimum=7) == 7
    assert (len(loose(store)), len(segments(store))) == (0, 1)
    for seen in (store, Store.open(url)):
        assert set(seen.summaries()) == set(wanted)
        assert {k: plain(seen.read(k)) for k in wanted} == {k: plain(r) for k, r in wanted.items()}
        assert seen.problems == []


def test_torn_and_foreign_files_are_set_aside_and_said_once(url, record):
    store = Store.open(url)
    good = record(1)
    store.write(good)
    store._files.write("records/notes.txt", b"mine")
    store._files.write("records/0123456789abcdef.json", b'{"key": "01234')
    store._files.write("records/aaaa.json", b"")
    seen = Store.open(url)
    assert set(seen.summaries()) == {good.key}
    assert len(seen.problems) == 3
    for name in ("notes.txt", "0123456789abcdef.json", "aaaa.json"):
        assert any(name in p and "aside/" in p for p in seen.problems)
    assert set(store._files.names("aside")) == {"notes.txt", "0123456789abcdef.json", "aaaa.json"}
    assert store._files.read("aside/notes.txt") == b"mine"
    seen.summaries()
    assert len(seen.problems) == 3
    assert Store.open(url).problems == []


def test_a_damaged_segment_loses_only_its_torn_lines(url, record):
    store = Store.open(url)
    wanted = [record(i) for i in range(4)]
    for r in wanted:
        store.write(r)
    store.seal(1)
    (name,) = segments(store)
    lines = store._files.read(f"segments/{name}").splitlines(keepends=True)
    store._files.write(f"segments/{name}", b"".join([lines[0], lines[1][:100] + b"\n", *lines[2:]]))
    seen = Store.open(url)
    kept = {parse(x)["key"] for x in (lines[0], *lines[2:])}
    assert set(seen.summaries()) == kept
    assert len(seen.problems) == 1
    assert "1 damaged lines, 3 sound" in seen.problems[0]
    assert set(store._files.names("aside")) == {name}
    again = Store.open(url)
    assert set(again.summaries()) == kept
    assert again.problems == []
    assert all(again.read(k) is not None for k in kept)


# ---------------------------------------------------------------------------------------- which one counts


def test_the_newest_by_its_end_counts_whatever_the_order_of_writing(local, record):
    new = record(1, ended="2026-03-02T00:00:00", metrics={"a": 2})
    old = record(1, ended="2026-03-01T00:00:00", metrics={"a": 1})
    local.write(new)
    local.write(old)
    assert local.summaries()[new.key].metrics == {"a": 2}
    local.seal(1)
    assert Store.open(local.url).summaries()[new.key].metrics == {"a": 2}
    local.write(old)
    assert local.summaries()[new.key].metrics == {"a": 2}
    local.seal(1)
    assert Store.open(local.url).summaries()[new.key].metrics == {"a": 2}


def test_of_equal_ends_the_one_written_last_counts(local, record):
    for value in range(1, 6):
        r = record(1, ended="2026-03-01T00:00:00", metrics={"a": value})
        local.write(r)
        assert local.summaries()[r.key].metrics == {"a": value}
        assert Store.open(local.url).summaries()[r.key].metrics == {"a": value}
        if value in (2, 3):
            local.seal(1)
            assert Store.open(local.url).summaries()[r.key].metrics == {"a": value}


def test_an_older_record_counts_again_when_the_newer_one_is_removed(local, record):
    local.write(record(1, ended="2026-03-01", metrics={"a": 1}))
    local.seal(1)
    newer = record(1, ended="2026-03-02", metrics={"a": 2})
    local.write(newer)
    assert local.summaries()[newer.key].metrics == {"a": 2}
    local._files.remove([f"records/{name}" for name in loose(local)])
    assert local.summaries()[newer.key].metrics == {"a": 1}


def test_another_process_writing_and_sealing_is_seen(local, record):
    other = Store.open(local.url)
    first, second = record(1), record(2)
    local.write(first)
    assert set(other.summaries()) == {first.key}
    local.write(second)
    local.seal(1)
    assert other.read(first.key).metrics == first.metrics  # its loose file is gone meanwhile
    assert set(other.summaries()) == {first.key, second.key}


def test_a_loose_record_may_be_named_by_its_key_alone(local, record):
    r = record(1)
    local._files.write(f"records/{r.key}.json", orjson.dumps(plain(r), option=orjson.OPT_INDENT_2))
    assert set(local.summaries()) == {r.key}
    local.seal(1)
    assert plain(Store.open(local.url).read(r.key)) == plain(r)


# ------------------------------------------------------------------------------------------------- a head


def test_a_head_says_what_plan_and_board_need(local, record):
    error = {"type": "ValueError", "message": "no such column\nsecond line", "last_lines": ["x"]}
    r = record(3, status="failed", reason="why", error=error, marks=["fallback"], attempts=2)
    r = dataclasses.replace(r, provenance={**r.provenance, "code": "sha256-x", "built_by": {"pretrain": "y"}})
    local.write(r)
    h = local.summaries()[r.key]
    assert (h.kind, h.status, h.reason, h.attempts, h.marks) == ("cell", "failed", "why", 2, ("fallback",))
    assert (h.track, h.task, h.row, h.seed) == ("embedding_scale", "flights-3x", "multi/dcnv2-0", 0)
    assert (h.hp, h.run, h.cell) == (r.cell["hp"], {"epochs": 3}, r.cell)
    assert (h.metrics, h.cost, h.limits, h.hardware) == (r.metrics, r.cost, r.limits, "Fast CPU × 2")
    assert (h.code, h.ran_with, h.built_by) == ("sha256-x", r.provenance["ran_with"], {"pretrain": "y"})
    assert (h.data, h.stages, h.commit) == ("flights-1", {"pretrain": "ab" * 8}, "c" * 40)
    assert (h.ended, h.error) == (r.ended, "ValueError: no such column")


def test_heads_share_equal_settings(local, record):
    for i in range(5):
        local.write(record(i))
    local.seal(5)
    for i in range(5, 9):
        local.write(record(i))
    assert len({id(h.ran_with) for h in Store.open(local.url).summaries().values()}) == 1


def test_a_record_of_a_stage_needs_no_cell(local, record):
    named = {"stage": "pretrain", "address": "ab12", "shard": 0}
    stage = dataclasses.replace(record(), kind="stage", key="ab12-0", cell=named)
    local.write(stage)
    head = local.summaries()["ab12-0"]
    assert (head.kind, head.cell["stage"], head.track, head.seed) == ("stage", "pretrain", "", -1)


# ----------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("key", ["../../x", "", "a/b", ".hidden", "a.b", "x" * 81, "a\n"])
def test_a_key_cannot_leave_the_store(local, record, key, tmp_path):
    with pytest.raises(BenchError, match="is not a key"):
        local.read(key)
    with pytest.raises(BenchError, match="is not a key"):
        local.write(dataclasses.replace(record(), kind="stage", key=key))
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "store").exists()


def test_a_record_under_another_cells_key_is_refused_and_set_aside(local, record):
    a, b = record(1), record(2)
    with pytest.raises(BenchError, match="is not that of its cell"):
        local.write(dataclasses.replace(a, key=b.key))
    local._files.write(f"records/{b.key}.json", dump(dataclasses.replace(a, key=b.key)))
    assert local.summaries() == {}
    assert "is not that of its cell" in local.problems[0]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"metrics": {"auc": float("nan")}}, "metric auc is nan"),
        ({"metrics": {"t": {"bound": float("inf")}}}, "metric t is inf"),
        ({"metrics": {"auc": "0.7"}}, r"metrics\.auc is '0\.7', expected a valid number"),
        ({"log": [object()]}, "not plain JSON"),
        ({"status": "fine"}, "status is 'fine'"),
        ({"marks": [1]}, r"marks\.0 is 1, expected a valid string"),
        ({"provenance": {"code": 1}}, r"provenance\.code is 1"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(local, record, changed, said):
    with pytest.raises(BenchError, match=said):
        local.write(record(1, **changed))
    assert local.summaries() == {}


@pytest.mark.parametrize(
    "broken",
    [
        {"status": "fine"}, {"kind": "thing"}, {"metrics": []}, {"metrics": {"a": {"b": 1}}}, {"surprise": 1},
        {"schema": "1"}, {"where": {"label": 3}}, {"provenance": {"ran_with": 3}}, {"cell": {"track": "x"}},
        {"units": {"auc": 5}}, {"provenance": {"accepted": "yes"}},
    ],
)  # fmt: skip
def test_another_shape_is_set_aside_not_fatal(local, record, broken):
    r = record(1)
    local._files.write(f"records/{r.key}.json", orjson.dumps({**plain(r), **broken}))
    assert local.summaries() == {}
    assert len(local.problems) == 1
    assert local._files.names("aside")


def test_numpy_numbers_are_written_as_plain_ones(local, record):
    np = pytest.importorskip("numpy")
    r = record(1, metrics={"a": np.float64(0.5), "b": np.float32(0.25), "n": np.int64(3)})
    local.write(r)
    assert local.read(r.key).metrics == {"a": 0.5, "b": 0.25, "n": 3}


# ------------------------------------------------------------------------------------------------ schemas


def test_an_older_record_is_migrated(local, record, monkeypatch):
    def from_zero(raw):
        return {**{k: v for k, v in raw.items() if k != "scores"}, "metrics": raw["scores"]}

    monkeypatch.setitem(encoding.MIGRATIONS, 0, from_zero)
    r = record(1)
    old = {**{k: v for k, v in plain(r).items() if k != "metrics"}, "scores": {"auc": 0.5}, "schema": 0}
    local._files.write(f"records/{r.key}.json", orjson.dumps(old))
    assert local.summaries()[r.key].metrics == {"auc": 0.5}
    assert local.read(r.key).schema == SCHEMA
    local.seal(1)
    monkeypatch.delitem(encoding.MIGRATIONS, 0)  # sealing wrote it in today's schema
    assert Store.open(local.url).summaries()[r.key].metrics == {"auc": 0.5}


def test_a_schema_without_migration_or_a_failing_one_is_a_problem(local, record, monkeypatch):
    r = record(1)
    local._files.write(f"records/{r.key}.json", orjson.dumps({**plain(r), "schema": 0}))
    assert local.summaries() == {}
    assert "no migration from schema 0" in local.problems[0]
    monkeypatch.setitem(encoding.MIGRATIONS, 0, lambda raw: raw["gone"])
    local._files.write(f"records/{r.key}.json", orjson.dumps({**plain(r), "schema": 0}))
    assert local.summaries() == {}
    assert "failed: KeyError" in local.problems[1]


def test_a_newer_record_is_left_where_it_is(local, record):
    newer, r = record(1), record(2)
    local.write(r)
    name = f"records/{newer.key}.json"
    local._files.write(name, orjson.dumps({**plain(newer), "schema": SCHEMA + 1, "novel": 1}))
    assert set(local.summaries()) == {r.key}
    assert len(local.problems) == 1
    assert "schema is 2" in local.problems[0]
    local.summaries()
    assert len(local.problems) == 1
    assert local.seal(1) == 1
    assert loose(local) == [f"{newer.key}.json"]
    assert local._files.names("aside") == {}


def test_newer_records_in_segments_survive_compaction(local, record, monkeypatch):
    newer = orjson.dumps({**plain(record(99)), "schema": SCHEMA + 1})
    write_segment(local._files, 1, [newer, dump(record(98))])
    monkeypatch.setattr(segments_module, "_MANY_SMALL", 3)
    for i in range(6):
        local.write(record(i))
        local.seal(1)
    assert len(local.summaries()) == 7
    assert any(newer in local._files.read(f"segments/{n}") for n in segments(local))
    assert len(segments(local)) < 7


def test_a_newer_store_is_refused(local, record):
    local.write(record())
    local._files.write("store.json", b'{"schema": 2}')
    with pytest.raises(BenchError, match="has schema 2"):
        Store.open(local.url)


def test_what_is_not_a_store_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BenchError, match="is a file"):
        Store.open(tmp_path / "file")
    with pytest.raises(BenchError, match="nosuch"):
        Store.open("nosuch://x")
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "store.json").write_text("[]")
    with pytest.raises(BenchError, match="not the header"):
        Store.open(tmp_path / "s")


# ------------------------------------------------------------------------------------------------- sealing


def test_many_small_segments_become_one_and_every_winner_stays(url, record, monkeypatch):
    monkeypatch.setattr(segments_module, "_MANY_SMALL", 4)
    store = Store.open(url)
    for i in range(9):
        store.write(record(i % 6, ended=f"2026-01-{i + 1:02d}", metrics={"i": i}))
        store.seal(1)
    assert len(segments(store)) < 4
    wanted = {record(i % 6).key: i for i in range(9)}
    assert {k: h.metrics["i"] for k, h in Store.open(url).summaries().items()} == wanted
    assert {k: h.metrics["i"] for k, h in store.summaries().items()} == wanted
    assert all(store.read(k).metrics["i"] == i for k, i in wanted.items())


def test_a_large_fold_is_cut_into_segments(local, record, monkeypatch):
    monkeypatch.setattr(segments_module, "_SEGMENT_BYTES", 10_000)
    for i in range(12):
        local.write(record(i))
    assert local.seal(1) == 12
    assert len(segments(local)) > 2
    assert len(Store.open(local.url).summaries()) == 12


@pytest.mark.parametrize("step", ["write", "remove"])
def test_a_crash_while_sealing_loses_nothing(local, record, monkeypatch, step):
    for i in range(5):
        local.write(record(i))

    def crash(*args):
        if step == "remove":  # half of the loose files are gone
            remove(args[0][:2])
        raise KeyboardInterrupt

    remove = local._files.remove
    monkeypatch.setattr(local._files, step, crash)
    with pytest.raises(KeyboardInterrupt):
        local.seal(1)
    monkeypatch.undo()
    again = Store.open(local.url)
    assert len(again.summaries()) == 5
    assert again.problems == []
    again.seal(1)
    assert len(Store.open(local.url).summaries()) == 5
    assert loose(local) == []


def test_leftovers_in_tmp_are_harmless(local, record):
    local.write(record(1))
    local._files.write("tmp/999-dead", b'{"half": ')
    assert len(Store.open(local.url).summaries()) == 1


def test_hidden_files_of_the_file_system_are_left_alone(local, record):
    local.write(record(1))
    local._files.write("records/.nfs0001", b"x")
    assert len(local.summaries()) == 1
    assert local.problems == []
    assert ".nfs0001" in local._files.names("records")


def test_match_finds_by_a_start_and_names_the_nearest(local, record):
    keys = []
    for i in range(3):
        local.write(record(i))
        keys.append(record(i).key)
    assert local.match(keys[0]) == keys[0]
    assert local.match(keys[0][:12]) == keys[0]
    with pytest.raises(BenchError, match=keys[0]):
        local.match("zz" + keys[0][2:])
    with pytest.raises(BenchError, match="no record of"):
        local.match("")


def test_the_store_is_imported_without_heavy_libraries():
    code = (
        "import sys, bench.store.records, bench.store.provenance, bench.store.committed.writing;"
        "heavy = {'torch', 'numpy', 'pandas', 'ray', 'scipy', 'PIL', 's3fs', 'fsspec'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# ------------------------------------------------------------------------------------------------ any cell

texts = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(texts, json_values, max_size=4))
def test_any_cell_keeps_its_key_through_a_record(hp):
    cell = Cell(
        track="t", track_version=1, task="a", task_version=1, row="r", row_version=1, hp=hp, seed=0, run={}
    )  # fmt: skip
    back = record_of(parse(dump(Record(key=cell.key, kind="cell", cell=cell.declared(), status="ok"))))
    assert digest(back.cell) == cell.key == back.key
    assert back.cell == cell.declared()


def test_a_segment_that_nobody_sealed_here_is_found_before_long(local, record, monkeypatch):
    """As `bench merge` brings it: no record that was read is gone."""
    local.write(record(0))
    assert len(local.fresh()) == 1
    other = Store.open(local.url)
    write_segment(other._files, 7, [dump(record(1))])
    assert len(local.fresh()) == 1
    monkeypatch.setattr(records_module, "_SEGMENTS_S", -1.0)
    assert len(local.fresh()) == 2
