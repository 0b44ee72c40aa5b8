"""What starts next, when it will be over, and stages that are built once however many want them."""

import threading
import time
from dataclasses import replace

import pytest

from bench.engine.execute import execute, units
from bench.engine.forkserver import ForkServer
from bench.engine.leases import run_unit_alone
from bench.engine.sweep import Sweep


def planned(sandbox, **profile):
    sandbox.use("faults").of("faults", **profile)
    plan = sandbox.plan("fine", "raises", "fixed")
    return units(plan, plan.to_run(), sandbox.registry(), failed=False)[0]


def named(unit):
    return (unit.job.cell["task"], unit.job.cell["seed"], unit.job.cell["row"])


def test_blocks_in_order_and_the_longest_of_a_block_first(sandbox):
    todo = [
        replace(u, seconds={"fine": 1.0, "raises": 9.0, "fixed": 4.0}[u.job.cell["row"]])
        for u in planned(sandbox, seeds=2, grid={"sizes": [1, 2]})
    ]
    sweep, order = Sweep(sandbox.store(), todo), []
    while unit := sweep.next():
        order.append(named(unit))
    assert order == [
        ("size-1", 0, "raises"), ("size-1", 0, "fixed"), ("size-1", 0, "fine"),
        ("size-2", 0, "raises"), ("size-2", 0, "fixed"), ("size-2", 0, "fine"),
        ("size-1", 1, "raises"), ("size-1", 1, "fine"), ("size-2", 1, "raises"), ("size-2", 1, "fine"),
    ]  # fmt: skip


def test_what_a_sweep_saw_counts_more_than_past_records(sandbox):
    todo = [replace(u, seconds=5.0) for u in planned(sandbox, seeds=2, grid={"sizes": [1]})]
    sweep = Sweep(sandbox.store(), todo)
    assert sweep.remaining_s(1) == pytest.approx(25.0)
    assert sweep.remaining_s(2) == pytest.approx(12.5)
    first = sweep.next()
    sweep.began(first.key)
    sweep.in_progress[first.key] = (first, time.monotonic() - 20.0)
    assert sweep.remaining_s(1) == pytest.approx(4 * 5.0 + 10.0, abs=0.5)
    sweep.done(first.key, "ok")
    like = [u for u in sweep.waiting if u.job.cell["row"] == first.job.cell["row"]]
    assert sweep.remaining_s(1) == pytest.approx(20.0 * len(like) + 5.0 * (4 - len(like)), abs=0.5)


def test_nothing_is_claimed_of_what_was_never_seen(sandbox):
    sweep = Sweep(sandbox.store(), planned(sandbox, seeds=1, grid={"sizes": [1]}))
    assert sweep.remaining_s(2) is None


@pytest.mark.slow
def test_two_drivers_build_a_stage_once_and_a_built_shard_is_kept(sandbox):
    sandbox.use("sampler").of("sampler", ranks_by="distance", grid={"targets": ["bright"]})
    plan = sandbox.plan()
    todo, _ = units(plan, plan.to_run(), sandbox.registry(), failed=False)
    stages = [u for u in todo if u.job.kind == "stage"]
    assert [u.job.cell["stage"] for u in stages] == ["encoder", "bank", "bank"]
    server = ForkServer(("xarray",))
    server.start()
    got = []

    def drive():
        got.append(run_unit_alone(stages[0], server, sandbox.store()))

    drivers = [threading.Thread(target=drive) for _ in range(3)]
    for d in drivers:
        d.start()
    for d in drivers:
        d.join()
    assert {r.status for r in got} == {"ok"}
    assert len({r.started for r in got}) == 1, "one of them built it, the others took its record"

    run_unit_alone(stages[2], server, sandbox.store())
    again = sandbox.plan()
    left, _ = units(again, again.to_run(), sandbox.registry(), failed=False)
    assert [(u.job.cell["stage"], u.job.shard) for u in left if u.job.kind == "stage"] == [("bank", 0)]
    sweep = execute(again, sandbox.registry(), sandbox.store(), local=True)
    assert {e.status for e in sweep.ended} == {"ok"}
    records = [r for r in sandbox.records() if r.kind == "cell"]
    assert all(
        r.cost["shared_s"].keys() == {"encoder", "bank"} for r in records if "bank" in r.provenance["stages"]
    )


def test_a_cell_that_ended_without_a_record_fails_the_sweep(sandbox):
    from bench.engine.execute import check_records

    sandbox.use("faults").of("faults", grid={"sizes": [1, 2]})
    plan = sandbox.plan("fine")
    todo, _ = units(plan, plan.to_run(), sandbox.registry(), failed=False)
    sweep = Sweep(sandbox.store(), todo)
    for unit in (sweep.next(), sweep.next()):
        sweep.done(unit.key, "ok")
    check_records(sweep)
    assert "2 of 2 cells that ended have no record in" in sweep.error
    sweep.leases.close()
