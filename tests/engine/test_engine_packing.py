"""Which cells share a GPU, decided from what is measured; without a GPU."""

import os
import platform
import threading
from dataclasses import astuple, replace
from types import SimpleNamespace

import pytest
from polling import wait_for

from bench.contract import BenchError, Needs, Record, Task
from bench.engine import worker
from bench.engine.cluster import gpus as gpus_module
from bench.engine.cluster.gpus import LOOKS, Gpus, Neighbours, ask_nvidia
from bench.engine.cluster.node import Ended, NodeGoneError, Parent
from bench.engine.cluster.packing import MOST, Measured, Packing, with_gpu
from bench.engine.execute import units
from bench.engine.forkserver import DEVICE_MEMORY, Outcome
from bench.engine.job import Job, Unit
from bench.engine.sweep import kind_of
from bench.engine.worker import CrowdedError, NoRoomError, run_unit
from bench.registry import Origin

LITTLE = Measured(seconds=100.0, peak_gb=10.0, busy=0.2, shared=1.0)


def cell(seed=0, row="r", kind="cell", **needs):
    origin = Origin(module="none")
    job = Job(
        key=f"{row}{seed}", kind=kind, cell={"track": "t", "task": "t", "row": row, "seed": seed},
        task=Task(name="t"), track=origin, method=origin, method_id="m", ranks_by="value",
        needs=Needs(**{"gpu": 1, **needs}),
    )  # fmt: skip
    return Unit(job=job, label=f"{row} seed {seed}")


@pytest.fixture
def packing():
    return Packing(kind_of, lambda accelerator: 80.0)


def share(packing, unit):
    placed = packing.placed(unit)
    assert placed.packed == (placed.needs.gpu != unit.needs.gpu)
    assert replace(placed, packed=unit.packed, job=unit.job) == unit, "nothing else changes"
    return placed.needs.gpu


# -------------------------------------------------------------------------------------------------- decisions


@pytest.mark.parametrize(
    ("measured", "n"),
    [
        ({"peak_gb": 10.0}, 6),  # 90 % of 80 GB, 12 GB each
        ({"peak_gb": 29.0}, 2),
        ({"peak_gb": 31.0}, 1),
        ({"peak_gb": 0.1}, MOST),
        ({"peak_gb": 0.0}, 1),
        ({"busy": 0.49}, 6),
        ({"busy": 0.5}, 1),
        ({"busy": None}, 1),
    ],
)
def test_the_first_cell_runs_alone_and_the_next_ask_for_what_it_took(packing, measured, n):
    first, second = cell(0), cell(1)
    assert share(packing, first) == 1
    assert packing.ended(first, replace(LITTLE, **measured)) is (n > 1)
    assert share(packing, second) == pytest.approx(1 / n, abs=1e-4)
    assert share(packing, second) * n <= 1, "so many have a place"
    assert len(packing.notes) == (n > 1)


def test_only_cells_of_the_kind_that_was_measured_share(packing):
    packing.ended(cell(0), LITTLE)
    assert share(packing, cell(1)) < 1
    assert share(packing, cell(0, row="another")) == 1


@pytest.mark.parametrize("of", [{"gpu": 0.5}, {"gpu": 2}, {"gpu": 0}, {"kind": "stage"}])
def test_who_declares_otherwise_has_decided(packing, of):
    assert packing.ended(cell(0, **of), LITTLE) is False
    assert share(packing, cell(1, **of)) == of.get("gpu", 1)


def test_the_memory_that_counts_is_that_of_the_type_a_cell_asks_for():
    packing = Packing(kind_of, {"": 16.0, "H100": 80.0}.__getitem__)
    for row, of in (("any", {}), ("typed", {"accelerator": "H100"})):
        packing.ended(cell(0, row, **of), LITTLE)
    assert share(packing, cell(1, "any")) == 1
    assert share(packing, cell(1, "typed", accelerator="H100")) == pytest.approx(1 / 6, abs=1e-4)


def test_without_knowing_the_gpus_memory_nothing_is_packed():
    packing = Packing(kind_of, lambda accelerator: 0.0)
    assert packing.ended(cell(0), LITTLE) is False
    assert share(packing, cell(1)) == 1


@pytest.mark.parametrize(("seconds", "kept"), [(500.0, True), (700.0, False)])
def test_they_share_only_while_more_end_in_an_hour(packing, seconds, kept):
    """Six at a time: they may take less than six times as long."""
    packing.ended(cell(0), LITTLE)
    beside = Measured(seconds=seconds, peak_gb=0.0, busy=0.9, shared=6.0)
    for seed in range(1, 6):
        assert packing.ended(packing.placed(cell(seed)), beside) is False, "too few to tell"
    assert packing.ended(packing.placed(cell(6)), beside) is not kept
    assert (share(packing, cell(7)) < 1) is kept
    if not kept:
        assert packing.ended(cell(8), LITTLE) is False, "and not tried again"
        assert share(packing, cell(9)) == 1
        assert packing.notes[-1] == (
            "cells such as r seed 6: each has a GPU of its own again: 30.9 end in an hour on a GPU that they "
            "share, 36.0 where each has one"
        )


def test_what_ends_badly_beside_others_runs_again_alone(packing):
    packing.ended(cell(0), LITTLE)
    packed = packing.placed(cell(1))
    packing.crowded(packed, "oom")
    again = packing.placed(packed)
    assert (again.needs.gpu, again.packed) == (1, False)
    assert again == cell(1)
    assert share(packing, cell(2)) == 1, "it was said to need less than it does"
    assert "one of them ended as oom beside others" in packing.notes[-1]


def test_what_a_record_says():
    cost = {"load_s": 1.0, "run_s": 2.0, "score_s": 3.0, "gpu_peak_mb": 2048.0, "gpu_busy": 0.25}
    record = Record(key="k", kind="cell", cell={}, status="ok", cost=cost)
    assert Measured.of(record) == Measured(6.0, 2.0, 0.25, 1.0)
    assert Measured.of(replace(record, cost={"gpu_shared": 2.5})) == Measured(0.0, 0.0, None, 2.5)


# ----------------------------------------------------------------------------------------------- measurements


@pytest.fixture
def nobody(tmp_path):
    """No other process runs cells on the GPUs of this machine."""
    return Neighbours(tmp_path / "gpus", dict)


def test_cells_that_share_a_gpu_are_counted(monkeypatch, nobody):
    now = SimpleNamespace(s=0.0)
    monkeypatch.setattr(gpus_module, "time", SimpleNamespace(monotonic=lambda: now.s, sleep=lambda s: None))
    gpus = Gpus(dict, nobody)
    with gpus.used("0") as one, gpus.used("1,2") as other, gpus.used(None) as none:
        now.s = 10.0
        with gpus.used("0"):
            now.s = 15.0
            with gpus.used("0") as third:
                now.s = 20.0
    with gpus.used("0") as later:
        pass
    assert [u.shared for u in (one, other, none, third, later)] == [3, 1, 1, 3, 1]
    assert (one.mean_shared, third.mean_shared) == ((10 + 2 * 5 + 3 * 5) / 20, 3.0)


def test_how_busy_gpus_are_is_watched_while_cells_run(monkeypatch, nobody):
    monkeypatch.setattr(gpus_module, "EVERY_S", 0.001)
    gpus = Gpus(lambda: {"0": 0.2, "1": 0.6}, nobody)
    with gpus.used("0,1") as both, gpus.used("7") as unknown, gpus.used(None):
        assert both.busy is None or both.busy == pytest.approx(0.4)
        wait_for(lambda: len(both.looks) >= LOOKS, "it was looked at often enough")
    assert both.busy == pytest.approx(0.4)
    assert unknown.busy is None
    wait_for(lambda: not gpus._watching, "nobody looks when nothing runs")
    with gpus.used("0") as again:
        wait_for(lambda: len(again.looks) >= LOOKS, "it is looked at again")


def test_what_nvidia_smi_says(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask_nvidia() == {}
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho '0, GPU-aaa, 35'\necho '1, GPU-bbb, [N/A]'\n")
    fake.chmod(0o755)
    assert ask_nvidia() == {"0": 0.35, "GPU-aaa": 0.35}
    fake.write_text("#!/bin/sh\nexit 9\n")
    assert ask_nvidia() == {}


# ------------------------------------------------------------------------------------------------ the worker


class Server:
    """A fork server whose cells end as it is told."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)

    def run(self, job, *, cancel=None):
        return self.outcomes.pop(0)


@pytest.fixture
def one(sandbox):
    """A unit of the faults stub that has a part of a GPU, and the store."""
    sandbox.use("faults").of("faults")
    plan = sandbox.plan("fine")
    (unit,), _ = units(plan, plan.cells, sandbox.registry(), failed=False)
    return with_gpu(unit, 0.5, True), sandbox.store()


OOM = Outcome("oom", DEVICE_MEMORY)
FINE = Outcome("ok", result={"metrics": {"value": 1.0}, "cost": {"run_s": 1.0, "gpu_peak_mb": 2048.0}})


@pytest.mark.parametrize(
    ("outcome", "shared", "crowded"),
    [
        (OOM, 2, True),
        (Outcome("timeout", "run took more than 1 minutes"), 2, True),
        (OOM, 1, False),
        (Outcome("oom", "5.0 GB of host memory, over its limit of 4 GB"), 2, False),
        (Outcome("failed", "ValueError"), 2, False),
    ],
)
def test_only_what_others_may_have_caused_is_left_without_a_record(one, outcome, shared, crowded):
    unit, store = one
    with worker.GPUS.used("0" if shared > 1 else "1"):
        if crowded:
            with pytest.raises(CrowdedError, match=str(outcome.status)):
                run_unit(unit, Server(outcome), store, visible="0")
            assert store.summaries() == {}
        else:
            assert run_unit(unit, Server(outcome, outcome), store, visible="0").status == outcome.status


def test_records_say_how_many_shared_and_what_one_took_alone(one):
    unit, store = one
    alone = run_unit(unit, Server(FINE), store, visible="0")
    assert (alone.cost["gpu_peak_mb"], alone.marks) == (2048.0, [])
    with worker.GPUS.used("0"):
        beside = run_unit(unit, Server(FINE), store, visible="0")
    assert beside.marks == ["shared: 2"]
    assert beside.cost["gpu_shared"] == 2.0
    assert "gpu_peak_mb" not in beside.cost, "what the others took is in it"


# ------------------------------------------------------------------------------------------------- the driver


@pytest.mark.ray
def test_a_feed_packs_what_waits_and_takes_it_back():
    from bench.engine.cluster.feed import Feed
    from bench.engine.cluster.placement import Placement
    from bench.engine.sweep import Sweep

    gb = 2**30
    store = SimpleNamespace(holds=lambda key, ended, file: True)
    sweep = Sweep(store, [cell(seed, mem_gb=1) for seed in range(4)])
    sweep.leases = SimpleNamespace(
        claim=lambda unit: True, refused=lambda key: False, built=lambda unit: {}, release=lambda key: None
    )
    sweep.machines = [Needs(cpu=8, gpu=1, mem_gb=64)]
    feed = Feed(Placement(sweep, 8, {"a": {"CPU": 8.0, "GPU": 1.0, "memory": 64.0 * gb}}), threading.Lock())
    feed.packing = Packing(kind_of, lambda accelerator: 30.0)
    said = dict.fromkeys(("reason", "ended", "file", "stop", "lost", "no_room", "crowded"), "")

    def begun(trial):
        feed.placement.look()
        feed.suggest(trial)
        return feed.begin(next(iter(feed.placement.pending)))

    key, *_, gpu, packed = begun("a")
    assert (gpu, packed) == (1, False)
    feed.trials = {"a": key}
    feed.on_trial_complete("a", {**said, "key": key, "status": "ok", "measured": astuple(LITTLE)})
    assert [(u.needs.gpu, u.packed) for u in sweep.waiting] == [(0.5, True)] * 3
    assert "2 share one (--no-pack)" in sweep.notes[-1]
    key, *_, gpu, packed = begun("b")
    assert (gpu, packed) == (0.5, True)
    feed.trials = {"b": key}
    feed.on_trial_complete("b", {**said, "key": key, "status": "", "crowded": "oom", "measured": ()})
    assert [(u.key, u.needs.gpu, u.packed) for u in sweep.waiting] == [
        (key, 1, False), *((k, 1, False) for k in ("r2", "r3"))
    ]  # fmt: skip
    assert not sweep.ended or [e.status for e in sweep.ended] == ["ok"]


@pytest.mark.ray
@pytest.mark.parametrize(
    ("how", "said"),
    [
        (
            Ended("ok", "", "now", LITTLE, "f"),
            {"status": "ok", "ended": "now", "file": "f", "measured": astuple(LITTLE)},
        ),
        (Ended(), {"status": "", "measured": ()}),
        (NoRoomError("full"), {"no_room": "full"}),
        (CrowdedError("oom"), {"crowded": "oom"}),
        (NodeGoneError("gone"), {"lost": "gone"}),
        (BenchError("other code"), {"stop": "other code"}),
        (ValueError("x"), {"stop": "fault in the engine: ValueError: x"}),
    ],
)
def test_an_actor_runs_what_it_was_given_and_reports(how, said):
    from bench.engine.cluster.actor import CellActor, Deadline

    given = []

    def run(unit, visible):
        given.append(unit)
        if isinstance(how, Exception):
            raise how
        return how

    actor = object.__new__(CellActor)
    actor.at, actor.units, actor.node = "a", {"r0": cell(0)}, SimpleNamespace(run=run)
    actor.raylet = Parent.of(os.getpid())
    assert actor.take("r0", 2, {}, Deadline(None), None, 0.25, True) == f"{platform.node()} (a)"
    report = actor.step()
    assert [(u.key, u.attempt, u.needs.gpu, u.packed) for u in given] == [("r0", 2, 0.25, True)]
    plain = dict.fromkeys(("status", "reason", "ended", "file", "stop", "lost", "no_room", "crowded"), "")
    wanted = {**plain, "measured": (), "key": "r0", "node_id": "a", "done": True, **said}
    assert {k: v for k, v in report.items() if k != "node"} == wanted


@pytest.mark.ray
def test_an_actor_that_outlives_its_node_takes_no_cell(monkeypatch):
    from bench.engine.cluster import actor as module

    monkeypatch.setattr(module, "UNKNOWN_S", 0.0)
    actor = object.__new__(module.CellActor)
    actor.at, actor.units, actor.node = "a", {"r0": cell(0)}, None
    actor.raylet = Parent(os.getpid(), 0)  # another process has the raylet's number by now
    actor.take("r0", 1, {}, module.Deadline(None), None, 1.0, False)
    report = actor.step()
    assert (report["key"], report["lost"], report["status"]) == ("", "", "")
