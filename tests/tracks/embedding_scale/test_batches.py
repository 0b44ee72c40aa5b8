import numpy as np
import pytest
import torch

from bench.tracks.embedding_scale.batches import Rows, fits


@pytest.fixture
def arrays(tmp_path):
    x = np.arange(7 * 3, dtype=np.int32).reshape(7, 3)
    np.save(tmp_path / "x.npy", x)
    return np.load(tmp_path / "x.npy", mmap_mode="c"), np.arange(7, dtype=np.float32)


@pytest.mark.parametrize("resident", [True, False])
def test_every_row_comes_once_in_the_order_asked_for(arrays, resident):
    order = torch.tensor([6, 0, 3, 1, 2, 5, 4])
    got = list(Rows(arrays, "cpu", resident=resident).batches(order, 2))
    assert [len(x) for x, _ in got] == [2, 2, 2, 1]
    assert torch.equal(torch.cat([y for _, y in got]), order.float())
    assert torch.equal(torch.cat([x for x, _ in got]), torch.from_numpy(arrays[0])[order])


@pytest.mark.gpu
@pytest.mark.parametrize("resident", [True, False])
def test_batches_on_a_gpu_are_those_of_the_host(arrays, resident):
    order = torch.tensor([6, 0, 3, 1, 2, 5, 4])
    here = Rows(arrays, "cpu").batches(order, 2)
    there = Rows(arrays, "cuda", resident=resident).batches(order, 2)
    for (x, y), (at_x, at_y) in zip(here, there, strict=True):
        assert at_x.device.type == "cuda"
        assert torch.equal(at_x.cpu(), x)
        assert torch.equal(at_y.cpu(), y)


def test_more_batches_than_are_gathered_ahead(arrays):
    order = torch.arange(7)
    assert [int(y) for _, y in Rows(arrays, "cpu", resident=False).batches(order, 1)] == list(range(7))


def test_a_failed_gather_is_raised_and_not_swallowed(arrays):
    with pytest.raises(IndexError, match="out of range"):
        list(Rows(arrays, "cpu", resident=False).batches(torch.tensor([0, 7]), 1))


def test_stopping_half_way_leaves_no_thread(arrays):
    import threading

    batches = Rows(arrays, "cpu", resident=False).batches(torch.arange(7), 1)
    next(batches)
    batches.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("rows")]


def test_a_gpu_takes_what_leaves_room_for_training(monkeypatch):
    gib = 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda d: (60 * gib, 80 * gib))
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda d: 0.25)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda d: 5 * gib)
    gpu = torch.device("cuda")
    assert fits(6 * gib, gpu)  # 0.4 of the 15 GiB left of this process's quarter
    assert not fits(6 * gib + 1, gpu)
    assert fits(10**15, torch.device("cpu"))
