"""Cells of several drivers on one GPU: each says that it was shared, so that its times are compared with
nothing. The GPU is pretended: a stand-in for nvidia-smi names it, and CUDA_VISIBLE_DEVICES gives it away.
"""

import os
import uuid

import pytest
from polling import BOUND_S, wait_for

from bench.engine import local
from bench.engine.cluster import gpus as gpus_module
from bench.engine.cluster.gpus import Gpus, Neighbours, uuids

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
