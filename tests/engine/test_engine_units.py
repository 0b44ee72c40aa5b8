"""What the plan knows of a task is not asked for again: units of work take it from there."""

from collections import Counter
from dataclasses import replace

import pytest

from bench.contract import Needs
from bench.declarations import declared_stages, shard_keys
from bench.engine.execute import units
from bench.plan import make_plan
from bench.suite import Suite


@pytest.fixture
def calls(monkeypatch):
    """Counts the calls of a track's methods from now on."""
    counts = Counter()

    def counted(name, asked):
        def call(self, *args):
            counts[name] += 1
            return asked(self, *args)

        return call

    def count(track, *names):
        for name in names:
            monkeypatch.setattr(type(track), name, counted(name, getattr(type(track), name)))
        return counts

    return count


def planned(sandbox, registry):
    plan = make_plan(Suite.read(sandbox.suite), registry, sandbox.store(), "laptop")
    return plan, units(plan, plan.to_run(), registry, failed=False)[0]


def test_data_are_identified_once_a_task_before_the_first_cell(sandbox, calls, monkeypatch):
    monkeypatch.setenv("GRIDS_FINGERPRINT", "of today")
    sandbox.use("grids").of("grids", seeds=3, grid={"scales": [1, 4]})
    registry = sandbox.registry()
    counts = calls(registry.track("grids"), "fingerprint", "missing", "stages")
    _, todo = planned(sandbox, registry)
    assert len(todo) > 20
    assert counts == {"fingerprint": 2, "missing": 2, "stages": 2}
    assert {u.data for u in todo} == {"of today"}


def test_stages_are_declared_once_a_task_before_the_first_cell(sandbox, calls):
    sandbox.use("sampler").of("sampler", seeds=3, ranks_by="distance", grid={"targets": ["bright", "dark"]})
    registry = sandbox.registry()
    counts = calls(registry.track("sampler"), "fingerprint", "stages")
    plan, todo = planned(sandbox, registry)
    assert counts == {"fingerprint": 2, "stages": 2}
    for c in plan.cells:
        (unit,) = [u for u in todo if u.key == c.key]
        may_read = declared_stages(c.plan.track, c.found.method, c.task, c.plan.run, c.cell.seed)
        assert unit.stages == tuple(k for s in may_read for k in shard_keys(s))


def test_data_that_are_missing_have_no_identity(sandbox, calls):
    sandbox.use("grids").of("grids", grid={"scales": [99]})
    registry = sandbox.registry()
    counts = calls(registry.track("grids"), "fingerprint", "missing")
    plan, todo = planned(sandbox, registry)
    assert todo == []
    assert counts == {"missing": 1}
    assert {c.state for c in plan.cells} == {"blocked"}
    assert {u.data for u in units(plan, plan.cells, registry, failed=False)[0]} == {""}


def test_a_unit_says_everything_once_in_its_job(sandbox):
    sandbox.use("sampler").of("sampler", ranks_by="distance", grid={"targets": ["bright"]})
    plan, todo = planned(sandbox, sandbox.registry())
    cells = {c.key: c for c in plan.cells}
    for unit in todo:
        job = unit.job
        assert (unit.key, unit.needs) == (job.key, job.needs)
        if job.kind == "stage":
            assert (job.hp, job.seed, job.address) == ({}, 0, job.cell["address"])
        else:
            assert (job.hp, job.seed, job.address) == (dict(cells[job.key].cell.hp), job.cell["seed"], "")
        assert (job.device, job.threads) == ("cpu", 1)
        wide = replace(job, needs=Needs(cpu=2.5, gpu=0.5), changed_hp={"batch": 2})
        assert (wide.device, wide.threads, wide.hp) == ("cuda", 2, {**job.hp, "batch": 2})
