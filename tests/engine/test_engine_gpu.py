"""What the engine promises a cell that has a GPU. Skipped without one; ``make gpu`` runs it on one."""

import multiprocessing as mp

import pytest

from bench.engine.forkserver import ForkServer
from bench.registry import Registry

pytestmark = pytest.mark.gpu


def test_what_the_tracks_preload_leaves_cuda_to_the_forked_children():
    """An import that asks CUDA for its devices would spoil it in every child: cells would have to be spawned,
    each with seconds of imports.
    """
    registry = Registry()
    tracks = [registry.track(name) for name in registry.track_names()]
    server = ForkServer([m for t in tracks for m in t.preload])
    server.start()
    assert not isinstance(server._context, mp.context.SpawnContext)


@pytest.fixture(scope="module")
def ended(make_sandbox, tmp_path_factory):
    sandbox = make_sandbox(tmp_path_factory.mktemp("cuda")).use("cuda")
    sandbox.of("cuda")
    sandbox.run()
    return sandbox.by_row()


@pytest.mark.parametrize(("row", "value"), [("multiplies", 64.0), ("restores", 6.0)])
def test_a_forked_cell_uses_its_gpu_in_mixed_precision(ended, row, value):
    record = ended[row]
    assert record.status == "ok", record.error
    assert record.metrics["value"] == value
    assert record.where["device"] == "cuda"
    assert record.where["gpus"]
    assert record.cost["gpu_mem_mb"] > 0
    alone = not [m for m in record.marks if m.startswith("shared")]
    assert ("gpu_peak_mb" in record.cost) == alone, "what others took would be in it"
    assert not alone or record.cost["gpu_peak_mb"] > record.cost["gpu_mem_mb"]


def test_a_snapshot_leaves_what_the_method_draws_on_the_device(ended):
    assert ended["draws"].status == ended["draws/scored"].status == "ok", ended["draws/scored"].error
    assert ended["draws/scored"].metrics["value"] == ended["draws"].metrics["value"]


def test_a_cell_that_takes_more_than_its_part_of_the_card_is_out_of_memory(ended):
    assert (ended["greedy"].status, ended["greedy"].reason) == ("oom", "device memory")
