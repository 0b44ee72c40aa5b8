"""Re-stamping stale records: by a reason, which is a mark, or by a sample that ran again, which is not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from bench.contract import BenchError, Metric
from bench.store.code.closure import unpack_listing
from bench.store.code.names import Closure
from bench.store.committed.reading import load_committed
from bench.store.committed.writing import publish
from bench.store.provenance import Dependencies, causes
from bench.store.records import Store
from bench.store.upkeep.accepting import RerunStore, differences, restamp, sample, stamped, write_stamped

CODE = Closure([("load", "a2"), ("Net", "b2")], [])
TODAY = Dependencies(
    code=CODE, ran_with={"run": {"epochs": 3}}, data="new", stages={"pretrain": "s2"}, built_by={}
)
METRICS = (
    Metric(name="metric_0", better="higher"), Metric(name="metric_1", better="higher"),
    Metric(name="metric_2", better="lower", kind="cost"), Metric(name="late", better="higher"),
)  # fmt: skip


def why(head):
    return causes(head, TODAY, lambda name: None)


def test_a_reason_makes_a_record_fresh_and_marks_it(local, record):
    r = record(1)
    local.write(r)
    local.seal(1)
    assert len(why(local.summaries()[r.key])) == 3
    for n, reason in enumerate(("a comment only", "and again"), 1):
        write_stamped(local, [stamped(local.read(r.key), TODAY, reason=reason)], [CODE])
        for store in (local, Store.open(local.url)):
            head = store.summaries()[r.key]
            assert why(head) == []
            assert head.marks[-1] == f"accepted: {reason}"
            assert (head.metrics, head.ended, len(head.marks)) == (r.metrics, r.ended, n)
            assert unpack_listing(store.artifacts.get(head.code)) == CODE.pairs
        local.seal(1)


def test_a_sample_makes_it_fresh_without_a_mark(local, record):
    r = record(1)
    local.write(r)
    on = {"cells": 225, "on": 12, "commit": "abc1234", "at": "2026-01-01T00:00:00+00:00"}
    write_stamped(local, [stamped(r, TODAY, verified=on)], [CODE])
    head = Store.open(local.url).summaries()[r.key]
    assert (why(head), head.marks, head.verified) == ([], (), on)


def test_neither_a_reason_nor_a_sample_is_refused(record):
    with pytest.raises(BenchError, match="a reason is needed"):
        stamped(record(1), TODAY, reason="  ")


def test_published_records_are_stamped_in_their_file(local, record, tmp_path):
    for i in range(4):
        local.write(record(i))
    publish(local, local.summaries(), tmp_path / "laptop")
    before = load_committed(tmp_path / "laptop")
    one, *rest = sorted(before.summaries())
    others = [before.read(k) for k in rest]
    made = stamped(
        before.read(one),
        replace(TODAY, stages={}),
        verified={"cells": 4, "on": 1, "commit": "c", "at": "2026-01-01T00:00:00+00:00"},
    )
    (file,) = restamp(tmp_path / "laptop", [made], [CODE])
    after = load_committed(tmp_path / "laptop")
    assert after.problems == []
    assert after.summaries()[one].code == CODE.name
    assert after.summaries()[one].stages == before.summaries()[one].stages, "it read its own"
    assert unpack_listing(after.artifacts.get(CODE.name)) == CODE.pairs
    assert [after.read(k) for k in rest] == others
    assert after.read(one).metrics == made.metrics
    with pytest.raises(BenchError, match="changed since"):
        [before.read(k) for k in (one, *rest)]
    assert file.name == "embedding_scale.jsonl"


def test_numbers_that_differ_are_named_and_costs_and_new_metrics_are_not(record):
    old = record(1)
    new = replace(old, metrics={**old.metrics, "metric_2": 9.0, "late": 1.0})
    assert differences(old, new, METRICS) == []
    near = replace(old, metrics={**old.metrics, "metric_0": old.metrics["metric_0"] * (1 + 1e-10)})
    assert differences(old, near, METRICS) == []
    published = replace(old, metrics={**old.metrics, "metric_0": 0.429055297})
    exact = replace(old, metrics={**old.metrics, "metric_0": 0.4290552965552965})
    assert differences(published, exact, METRICS) == [], "equal in the nine digits that are published"
    far = replace(old, metrics={**old.metrics, "metric_0": 0.5, "metric_1": None})
    assert [w.partition(" was")[0] for w in differences(old, far, METRICS)] == ["metric_0", "metric_1"]
    gone = replace(old, metrics={k: v for k, v in old.metrics.items() if k != "metric_0"})
    assert differences(old, gone, METRICS)[0].endswith("is None")
    series = {"spectrum": {**old.series["spectrum"], "data": [0.0] * 40}}
    assert differences(old, replace(old, series=series), METRICS) == ["the series spectrum differs"]
    failed = replace(old, status="failed", error={"message": "no column"})
    assert differences(old, failed, METRICS) == ["it ended as failed: no column"]


def test_a_sample_has_cells_of_every_group_and_as_many_tasks_as_it_can():
    cells = [((f"row{r}",), f"task{t}", f"{r}{t}{s}") for r in range(6) for t in range(3) for s in range(2)]
    chosen = sample(cells, 1)
    assert len(chosen) == 6
    assert Counter(k[0] for k in chosen) == dict.fromkeys("012345", 1)
    assert Counter(k[1] for k in chosen) == dict.fromkeys("012", 2)
    assert len(sample(cells, 100)) == len(cells)


def test_cells_that_run_aside_replace_nothing(local, record):
    r = record(1)
    local.write(r)
    aside = RerunStore.open(local.url)
    again = replace(r, metrics={**r.metrics, "metric_0": 7.0}, ended="2027-01-01T00:00:00+00:00")
    aside.write(again)
    assert aside.cells == {r.key: again}
    assert aside.summaries()[r.key].metrics["metric_0"] == 7.0
    assert aside.fresh()[r.key].metrics["metric_0"] == 7.0, "as a sweep looks for it when it has ended"
    assert Store.open(local.url).summaries()[r.key].metrics == r.metrics
    stage = replace(r, kind="stage", key="ab12-0", cell={"stage": "bank", "address": "ab12", "shard": 0})
    aside.write(stage)
    assert "ab12-0" in Store.open(local.url).summaries()
