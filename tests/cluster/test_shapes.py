"""The machines that a plan asks for."""

import pytest

from bench.cluster.shapes import Shape, shapes, wanted
from bench.contract import BenchError


def test_cells_are_grouped_by_gpus_and_put_side_by_side(sandbox):
    sandbox.use("slow").of(
        "slow", grid={"cells": 5}, needs={"sleeps": {"cpu": 2, "mem_gb": 3, "minutes": 90}}
    )
    assert shapes(sandbox.plan()) == [
        Shape(cpu=2, gpu=1, mem_gb=8, gpu_mem_gb=0, minutes=10, cells=5, at_once=2),
        Shape(cpu=8, gpu=0, mem_gb=12, gpu_mem_gb=0, minutes=90, cells=5, at_once=4),
    ]
    assert [s.name for s in shapes(sandbox.plan())] == ["gpu-1", "cpu"]
    assert [s.most for s in shapes(sandbox.plan())] == [3, 2]


def test_two_kinds_of_cells_with_as_many_gpus_share_a_machine(sandbox):
    needs = {"sleeps": {"gpu": 1, "cpu": 6, "mem_gb": 20}, "half": {"cpu": 1, "gpu_mem_gb": 30}}
    sandbox.use("slow").of("slow", grid={"cells": 1}, needs=needs)
    assert shapes(sandbox.plan()) == [
        Shape(cpu=6, gpu=1, mem_gb=20, gpu_mem_gb=30, minutes=10, cells=2, at_once=1)
    ]


def test_cells_that_ask_for_a_type_of_gpu_get_machines_of_their_own(sandbox):
    sandbox.use("slow").of("slow", grid={"cells": 2}, needs={
        "sleeps": {"gpu": 1, "accelerator": "H100"}, "half": {"gpu": 0.5, "mem_gb": 8},
    })  # fmt: skip
    any_type, typed = shapes(sandbox.plan())
    assert (any_type.name, any_type.accelerator, any_type.gpus) == ("gpu-1", "", "1 GPU")
    assert (typed.name, typed.accelerator, typed.gpus) == ("gpu-1-h100", "H100", "1 H100 GPU")
    assert (any_type.at_once, typed.at_once) == (2, 1)
    of_cpus, named = {"sleeps": {"accelerator": "H100"}, "half": {"gpu": 0}}, "it has to have such a GPU"
    sandbox.of("slow", grid={"cells": 1}, needs=of_cpus)
    assert [s.name for s in shapes(sandbox.plan())] == ["gpu-1-h100", "cpu"], named


def test_cells_whose_data_are_missing_here_count_and_done_ones_do_not(sandbox):
    sandbox.use("grids").of("grids", grid={"scales": [4, 99]})
    sandbox.run("prior")
    plan = sandbox.plan("prior", "single")
    assert {(c.row, c.task.name) for c in wanted(plan)} == {
        ("prior", "flights-99x"), ("single", "flights-4x"), ("single", "flights-99x"),
    }  # fmt: skip
    with pytest.raises(BenchError, match=r"profile laptop has nothing to run \(1 done\)"):
        shapes(sandbox.plan("prior", k="scale=4"))
