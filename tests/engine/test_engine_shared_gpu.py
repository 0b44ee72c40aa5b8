"""Cells of several drivers on one GPU: each says that it was shared, so that its times are compared with
nothing. The GPU is pretended: a stand-in for nvidia-smi names it, and CUDA_VISIBLE_DEVICES gives it away.
"""

import os
import threading
import time
import uuid
from collections import Counter
from dataclasses import astuple
from types import SimpleNamespace

import pytest
from polling import BOUND_S, beside, wait_for

from bench.engine import local, worker
from bench.engine.cluster import gpus as gpus_module
from bench.engine.cluster.gpus import Gpus, Neighbours, uuids
from bench.engine.cluster.node import Ended
from bench.engine.cluster.packing import Packing, with_gpu
from bench.engine.execute import units
from bench.engine.forkserver import Outcome
from bench.engine.sweep import Sweep, kind_of
from bench.engine.worker import run_unit

A, B = "GPU-aaaa-1111", "GPU-bbbb-2222"
NAMES = {"0": A, A: A, "1": B, B: B}


@pytest.fixture
def process(tmp_path, monkeypatch):
    """Makes the GPUs of one process after the other, as they would be in processes of their own. They look
    around only when a cell begins or ends.
    """
    monkeypatch.setattr(Gpus, "_watch", lambda self: None)
    return lambda: Gpus(dict, Neighbours(tmp_path / "gpus", lambda: NAMES))


def files(tmp_path):
    return [f.name for f in (tmp_path / "gpus").iterdir()]


def test_cells_of_other_processes_are_counted(process, tmp_path):
    mine, other = process(), process()
    with mine.used("0") as first, mine.used("1") as apart:
        with other.used("0") as second, other.used("0,1") as wide:
            assert sorted(f.partition(".")[0] for f in files(tmp_path)) == [A, A, A, B, B]
            assert (first.shared, apart.shared, second.shared, wide.shared) == (1, 1, 3, 4)
        with other.used("GPU-bbbb") as last:
            pass
        with mine.used(None) as none:
            pass
    assert (first.shared, apart.shared) == (3, 2), "those that began were told of, though they have ended"
    assert (last.shared, none.shared) == (2, 1)
    with other.used("0") as alone:
        assert alone.shared == 1
    assert files(tmp_path) == []


def test_others_are_counted_while_a_cell_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(gpus_module, "EVERY_S", 0.001)
    mine, other = (Gpus(lambda: {"0": 0.5}, Neighbours(tmp_path / "gpus", lambda: NAMES)) for _ in range(2))
    with mine.used("0") as first:
        assert first.shared == 1
        with other.used("0"):
            wait_for(lambda: first.shared == 2, "it was not looked who else is there")
        wait_for(lambda: first._now == 1, "it was not looked who has left")
    assert first.shared == 2
    assert 1 < first.mean_shared < 2


def test_what_a_killed_process_left_does_not_count(process, tmp_path):
    (tmp_path / "gpus").mkdir()
    (tmp_path / "gpus" / f"{A}.0123-7").touch()
    (tmp_path / "gpus" / f"{B}.0123-8").touch()
    with process().used("0") as use:
        pass
    assert use.shared == 1
    assert files(tmp_path) == [f"{B}.0123-8"], "nobody asked for that one"


def test_a_gpu_that_nobody_can_name_is_shared_with_nobody_that_is_known(tmp_path):
    """Its index may be that of another one in another batch job of this machine."""
    mine, other = (Gpus(dict, Neighbours(tmp_path / "gpus", dict)) for _ in range(2))
    with mine.used("0") as one, other.used("0") as two:
        pass
    assert (one.shared, two.shared) == (1, 1)
    assert not (tmp_path / "gpus").exists()


def test_where_nothing_can_be_written_cells_run_all_the_same(tmp_path):
    (tmp_path / "gpus").write_text("a file is in the way")
    with Gpus(dict, Neighbours(tmp_path / "gpus", lambda: NAMES)).used("0") as use:
        pass
    assert use.shared == 1


def test_a_driver_gives_its_cells_the_gpus_that_it_may_use(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-aaaa")
    assert local.visible_gpus() == ["2", "GPU-aaaa"]
    assert local.machine().gpu == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert local.machine().gpu == 0


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    """One GPU, for this process and those that it starts."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "nvidia-smi").write_text(
        '#!/bin/sh\ncase "$*" in\n'
        f"*memory.total*) echo 24576;;\n*utilization*) echo '3, GPU-{uuid.uuid4()}, 10';;\n"
        f"*) echo '3, {(name := f'GPU-{uuid.uuid4()}')}, NVIDIA T4';;\nesac\n"
    )
    (tools / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert uuids() == {"3": name, name: name}
    return name


def shares(record):
    return [m for m in record.marks if m.startswith("shared")]


@pytest.mark.slow
def test_two_drivers_on_one_gpu_say_so_in_their_records(make_sandbox, tmp_path, pretended):
    """Each has a store of its own, so that they know of each other by the GPU alone."""
    go, log = tmp_path / "go", tmp_path / "log"
    sandboxes = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made = make_sandbox(tmp_path / name).use("slow")
        made.of(
            "slow",
            grid={"cells": 1},
            run={"seconds": 0.0, "log": str(log), "until": str(go)},
            needs={"half": {"gpu": 1}},
        )
        sandboxes.append(made)
    drivers = [s.start("run", "--local", "--cpus", "1", "-m", "half") for s in sandboxes]

    def both_run():
        assert all(d.poll() is None for d in drivers), [d.communicate()[0] for d in drivers if d.poll()]
        return log.exists() and log.read_text().count("start 0") == 2

    wait_for(both_run, "they do not run side by side")
    go.touch()
    for driver in drivers:
        said, _ = driver.communicate(timeout=BOUND_S)
        assert driver.returncode == 0, said
    (one,), (two,) = (s.records() for s in sandboxes)
    assert shares(one) == shares(two) == ["shared: 2"]
    for record in (one, two):
        assert record.where["gpus"] == ["NVIDIA T4"], "the one that its driver may use"
        assert record.limits["gpu"] == 1


# ------------------------------------------------------------------------------- a sweep that packs its cells


class Packed:
    """A sweep of one row on a GPU of 24 GB: each cell takes 8 GB and a fifth of its time, 100 s where it runs
    alone and ``seconds`` beside another. Ray is played by the test, a child by this as a fork server.
    """

    def __init__(self, sandbox, monkeypatch, seconds):
        from bench.engine.cluster.feed import Feed
        from bench.engine.cluster.placement import Placement

        self.now, self.seconds, self.together = 0.0, seconds, None
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=lambda s: time.sleep(0.001))
        monkeypatch.setattr(gpus_module, "time", clock)
        self.gpus = Gpus(lambda: {"0": 0.2}, Neighbours(sandbox.folder / "gpus", dict))
        monkeypatch.setattr(worker, "GPUS", self.gpus)
        sandbox.use("slow").of("slow", seeds=7, grid={"cells": 1}, needs={"half": {"gpu": 1}})
        plan = sandbox.plan("half")
        todo, _ = units(plan, plan.to_run(), sandbox.registry(), failed=False)
        self.units, self.sweep = {u.key: u for u in todo}, Sweep(sandbox.store(), list(todo))
        node = {"CPU": 8.0, "GPU": 1.0, "memory": 64.0 * 2**30}
        self.feed = Feed(Placement(self.sweep, 8, {"a": node}), threading.Lock())
        self.feed.packing = Packing(kind_of, lambda accelerator: 24.0)

    def run(self, job, *, cancel=None):
        """One cell, as its child would end."""
        if self.together is None:
            (use,) = self.gpus._uses
            wait_for(lambda: use.busy is not None, "nobody looked how busy the GPU is")
            took = 100.0
        else:
            took = self.seconds
            self.together.wait()
        cost = {"run_s": took, "gpu_peak_mb": 8192.0}
        return Outcome("ok", result={"metrics": {"value": 1.0}, "cost": cost})

    def begin(self, trial):
        """A trial gets its place: the unit that it runs."""
        self.feed.placement.look()
        assert self.feed.suggest(trial) is not None
        key, *_, gpu, packed = self.feed.begin(trial)
        return trial, with_gpu(self.units[key], gpu, packed)

    def end(self, trial, unit):
        """It runs on the GPU that Ray gave it, and its actor reports."""
        files = []
        record = run_unit(unit, self, self.sweep.store, visible="0", wrote=files.append)
        ended = Ended.of(record, *files)
        said = dict.fromkeys(("reason", "stop", "lost", "no_room", "crowded"), "")
        said |= {
            "key": unit.key,
            "status": ended.status,
            "ended": ended.ended,
            "node": "a",
            "file": ended.file,
        }
        self.feed.on_trial_complete(trial, {**said, "measured": astuple(ended.measured)})

    def pair(self, *trials):
        """Two cells run side by side from their beginning to their end."""

        def end_both():
            self.now += self.seconds

        self.together = threading.Barrier(2, end_both, timeout=BOUND_S)
        (one, first), (two, second) = map(self.begin, trials)
        assert (first.needs.gpu, second.needs.gpu) == (0.5, 0.5)
        with beside(lambda: self.end(one, first)):
            self.end(two, second)
        self.together = None


@pytest.mark.ray
@pytest.mark.parametrize(
    ("seconds", "kept", "rates"),
    [(150.0, True, (36.0, 48.0)), (250.0, False, (36.0, 28.8))],
    ids=["more end in an hour", "fewer do"],
)
def test_cells_that_share_a_gpu_say_so_while_more_end_in_an_hour(sandbox, monkeypatch, seconds, kept, rates):
    sweep = Packed(sandbox, monkeypatch, seconds)
    sweep.end(*sweep.begin("first"))
    sweep.pair("second", "third")
    (known,) = sweep.feed.packing._kinds.values()
    assert (known.rate(known.alone), known.rate(known.beside)) == pytest.approx(rates)
    if kept:
        sweep.pair("fourth", "fifth")
    else:
        trial, unit = sweep.begin("fourth")
        assert (unit.needs.gpu, unit.packed) == (1, False)
        sweep.end(trial, unit)
        assert (
            "28.8 end in an hour on a GPU that they share, 36.0 where each has one" in sweep.sweep.notes[-1]
        )
    sweep.sweep.leases.close()
    records = sandbox.records()
    assert Counter(map(tuple, map(shares, records))) == (
        {(): 1, ("shared: 2",): 4} if kept else {(): 2, ("shared: 2",): 2}
    )
    for record in records:
        cost = {k: v for k, v in record.cost.items() if k.startswith("gpu_")}
        cost.pop("gpu_busy", None)
        assert cost == ({"gpu_shared": 2.0} if shares(record) else {"gpu_peak_mb": 8192.0})
