from __future__ import annotations

import dataclasses
import json
import platform
from pathlib import Path

import numpy as np
import pytest

from bench.contract import BenchError, Units
from bench.store.committed.layers import Layered
from bench.store.committed.reading import load_committed
from bench.store.committed.writing import Limits, publish
from bench.store.records import Store


def lines(path: Path) -> list[dict]:
    return [json.loads(x) for x in path.read_text().splitlines()]


@pytest.fixture
def filled(local, record):
    for i in (7, 3, 40, 1, 0):
        local.write(record(i))
    return local


def test_published_records_are_sorted_and_read_back(filled, tmp_path):
    out = tmp_path / "results" / "laptop"
    report = publish(filled, filled.summaries(), out)
    assert report.files == [out / "embedding_scale.jsonl"]
    assert (report.records, report.left_out) == (5, [])
    assert report.bytes == report.files[0].stat().st_size
    order = [(r["cell"]["task"], r["cell"]["row"], r["cell"]["seed"]) for r in lines(report.files[0])]
    assert order == sorted(order)
    for path in (out, report.files[0]):
        back = load_committed(path)
        assert back.problems == []
        heads = filled.summaries()
        assert set(back.summaries()) == set(heads)
        for key, head in back.summaries().items():
            assert head.cell == heads[key].cell
            assert head.metrics == pytest.approx(heads[key].metrics, rel=1e-8)
            mine, theirs = ((h.hardware, h.code, h.ran_with, h.ended) for h in (head, heads[key]))
            assert mine == theirs
            assert back.read(key).key == key
    assert back.read("0" * 16) is None


def test_equal_records_give_equal_files_whatever_the_order(filled, record, tmp_path):
    publish(filled, filled.summaries(), tmp_path / "a")
    other = Store.open(tmp_path / "other")
    for i in (0, 1, 3, 7, 40):
        r = record(i)
        other.write(dataclasses.replace(r, metrics=dict(reversed(list(r.metrics.items())))))
    other.seal(1)
    publish(other, reversed(list(other.summaries())), tmp_path / "b")
    name = "embedding_scale.jsonl"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_floats_are_short_but_what_makes_the_key_is_exact(local, record, cell, tmp_path):
    third = 1 / 3
    c = cell(1, hp={"lr": third})
    local.write(record(1, cell=c, metrics={"auc": third, "t": {"bound": third}, "n": 10**12, "none": None}))
    publish(local, [c.key], tmp_path)
    (line,) = lines(tmp_path / "embedding_scale.jsonl")
    assert line["metrics"] == {"auc": 0.333333333, "t": {"bound": 0.333333333}, "n": 10**12, "none": None}
    assert line["cell"]["hp"] == {"lr": third}
    assert list(line)[:4] == ["key", "kind", "cell", "status"]
    assert load_committed(tmp_path).read(c.key).cell == c.declared()


def test_no_private_name_is_published(local, record, tmp_path):
    error = {
        "type": "OSError",
        "message": f"on {platform.node()}: /home/alice/data gone",
        "last_lines": ["node7: x"],
    }
    r = record(
        1, status="failed", error=error, reason="node7.corp.example went away",
        log=['File "/home/alice/bench/x.py", node7', "node77 stays"], marks=["lost on node7"],
    )  # fmt: skip
    local.write(r)
    publish(local, [r.key], tmp_path)
    text = (tmp_path / "embedding_scale.jsonl").read_text()
    for private in ("node7.corp", "node7:", "node7 ", 'node7"', "alice", "corp.example"):
        assert private not in text
    if len(platform.node()) > 2 and platform.node() != "localhost":
        assert platform.node() not in text
    (line,) = lines(tmp_path / "embedding_scale.jsonl")
    assert line["where"]["host"] == line["where"]["label"] == "Fast CPU × 2"
    assert line["log"] == ['File "~/bench/x.py", Fast CPU × 2', "node77 stays"]
    assert line["reason"] == "Fast CPU × 2 went away"


@pytest.mark.parametrize(
    ("line", "published"),
    [
        ("/srv/env/lib/site-packages/x/y.py:16: Warning: z", "site-packages/x/y.py:16: Warning: z"),
        ('File "/home/alice/env/lib/python3/dist-packages/x.py"', 'File "dist-packages/x.py"'),
    ],
)
def test_where_packages_are_installed_is_left_out(local, record, tmp_path, line, published):
    r = record(1, log=[line])
    local.write(r)
    publish(local, [r.key], tmp_path)
    assert lines(tmp_path / "embedding_scale.jsonl")[0]["log"] == [published]


def test_large_things_are_cut_and_said(local, record, tmp_path):
    long = {"dims": ["x"], "coords": {}, "data": list(range(50))}
    r = record(
        1, series={"long": long, "short": {**long, "data": [1.5]}}, log=[f"line {i}" for i in range(30)],
        curve=[{"step": i, "loss": 1 / (i + 1)} for i in range(1000)],
    )  # fmt: skip
    local.write(r)
    report = publish(local, [r.key], tmp_path, Limits(log_lines=3, points=5, series_numbers=10))
    (line,) = lines(tmp_path / "embedding_scale.jsonl")
    assert line["log"] == ["line 27", "line 28", "line 29"]
    assert set(line["series"]) == {"short"}
    assert [p["step"] for p in line["curve"]] == [0, 250, 500, 749, 999]
    assert report.left_out == [f"{r.key}: series long (51 numbers)"]


def picture(i: int) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 255, (32, 32, 3), dtype=np.uint8)


def test_units_and_a_capped_set_of_views_lie_beside(local, record, tmp_path):
    wanted = {}
    for seed in (0, 40):  # one row on one task, two seeds
        units = {"auc": local.artifacts.put_units(Units(np.arange(5), np.full(5, seed / 64)))}
        views = {f"v{j}": local.artifacts.put_view(picture(100 * seed + j)) for j in range(3)}
        r = record(seed, units=units, views=views)
        local.write(r)
        wanted[r.cell["seed"]] = r
    report = publish(local, [r.key for r in wanted.values()], tmp_path, Limits(views=2))
    assert report.left_out == ["4 views of embedding_scale"]
    back = load_committed(tmp_path)
    first, second = (back.read(wanted[s].key) for s in (0, 1))
    assert first.views == {k: wanted[0].views[k] for k in ("v0", "v1")}
    assert second.views == {}
    assert back.artifacts.view(first.views["v0"]).shape == (32, 32, 3)
    assert back.artifacts.units(second.units["auc"]).values.tolist() == [0.625] * 5
    files = {p.name for p in (tmp_path / "embedding_scale").iterdir()}
    assert len(files) == 5, "two pictures, the scores of both cells, and the names of their examples once"
    report = publish(local, [wanted[1].key], tmp_path, Limits(views=1, views_mb=0))
    left = {p.name for p in (tmp_path / "embedding_scale").iterdir()}
    assert len(left) == 2
    assert second.units["auc"] in left < files
    assert report.left_out == ["3 views of embedding_scale"]


def test_scores_with_groups_come_back_as_they_were_and_are_published_again_as_they_are(
    local, record, tmp_path
):
    units = Units(np.array(["a", "b", "c"]), np.array([0.25, 0.5, 1.0]), np.array([7, 7, 9]))
    r = record(1, units={"auc": local.artifacts.put_units(units)})
    local.write(r)
    publish(local, [r.key], tmp_path)
    before = {p.name: p.read_bytes() for p in (tmp_path / "embedding_scale").iterdir()}
    both = Layered(Store.open(tmp_path / "empty"), load_committed(tmp_path))
    publish(both, [r.key], tmp_path)
    assert {p.name: p.read_bytes() for p in (tmp_path / "embedding_scale").iterdir()} == before
    found = both.artifacts.units(both.read(r.key).units["auc"])
    assert found.ids.tolist() == ["a", "b", "c"]
    assert found.values.tolist() == [0.25, 0.5, 1.0]
    assert found.groups.tolist() == [7, 7, 9]


def test_a_view_that_many_records_show_counts_once(tmp_path, local, record):
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    name = local.artifacts.put_view(picture)
    keys = []
    for i in range(4):
        made = record(i, views={"auc": name})
        local.write(made)
        keys.append(made.key)
    size = len(local.artifacts.get(name)) / 2**20
    report = publish(local, keys, tmp_path, Limits(views_mb=1.5 * size))
    assert report.left_out == []
    shown = [r.views for k in keys if (r := load_committed(tmp_path).read(k)) is not None]
    assert sum(bool(v) for v in shown) == len(
        {(r["task"], r["row"]) for r in (load_committed(tmp_path).read(k).cell for k in keys)}
    )


def test_an_artifact_that_is_gone_is_said_and_damaged_ones_are_found(local, record, tmp_path):
    name = local.artifacts.put_units(Units(np.arange(2), np.zeros(2)))
    r = record(1, units={"auc": name})
    local.write(r)
    publish(local, [r.key], tmp_path)
    back = load_committed(tmp_path)
    scores = back.read(r.key).units["auc"]
    (names,) = {p.name for p in (tmp_path / "embedding_scale").iterdir()} - {scores}
    for file in (names, scores):
        (tmp_path / "embedding_scale" / file).write_bytes(b"x")
        with pytest.raises(BenchError, match=f"{file} is damaged"):
            back.artifacts.units(scores)
    with pytest.raises(BenchError, match="not an artifact's name"):
        back.artifacts.get("../../x")
    local._files.remove([local.artifacts._path(name)])
    report = publish(local, [r.key], tmp_path)
    assert len(report.left_out) == 1
    assert name in report.left_out[0]
    with pytest.raises(BenchError, match="no artifact"):
        load_committed(tmp_path).artifacts.get(name)


def test_each_track_has_its_file_and_stages_have_none(local, record, cell, tmp_path):
    local.write(record(1))
    local.write(record(2, cell=cell(2, track="ood")))
    local.write(dataclasses.replace(record(3), kind="stage", key="ab12", cell={"stage": "pretrain"}))
    report = publish(local, local.summaries(), tmp_path)
    assert [f.name for f in report.files] == ["embedding_scale.jsonl", "ood.jsonl"]
    assert report.records == 2
    with pytest.raises(BenchError, match="no record"):
        publish(local, ["0" * 16], tmp_path)


def test_a_track_cannot_leave_the_folder(local, record, cell, tmp_path):
    r = record(2, cell=cell(2, track="../../x"))
    local.write(r)
    with pytest.raises(BenchError, match="is not a key"):
        publish(local, [r.key], tmp_path / "a" / "b")
    assert not (tmp_path / "x.jsonl").exists()


def test_a_torn_line_is_said_and_left_out(filled, tmp_path):
    publish(filled, filled.summaries(), tmp_path)
    file = tmp_path / "embedding_scale.jsonl"
    first, *rest = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([b"{torn\n", *rest]))
    back = load_committed(file)
    assert len(back.summaries()) == 4
    assert all(back.read(k).key == k for k in back.summaries())
    assert len(back.problems) == 1
    assert f"{file.name}:1 is left out" in back.problems[0]
    assert first
    (tmp_path / "none").mkdir()
    with pytest.raises(BenchError, match="no published records"):
        load_committed(tmp_path / "none")
