"""What is done again makes the next generation of its record; nobody's end hides a result."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.engine.execute import units
from bench.engine.sweep import Sweep
from bench.engine.worker import LOST_RETRIES


@pytest.fixture
def grids(sandbox):
    sandbox.use("grids")
    sandbox.of("grids", grid={"scales": [4]})
    return sandbox


def of(sandbox, row):
    (record,) = [r for r in sandbox.records() if r.cell.get("row") == row]
    return record


def test_a_first_run_makes_generation_0_and_each_one_after_it_the_next(grids, bench):
    grids.run()
    assert {r.generation for r in grids.records()} == {0}
    key = of(grids, "single").key
    for n in (1, 2):
        assert bench(*grids.arguments("rerun", key)).code == 0
        assert of(grids, "single").generation == n
    assert [r.generation for r in grids.store().history(key)] == [0, 1, 2]


def test_a_node_whose_clock_is_ahead_makes_no_record_that_cannot_be_replaced(grids, bench):
    grids.run("single")
    future = replace(of(grids, "single"), ended="2999-01-01T00:00:00+00:00", metrics={"value": 0.1})
    grids.store().write(future)
    assert of(grids, "single").metrics == {"value": 0.1}
    assert bench(*grids.arguments("rerun", future.key)).code == 0
    assert of(grids, "single").metrics != {"value": 0.1}


def test_a_cell_lost_for_good_keeps_its_units_generation_and_hides_no_number(grids, monkeypatch):
    grids.run("single")
    before = of(grids, "single")
    monkeypatch.setenv("GRIDS_FINGERPRINT", "two")
    plan = grids.plan("single")
    todo, _ = units(plan, plan.to_run(stale=True), grids.registry(), failed=False)
    todo = [u for u in todo if u.key == before.key]  # of several the one that took longest would come first
    assert [u.generation for u in todo] == [1]
    sweep = Sweep(grids.store(), todo)
    for _ in range(LOST_RETRIES + 1):
        unit = sweep.next()
        assert unit.generation == 1
        sweep.lost(unit.key, "the node is gone")
    history = grids.store().history(before.key)
    assert [(r.status, r.generation) for r in history] == [("ok", 0), ("lost", 1)]
    assert of(grids, "single") == before
    assert grids.states()["single"] == "stale"


def test_a_cell_skipped_because_a_stage_failed_names_it_and_hides_no_number(grids):
    grids.run("single")
    before = of(grids, "single")
    plan = grids.plan("single")
    (planned,) = [c for c in plan.cells if c.row == "single"]
    (unit,) = units(plan, [planned], grids.registry(), failed=False)[0]
    sweep = Sweep(grids.store(), [replace(unit, reads=("ab12",))], stage_status={"ab12": "failed"})
    assert sweep.next() is None
    history = grids.store().history(before.key)
    assert [(r.status, r.generation) for r in history] == [("ok", 0), ("skipped", 1)]
    assert history[1].error == {"stage": "ab12"}
    assert of(grids, "single") == before


def test_a_methods_own_reason_to_skip_is_a_result(grids):
    grids.run("small")
    record = of(grids, "small")
    assert (record.status, record.reason, record.error) == ("skipped", "too large", {})
    assert grids.store().summaries()[record.key].result
