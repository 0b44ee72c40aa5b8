"""What lets a cell start: memory is a resource, of machines of any pretended size; and a budget is measured
by a clock that nobody sets.
"""

import ast
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from nightly import at_night

from bench.contract import Needs, Task
from bench.engine import local
from bench.engine.execute import units
from bench.engine.job import Job, Unit
from bench.engine.sweep import Sweep, fits_at_once, memory_notes, too_large, width
from bench.registry import Origin

BENCH = Path(local.__file__).resolve().parents[1]
RAY = pytest.param(False, id="ray", marks=[pytest.mark.ray, pytest.mark.slow])
LOCAL = pytest.param(True, id="local", marks=pytest.mark.slow)
BOUND_S = 120


@pytest.fixture
def pretend(monkeypatch):
    def size(total, limit=float("inf")):
        """A machine of ``total`` GB, in a control group that may use ``limit``."""
        monkeypatch.setattr(local, "total_gb", lambda: float(total))
        monkeypatch.setattr(local, "_cgroup_gb", lambda: [limit])

    return size


class Watch:
    """Lets cells go once so many run at once (or after a long while), and keeps what ran side by side."""

    def __init__(self, go, enough):
        self.go, self.enough, self.seen, self.until = go, enough, [], time.monotonic() + BOUND_S

    def __call__(self, sweep):
        running = [unit.needs.mem_gb for unit, _ in sweep.running()]
        self.seen.append(running)
        if len(running) >= self.enough or time.monotonic() > self.until:
            self.go.touch()


@pytest.mark.parametrize("how", [LOCAL, at_night(*RAY.values, id="ray", marks=RAY.marks)])
def test_cells_share_the_memory_and_a_big_one_runs_alone(sandbox, pretend, how):
    """On 32 GB with 16 processors: three of 10 GB at once; one of 31 GB, which leaves the driver nothing."""
    pretend(32)
    sandbox.use("slow")
    run = {"seconds": 0.0, "log": str(sandbox.folder / "log"), "until": str(sandbox.folder / "go")}
    sandbox.of("slow", grid={"cells": 6}, run=run, needs={"sleeps": {"mem_gb": 10}})
    plan = sandbox.plan("sleeps")
    plan.cells[2].needs = replace(plan.cells[2].needs, mem_gb=31)
    plan.cells[4].needs = replace(plan.cells[4].needs, mem_gb=40)
    watch = Watch(sandbox.folder / "go", 3)
    from bench.engine.execute import execute

    where = {"local": True} if how else {"address": "local"}
    sweep = execute(plan, sandbox.registry(), sandbox.store(), cpus=16, on_change=watch, **where)
    assert [e.status for e in sweep.ended] == ["ok"] * 5
    assert max(len(r) for r in watch.seen) == 3
    assert {tuple(r) for r in watch.seen if 31 in r} == {(31,)}
    (text,) = sweep.too_large.values()
    assert "needs mem_gb 40; the largest machine here has 32 (see needs: in bench.yaml)" in text
    assert any(
        "memory lets 3 cells that may use mem_gb 10" in n and "needs: in bench.yaml" in n for n in sweep.notes
    )


def test_no_machine_is_too_small_for_what_it_could_run_before(pretend):
    """Whatever is left to the driver, a cell as large as the machine starts, when nothing else runs."""
    for total in (1, 2, 3.8, 7.6, 16, 1000):
        for limit in (float("inf"), total / 2, 0.3):
            pretend(total, limit)
            machine = local.machine(cpus=4)
            assert machine.mem_gb == total
            whole = Needs(mem_gb=total)
            capacity = local._Capacity(replace(machine, mem_gb=local.cells_gb()))
            assert capacity.fits(whole)
            gpus = capacity.acquire(whole)
            assert not capacity.fits(Needs(mem_gb=0.1)) or total == 0
            capacity.release(whole, gpus)
            assert capacity.fits(whole)
            assert 0 < local.cells_gb() <= max(0.5, min(total, limit))


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("0::/job/step\n", "job/memory.max"),
        ("0::/\n", "memory.max"),
        ("0::/gone/elsewhere\n", "memory.max"),
        ("5:cpu:/x\n4:memory:/job/step\n", "memory/job/memory.limit_in_bytes"),
    ],
)
def test_a_control_group_limits_what_cells_share(tmp_path, text, file):
    root, mine, at = tmp_path / "fs", tmp_path / "cgroup", tmp_path / "fs" / file
    at.parent.mkdir(parents=True)
    assert list(local._cgroup_gb(root, mine)) == [], "a system without control groups"
    mine.write_text(text)
    assert list(local._cgroup_gb(root, mine)) == []
    at.write_text(f"{8 * 2**30}\n")
    assert list(local._cgroup_gb(root, mine)) == [8.0]
    if at.name == "memory.max":
        at.write_text("max\n")
        assert list(local._cgroup_gb(root, mine)) == [float("inf")]


def unit(**needs):
    """A unit of which only the needs matter."""
    origin = Origin(module="none")
    job = Job(
        key="k", kind="cell", cell={}, task=Task(name="t"), track=origin, method=origin, method_id="m",
        ranks_by="value", needs=Needs(**needs),
    )  # fmt: skip
    return Unit(job=job, label="cell")


def test_one_machine_has_to_have_all_of_what_a_cell_needs():
    with_gpu, large = Needs(cpu=8, gpu=1, mem_gb=32), Needs(cpu=64, mem_gb=512)
    both = [with_gpu, large]
    assert too_large([unit(gpu=1, mem_gb=32), unit(cpu=64, mem_gb=512)], both) == {}
    (text,) = too_large([unit(gpu=1, mem_gb=64)], both).values()
    assert "needs cpu 1, gpu 1, mem_gb 64; no machine here has all of that" in text
    gpu = replace(with_gpu, gpu_mem_gb=24)
    assert (
        too_large([unit(gpu=1, gpu_mem_gb=24)], [gpu]) == too_large([unit(gpu=1, gpu_mem_gb=80)], both) == {}
    )
    (text,) = too_large([unit(gpu=1, gpu_mem_gb=80)], [gpu, large]).values()
    assert "needs gpu_mem_gb 80; the largest GPU here has 24" in text
    (text,) = too_large([unit(mem_gb=600)], both).values()
    assert "needs mem_gb 600; the largest machine here has 512" in text


def test_a_cell_that_wants_a_type_of_gpu_runs_on_no_other():
    h100 = Needs(cpu=8, gpu=1, mem_gb=64, accelerator="H100")
    a100, none = replace(h100, accelerator="A100"), Needs(cpu=64, mem_gb=512)
    wants = unit(gpu=1, accelerator="H100")
    assert too_large([wants], [a100, h100, none]) == {}
    assert too_large([unit(gpu=1)], [a100]) == {}
    (text,) = too_large([wants], [a100, none]).values()
    assert text == "cell needs accelerator H100; GPUs here: A100 (see needs: in bench.yaml)"
    (text,) = too_large([wants], [none]).values()
    assert "GPUs here: none" in text
    assert wants.limits["accelerator"] == "H100"
    assert "accelerator" not in unit(gpu=1).limits, "a record says nothing of what was not asked for"


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3"], "H100"),
        (["NVIDIA A100-SXM4-80GB"], "A100"),
        (["Tesla T4"], "T4"),
        (["NVIDIA L4", "Tesla T4"], "unknown"),
        (["a card of its own"], "unknown"),
    ],
)
def test_the_type_of_gpus_is_read_from_their_names(names, kind):
    assert local.accelerator(names) == kind


def test_what_reads_a_stage_that_is_too_large_is_left_out_with_it():
    stage, reader, other = (replace(unit(), job=replace(unit().job, key=k), label=k) for k in "sro")
    stage = replace(stage, job=replace(stage.job, needs=Needs(gpu=8)))
    reader = replace(reader, reads=("s",))
    found = too_large([stage, reader, other], [Needs(cpu=8, gpu=4, mem_gb=64)])
    why = "gpu 8; the largest machine here has 4 (see needs: in bench.yaml)"
    assert found == {"s": f"s needs {why}", "r": f"r needs a stage that needs {why}"}


def test_how_many_run_side_by_side():
    machine = Needs(cpu=8, gpu=2, mem_gb=30)
    for needs, n in {
        Needs(cpu=2, mem_gb=1): 4, Needs(gpu=0.5, mem_gb=1): 4, Needs(mem_gb=8): 3, Needs(mem_gb=64): 1,
        Needs(cpu=16): 0,
    }.items():  # fmt: skip
        assert fits_at_once(needs, machine) == n, needs
    assert memory_notes([unit(mem_gb=8)] * 3, [machine]) == [], "there are no more than fit"
    (note,) = memory_notes([unit(mem_gb=8)] * 20, [machine])
    assert "memory lets 3 cells that may use mem_gb 8 run side by side here, processors would let 8" in note


def test_a_wide_unit_is_one_beside_which_no_other_fits():
    one, many = Needs(cpu=8, gpu=1, mem_gb=32), Needs(cpu=64, gpu=8, mem_gb=512)
    assert width(Needs(gpu=1, mem_gb=4), [one, many]) == 0, "on one machine it is not"
    assert width(Needs(gpu=1, mem_gb=4), [one]) == 1
    assert width(Needs(gpu=2, mem_gb=4), [one, many]) == 0.25
    assert width(Needs(gpu=8, mem_gb=4), [one, many]) == 1
    assert width(Needs(cpu=5, mem_gb=4), [one]) == 5 / 8
    assert width(Needs(cpu=4, mem_gb=4), [one]) == 0
    assert width(Needs(mem_gb=64), [one]) == 2, "it runs alone"
    assert width(Needs(gpu=2, mem_gb=4), []) == width(Needs(mem_gb=4), []) == 1, "nothing is known"


@pytest.mark.ray
def test_what_is_asked_of_rays_memory():
    from bench.engine.cluster.placement import memory_of as memory
    from bench.engine.tune import for_cells, machines

    gb = 2**30
    nodes = [
        {"CPU": 8.0, "memory": 20.0 * gb, "object_store_memory": 8.0 * gb},
        {"CPU": 8.0, "GPU": 1.0, "memory": 10.0 * gb},
        {"object_store_memory": 100.0 * gb},
    ]
    assert [m.mem_gb for m in machines(nodes, own=False)] == [28, 10, 100]
    assert [m.mem_gb for m in for_cells(nodes)] == [20, 10, 0]
    assert memory(Needs(mem_gb=4), nodes) == 4 * gb
    assert memory(Needs(mem_gb=24), nodes) == 20 * gb, "it runs alone there, and is not left out"
    assert memory(Needs(gpu=1, mem_gb=24), nodes) == 10 * gb


# ---------------------------------------------------------------------------------------------------- clocks


@pytest.mark.parametrize("jump", [-86400, 86400], ids=["back", "forward"])
def test_a_clock_that_is_set_ends_no_budget(sandbox, monkeypatch, jump):
    sandbox.use("slow").of(
        "slow", grid={"cells": 3}, run={"seconds": 0.0, "log": str(sandbox.folder / "log")}
    )
    plan = sandbox.plan("sleeps")
    todo, _ = units(plan, plan.to_run(), sandbox.registry(), failed=False)
    sweep = Sweep(sandbox.store(), todo, deadline=time.monotonic() + 3600)
    first = sweep.next()
    sweep.began(first.key)
    monkeypatch.setattr("time.time", lambda now=time.time: now() + jump)
    assert sweep.next() is not None
    assert not sweep.stopped
    assert 0 <= sweep.spent_s() < 3600
    assert 0 <= sweep.running()[0][1] < 3600
    sweep.leases.close()


@pytest.mark.parametrize("name", ["engine", "store/lease.py", "cli/sweep/run.py", "cli/sweep/live.py"])
def test_durations_are_measured_by_the_steady_clock(name):
    at = BENCH / name
    for file in sorted(at.rglob("*.py")) if at.is_dir() else [at]:
        for node in ast.walk(ast.parse(file.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            wall = isinstance(called, ast.Attribute) and ast.unparse(called) == "time.time"
            assert not wall, (
                f"{file}:{node.lineno}: time.time() jumps when the clock is set: time.monotonic()"
            )


@pytest.mark.ray
def test_a_deadline_reaches_another_process_as_seconds_left(tmp_path):
    """Also one that waits a while before it is sent, and one whose clocks say something else."""
    import copy

    from bench.engine.cluster.actor import Deadline

    ahead = Deadline(time.monotonic() + 1000)
    text = pickle.dumps(copy.deepcopy({"deadline": ahead}))
    past = pickle.dumps({"deadline": Deadline(time.monotonic() - 1)})
    never = pickle.dumps({"deadline": Deadline(None)})
    code = (
        "import sys, pickle, time\n"
        "from bench.engine.cluster.actor import Deadline\n"
        "time.time, true = lambda: 0.0, time.monotonic\n"
        "time.monotonic = lambda: true() - 5e5\n"
        "for text in sys.argv[1:]:\n"
        "    print(pickle.loads(bytes.fromhex(text))['deadline'].left_s())\n"
    )
    argv = [sys.executable, "-c", code, text.hex(), past.hex(), never.hex()]
    out = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    left, over, open_end = map(float, out.split())
    assert 990 < left <= 1000
    assert over < 0
    assert open_end == float("inf")
    ahead.at = time.monotonic() + 10
    assert pickle.loads(pickle.dumps(ahead)).left_s() <= 10, "measured when it is sent"
