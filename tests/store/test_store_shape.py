"""What is not a record, in whatever way: it is set aside and told, and no command ends with a traceback."""

from __future__ import annotations

import copy
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from conftest import make_cell, make_record
from hypothesis import given
from hypothesis import strategies as st

from bench.contract import BenchError, Record, digest
from bench.store.committed.reading import load_committed
from bench.store.encoding import dump
from bench.store.records import Store
from bench.store.segments import write_segment


def rich(cell: Any = None) -> Record:
    """A record with something in every field."""
    return make_record(
        1, cell=cell or make_cell(1), metrics={"value": 0.5, "loss": None, "size": {"bound": 3.0}},
        series={"value": {"dims": ["step"], "coords": {"step": [1, 2]}, "data": [0.5, None]},
                "loss": {"dims": ["domain"], "coords": {"domain": ["a", "b"]}, "data": [0.5, 0.6]},
                "map": {"dims": ["y", "x"], "coords": {}, "data": [[1, 2, 3], [4.5, None, 6]]}},
        units={"value": f"sha256-{'ab' * 16}.npz"}, views={"samples": f"sha256-{'cd' * 16}.webp"},
        curve=[{"step": 1.0, "loss": 0.5}, {"step": 2.0, "loss": None}],
        history=[
            {"step": i, "seconds": 0.1, "metrics": {"value": 0.5, "loss": {"bound": None}}} for i in (1, 2)
        ],
        cost={"load_s": 0.5, "run_s": 1, "score_s": 0.1, "peak_mem_mb": 90.5, "shared_s": {"bank": 2.5}},
        limits={"cpu": 1, "gpu": 0, "gpu_mem_gb": None, "mem_gb": 4, "minutes": 10},
        error={"type": "ValueError", "message": "no", "last_lines": ["x"]},
        marks=["fallback: batch=2"], attempts=2, generation=1, reason="why",
        provenance={"sources": {"m": "ab"}, "data": "one", "stages": {"bank": "cd"},
                    "packages": {"torch": "2"}, "commit": "c" * 40, "dirty": False,
                    "accepted": {"at": "2026-01-01", "reason": "why"}},
    )  # fmt: skip


def plain(record: Record) -> dict[str, Any]:
    return orjson.loads(dump(record))


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value can be changed, at any depth."""
    if at:
        yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inside in inner:
        yield from places(inside, (*at, name))


def changed(raw: dict[str, Any], at: tuple[Any, ...], change: Callable[[Any, Any], None]) -> dict[str, Any]:
    made = copy.deepcopy(raw)
    inner = made
    for part in at[:-1]:
        inner = inner[part]
    change(inner, at[-1])
    return made


def put(value: Any) -> Callable[[Any, Any], None]:
    return lambda inner, name: inner.__setitem__(name, value)


# ---------------------------------------------------------------------- what has a bad shape

WRONG = {
    "metrics": [3, {"value": "0.5"}, {"value": True}, {"value": [1]}, {"value": {"bound": None}}],
    "series": [3, {"a": 1}, {"a": {"dims": ["x"], "coords": {}}},
               {"a": {"dims": "x", "coords": {}, "data": []}},
               {"a": {"dims": ["x"], "coords": {}, "data": 3}},
               {"a": {"dims": ["x"], "coords": {}, "data": ["1"]}},
               {"a": {"dims": ["x"], "coords": {"x": [1, 2]}, "data": [1]}},
               {"a": {"dims": ["x"], "coords": {"x": ["1", 2]}, "data": [1, 2]}},
               {"a": {"dims": ["x", "y"], "coords": {}, "data": [[1], [1, 2]]}}],
    "units": [{"auc": 5}, {"auc": "../x"}, ["x"]],
    "views": [{"samples": "x.webp"}],
    "curve": [3, [3], [{"loss": "x"}], [{"loss": [1]}]],
    "history": [[3], [{"step": 1}], [{"step": "1", "seconds": 1, "metrics": {}}],
                [{"step": 1, "seconds": 1, "metrics": {"value": "x"}}]],
    "cost": [{"run_s": "fast"}, {"run_s": None}, {"run_s": {"a": 1}}, {"shared_s": 3},
             {"shared_s": {"bank": "x"}}],
    "limits": [{"minutes": "10"}, {"minutes": None}, [1]],
    "where": [{"label": 3}, {"host": ["x"]}, "here"],
    "provenance": [{"sources": 3}, {"sources": {"m": 1}}, {"stages": []}, {"data": 1}, {"commit": None},
                   {"accepted": "yes"}, {"accepted": {"at": "today"}}],
    "error": [{"message": 3}, {"last_lines": "x"}, {"last_lines": [3]}, "x"],
    "log": [[3], "x"], "marks": [[1], "x"], "attempts": ["2", 1.5, True, -1], "generation": ["1", -1, None],
    "started": ["yesterday", 3], "ended": ["yesterday", 20260101, "2026-13-01"],
    "reason": [3], "status": ["fine", None], "kind": ["thing"], "schema": ["1", None, 1.0], "surprise": [1],
    "key": ["../x", 3, "0" * 16], "cell": [{}, {"track": "x"}, 3],
}  # fmt: skip


@pytest.mark.parametrize("how", ["loose", "sealed", "published"])
def test_every_field_of_another_shape_is_set_aside_named_and_counted(tmp_path, how):
    good = plain(rich())
    bad = [orjson.dumps({**good, name: value}) for name, values in WRONG.items() for value in values]
    other = dump(make_record(2))
    if how == "published":
        (tmp_path / "t.jsonl").write_bytes(b"\n".join([*bad, other]) + b"\n")
        seen = load_committed(tmp_path)
        assert len(seen.problems) == len(bad)
        assert all(f"t.jsonl:{i} is left out: " in p for i, p in enumerate(seen.problems, 1))
        assert set(seen.summaries()) == {make_record(2).key}
        return
    for line in bad:
        store = Store.open(f"memory://{uuid.uuid4().hex}")
        if how == "loose":
            store._files.write(f"records/{good['key']}.json", line)
            store.write(make_record(2))
        else:
            write_segment(store._files, 1, [line, other])
        assert [k for k in store.summaries() if store.read(k)] == [make_record(2).key], line
        assert set(store.summaries()) == {make_record(2).key}
        assert store.read(make_record(2).key) is not None
        (said,) = store.problems
        assert "moved to aside/" in said
        assert (
            how == "loose" or "1 damaged lines, 1 sound records (the first damaged line is line 1: " in said
        )
        assert Store.open(store.url).problems == []


def test_a_sealed_record_that_is_found_unsound_when_read_gives_way_to_the_one_before_it(local, monkeypatch):
    """Its head is sound; that its series is not is seen when it is read whole. If it cannot be moved, it is
    left and told."""
    older, newer = make_record(1), plain(make_record(1, generation=1))
    line = orjson.dumps({**newer, "series": {"a": 1}})
    write_segment(local._files, 1, [dump(older), line])
    read_only = Store.open(local.url)

    def denied(path, to):
        raise PermissionError(13, "denied")

    monkeypatch.setattr(read_only._files, "move", denied)
    for store in (read_only, Store.open(local.url), local):
        assert plain(store.read(older.key)) == plain(older)
        assert plain(store.read(older.key)) == plain(older)
        assert store.summaries()[older.key].generation == 0
        assert [r.generation for r in store.history(older.key)] == [0]
    assert len(read_only.problems) == 1
    assert "cannot be moved" in read_only.problems[0]


@pytest.mark.parametrize("depth", [300, 900, 2000])
@pytest.mark.parametrize("sealed", [False, True])
def test_what_is_nested_too_deeply_is_set_aside(sealed, depth):
    """JSON has no depth that all who read it can go to."""
    for *at, last in (["cell", "hp", "x"], ["where", "x"], ["series", "map", "coords", "x"], ["reason"]):
        raw = changed(plain(rich()), (*at, last), put("deep"))
        raw["key"] = digest(raw["cell"])
        text = orjson.dumps(raw).replace(b'"deep"', b"[" * depth + b"]" * depth)
        store = Store.open(f"memory://{uuid.uuid4().hex}")
        if sealed:
            write_segment(store._files, 1, [text])
        else:
            store._files.write(f"records/{raw['key']}.json", text)
            assert store.seal(1) == 0
        assert [k for k in store.summaries() if store.read(k)] == []
        assert "aside/" in store.problems[0]


# ---------------------------------------------------------------------- any change, every command's path


@pytest.fixture
def commands(sandbox, monkeypatch):
    """What plan, status, board, report and show do with a store, as a function of it; and the cells planned.
    Pictures are made up to the last step: that matplotlib writes what was drawn is not asked here, and slow.
    """
    from matplotlib.figure import Figure
    from rich.console import Console

    def written(figure: Any, out: Any, **how: Any) -> None:
        out.write("<svg></svg>")

    monkeypatch.setattr(Figure, "savefig", written)

    from bench.board.collect import boards
    from bench.board.page.render import render
    from bench.board.text import csvout, markdown, terminal
    from bench.cli.records import show
    from bench.cli.sweep import status
    from bench.live.overview import MARKS, overview
    from bench.plan import estimate, make_plan
    from bench.suite import Suite

    sandbox.use("grids")
    sandbox.of("grids", grid={"scales": [1, 4]})
    suite, registry = Suite.read(sandbox.suite), sandbox.registry()
    quiet = Console(quiet=True, width=120)

    def look(store: Any) -> None:
        plan = make_plan(suite, registry, store, "laptop")
        estimate(plan.cells)
        for matrix in overview(plan, store, []).matrices:
            for table in status._tables(matrix, plan.profile, MARKS):
                quiet.print(table)
        (board,) = boards(plan, store, sandbox.folder)
        for text in (terminal.render(board, width=100), markdown.render(board), csvout.render(board)):
            assert text
        assert render([board])
        for key in store.summaries():
            record = store.read(key)
            for table in show.tables(record) if record is not None else ():
                quiet.print(table)

    cells = {
        c.row: c.cell for c in make_plan(suite, registry, None, "laptop").cells if c.task.params["scale"] > 1
    }
    return look, cells


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts | st.just("step"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_any_changed_record_reads_well_everywhere_or_is_set_aside(commands, tmp_path, data):
    look, cells = commands
    good = plain(rich(cells["single"]))
    at = data.draw(st.sampled_from(sorted(places(good), key=str)))
    how = data.draw(st.sampled_from(["put", "remove", "add"]))
    value = data.draw(values)
    if how == "put":
        raw = changed(good, at, put(value))
    elif how == "remove":
        raw = changed(good, at, lambda inner, name: inner.pop(name))
    else:
        name = data.draw(texts)
        raw = changed(good, at, lambda inner, _: inner.update({name: value}) if type(inner) is dict else None)
    if isinstance(raw.get("cell"), dict) and data.draw(st.booleans()):
        raw["key"] = digest(raw["cell"])
    line, other = orjson.dumps(raw), dump(rich(cells["multi/dnn"]))
    where = data.draw(st.sampled_from(["loose", "sealed", "published"]))
    key = raw["key"] if isinstance(raw.get("key"), str) and raw["key"].isalnum() else good["key"]
    if where == "published":
        (tmp_path / "grids.jsonl").write_bytes(line + b"\n" + other + b"\n")
        store: Any = load_committed(tmp_path / "grids.jsonl")
    else:
        store = Store.open(f"memory://{uuid.uuid4().hex}")
        if where == "loose" and key.isascii():
            store._files.write(f"records/{key}.json", line)
            write_segment(store._files, 1, [other])
        else:
            write_segment(store._files, 1, [line, other])
    look(store)
    assert cells["multi/dnn"].key in store.summaries()
    if where != "published":
        store.seal(1)
        assert all(store.history(k) for k in store.summaries())
    reads = not store.summaries().keys().isdisjoint({good["key"], str(raw.get("key"))})
    assert reads or len(store.problems) == 1


# ---------------------------------------------------------------------- what is not a file


def folder(path: Path) -> None:
    (path / "inside").mkdir(parents=True)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def dangling(path: Path) -> None:
    path.symlink_to("nothing")


def itself(path: Path) -> None:
    path.symlink_to(path)


def linked_folder(path: Path) -> None:
    path.symlink_to(path.parent)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


NO_FILES = [folder, pipe, dangling, itself, linked_folder, device]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", NO_FILES, ids=lambda f: f.__name__)
def test_what_is_not_a_file_is_set_aside_and_said_once(local, make):
    local.write(make_record(1))
    local.seal(1)
    local.write(make_record(2))
    root = Path(local.url)
    names = [
        f"records/{make_record(3).key}.json",
        "records/x",
        "segments/000009-0123456789abcdef.jsonl",
        "segments/x",
    ]
    for name in names:
        make(root / name)
    wanted = {make_record(1).key, make_record(2).key}
    for store in (local, Store.open(local.url)):
        assert set(store.summaries()) == wanted
        assert all(store.read(k) is not None and store.history(k) for k in wanted)
        store.seal(1)
        assert set(store.summaries()) == wanted
    assert len(local.problems) == 4
    for name in names:
        assert any(p.startswith(f"{name} is not a record") and "moved to aside/" in p for p in local.problems)
    assert len(list((root / "aside").iterdir())) == 4


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", NO_FILES, ids=lambda f: f.__name__)
def test_sealing_first_or_a_store_that_cannot_be_moved_leaves_what_is_not_a_file(local, make, monkeypatch):
    local.write(make_record(1))
    make(Path(local.url) / f"records/{make_record(3).key}.json")

    def denied(path, to):
        raise PermissionError(13, "denied")

    monkeypatch.setattr(local._files, "move", denied)
    assert local.seal(1) == 1
    for _ in range(2):
        assert set(local.summaries()) == {make_record(1).key}
        assert len(local.problems) == 1
        assert "cannot be moved" in local.problems[0]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", NO_FILES, ids=lambda f: f.__name__)
def test_a_header_or_published_file_that_is_not_a_file_is_one_message(tmp_path, make):
    make_in = tmp_path / "store"
    make_in.mkdir()
    make(make_in / "store.json")
    if make is not dangling:
        with pytest.raises(BenchError, match=r"store\.json|cannot read store"):
            Store.open(make_in)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.jsonl").write_bytes(dump(make_record(1)) + b"\n")
    make(tmp_path / "results" / "b.jsonl")
    seen = load_committed(tmp_path / "results")
    assert set(seen.summaries()) == {make_record(1).key}
    (said,) = seen.problems
    assert "b.jsonl is left out" in said


def test_a_published_file_that_changes_meanwhile_is_one_message(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(dump(make_record(1)) + b"\n")
    seen = load_committed(tmp_path)
    for content in (b"", b"x" * 5000, dump(make_record(2)) + b"\n"):
        file.write_bytes(content)
        with pytest.raises(BenchError, match=r"a\.jsonl has changed"):
            seen.read(make_record(1).key)
    file.unlink()
    with pytest.raises(BenchError, match=r"a\.jsonl has changed"):
        seen.read(make_record(1).key)


@pytest.mark.parametrize("name", [b"\xff.json", b"a\\b.json", b"new\nline.json", b"x" * 200])
def test_a_file_of_any_name_can_be_told(local, name):
    local.write(make_record(1))
    with open(os.path.join(os.fsencode(local.url), b"records", name), "wb") as file:
        file.write(b"{}")
    assert set(local.summaries()) == {make_record(1).key}
    (said,) = local.problems
    assert said.encode()
    local.seal(1)
    assert set(local.summaries()) == {make_record(1).key}
    assert len(local.problems) == 1
