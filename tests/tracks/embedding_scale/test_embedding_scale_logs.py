"""Click logs as tasks of the track: from a file in the real layout to a score, and the plan without it."""

from __future__ import annotations

import importlib.util
import mmap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bench.board.collect import boards
from bench.board.paper_figures import read_paper_figures
from bench.board.tables.paper_figures import reproductions
from bench.contract import BenchError, Task
from bench.data.tables import ctr_prepare
from bench.plan import make_plan
from bench.registry import Registry
from bench.store.records import Store
from bench.suite import Suite
from bench.tracks.embedding_scale import training
from bench.tracks.embedding_scale.track import TRACK

ROOT = Path(__file__).resolve().parents[3]
TASK = Task(name="criteo-2x", params={"dataset": "criteo", "scale": 2})
RUN = TRACK.Run(base_dim=2, hidden=8, epochs=1, batch=64)


def reference():
    spec = importlib.util.spec_from_file_location(
        "ctr_reference", ROOT / "tests" / "data" / "ctr_reference.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def criteo(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    reference().write(tmp_path / "criteo" / "train.txt", "criteo", 600)
    ctr_prepare.prepare("criteo", partial=True)


@pytest.fixture
def nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


def context():
    return SimpleNamespace(
        seed=0, device="cpu", amp=False, run=RUN, report=lambda **_: None, checkpoint=lambda _: None,
        restore=lambda: None,
    )  # fmt: skip


def test_what_a_method_is_given_and_what_only_the_scorer_sees(criteo):
    data, truth = TRACK.load(TASK, RUN, None), TRACK.truth(TASK, RUN, None)
    assert (len(data.train_x), len(data.val_x), len(data.test_x)) == (480, 60, 60)
    assert (
        data.fields
        == truth.fields
        == tuple([f"I{i}" for i in range(1, 14)] + [f"C{i}" for i in range(1, 27)])
    )
    for x in (data.train_x, data.val_x, data.test_x):
        assert isinstance(x.base.base, mmap.mmap), "mapped, not loaded"
        assert x.dtype == np.int32
        assert (x.max(axis=0) < np.array(data.cardinalities)).all()
    assert data.train_y.dtype == truth.test_y.dtype == np.float32
    assert np.array_equal(data.val_y, truth.val_y)
    assert not np.shares_memory(data.val_y, truth.val_y)
    assert TRACK.missing(TASK, RUN) is None
    assert TRACK.fingerprint(TASK, RUN).endswith("-part")


def test_rows_thin_every_part(criteo):
    thin = TRACK.Run(rows=160)
    data, truth = TRACK.load(TASK, thin, None), TRACK.truth(TASK, thin, None)
    assert (len(data.train_x), len(data.val_x), len(truth.test_y)) == (160, 20, 20)


@pytest.mark.parametrize(("part", "rows"), [("train_y", 480), ("val_y", 60), ("test_y", 60)])
def test_labels_of_one_class_are_the_datas_fault_and_no_methods(criteo, monkeypatch, part, rows):
    from dataclasses import replace

    from bench.tracks.embedding_scale.sources import logs

    ask, name = (TRACK.truth, "truth") if part == "test_y" else (TRACK.load, "ctr_data")
    whole = getattr(logs, name)
    monkeypatch.setattr(logs, name, lambda t, r: replace(whole(t, r), **{part: np.zeros(rows, np.float32)}))
    with pytest.raises(
        BenchError, match=rf"the {rows} rows of \w+ have only the labels \[0\.0\], expected 0 and 1"
    ):
        ask(TASK, RUN, None)


def test_a_network_trains_on_the_maps(criteo, recwarn):
    data, truth = TRACK.load(TASK, RUN, None), TRACK.truth(TASK, RUN, None)
    net = training.network("dnn").Single(data, 4, RUN)
    answer = training.solve(net, net, data, context())
    metrics = TRACK.score(TASK, answer, truth, ()).metrics
    assert np.isfinite(list(metrics.values())).all()
    assert not [w for w in recwarn if "writable" in str(w.message)]


def test_an_int32_split_trains_to_the_same_numbers_as_int64(criteo):
    """What is stored small is not another experiment."""
    import dataclasses

    import torch

    data = TRACK.load(TASK, RUN, None)
    wide = dataclasses.replace(
        data, **{part: getattr(data, part).astype(np.int64) for part in ("train_x", "val_x", "test_x")}
    )
    answers = []
    for given in (data, wide):
        torch.manual_seed(0)
        net = training.network("dnn").Single(given, 4, RUN)
        answers.append(training.solve(net, net, given, context())["test"])
    np.testing.assert_array_equal(*answers)


def test_without_the_file_the_plan_is_blocked_and_says_what_is_missing(nothing):
    suite, registry = Suite.read(ROOT / "bench.yaml"), Registry()
    plan = make_plan(suite, registry, None, "paper", tracks=["embedding_scale"])
    assert {c.state for c in plan.cells} == {"blocked"}
    tasks = [t.name for t in plan.tasks["embedding_scale"]]
    assert tasks == [f"{d}-{s}x" for d in ("criteo", "avazu") for s in (1, 2, 3, 4, 10)]
    for c in plan.cells:
        name, file = ("criteo", "train.txt") if c.task.params["dataset"] == "criteo" else ("avazu", "train")
        assert f"no file {file} in {nothing / name} ($BENCH_DATA/{name})" in c.reason
        assert f"bench data prepare {name}" in c.reason
        assert c.cell.run == {}  # the paper's settings are the defaults
        assert c.needs.gpu == (c.row != "prior")
    with pytest.raises(BenchError, match=r"no file train\.txt"):
        TRACK.load(TASK, RUN, None)


# ---------------------------------------------------------------------------------------- published numbers


def test_published_numbers_are_the_papers_grid():
    found = read_paper_figures(ROOT / "results" / "published" / "embedding_scale.csv")
    models = ("dnn", "ipnn", "nfwfm", "xdeepfm", "dcnv2", "finalmlp")
    grid = {
        (f"{kind}/{model}", f"{dataset}-{scale}x")
        for model in models
        for dataset in ("criteo", "avazu")
        for scale in (1, 2, 3, 4, 10)
        for kind in ("single", "multi")
        if (kind, scale) != ("multi", 1) and (model, dataset, scale) != ("nfwfm", "avazu", 10)
    }
    assert len(grid) == 106
    assert sorted((p.row, p.task) for p in found) == sorted(grid)
    for p in found:
        assert p.metric == "auc"
        assert 0.78 < p.value < 0.82
        assert 0 < p.std < 1e-3
        assert p.digits == 5
        assert "2310.04400v1" in p.source
    at = {(p.row, p.task): (p.value, p.std) for p in found}
    assert at["single/dnn", "criteo-1x"] == (0.81228, 0.00004)
    assert at["multi/dcnv2", "criteo-10x"] == (0.81385, 0.00005)
    assert at["single/xdeepfm", "avazu-10x"] == (0.78693, 0.0005)
    assert at["multi/finalmlp", "avazu-10x"] == (0.7883, 0.00022)


def test_a_board_shows_only_the_published_numbers_of_its_rows(nothing):
    suite, registry = Suite.read(ROOT / "bench.yaml"), Registry()
    store = Store.open("memory://published-logs")
    plan = make_plan(suite, registry, store, "paper", tracks=["embedding_scale"])
    (board,) = boards(plan, store, ROOT / "results" / "published")
    shown = reproductions(board)
    assert {b.verdict for b in shown} == {"not run"}
    assert {b.paper.row for b in shown} <= {r.row for r in board.infos}
    assert {"single/dnn", "multi/dcnv2"} <= {b.paper.row for b in shown}
