"""Files of weights: what is read back, in which precision, and what is said of a wrong one."""

from pathlib import Path

import pytest
import torch

from bench.contract import BenchError
from bench.nn import weights

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3) / 7, "a.bias": torch.tensor([1e-8, 1e8])}


def test_written_and_read(tmp_path):
    weights.write(tmp_path / "w.safetensors", TENSORS, about={"recipe": "abc"})
    found = weights.read(tmp_path / "w.safetensors")
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[k], TENSORS[k]) for k in found)
    assert weights.about(tmp_path / "w.safetensors") == {"recipe": "abc"}


def test_half_precision_leaves_vectors(tmp_path):
    weights.write(tmp_path / "w.safetensors", TENSORS, half=True)
    found = weights.read(tmp_path / "w.safetensors")
    assert found["a.weight"].dtype == torch.float16
    assert torch.equal(found["a.bias"], TENSORS["a.bias"])


@pytest.mark.parametrize("wrapped", [{}, {"ema": 1, "model": 0}, {"model": 1}, {"state_dict": 1}])
def test_a_checkpoint_gives_its_average_first(tmp_path, wrapped):
    other = {k: v + 1 for k, v in TENSORS.items()}
    content = {k: TENSORS if wanted else other for k, wanted in wrapped.items()} or TENSORS
    torch.save(content, tmp_path / "w.pt")
    found = weights.read(tmp_path / "w.pt")
    assert all(torch.equal(found[k], v) for k, v in TENSORS.items())


def test_differences_are_named():
    wanted = {k: torch.zeros(2) for k in "abcdef"}
    found = {"a": torch.zeros(2), "b": torch.zeros(3), "x": torch.zeros(1)}
    with pytest.raises(BenchError) as e:
        weights.check(Path("w.pt"), found, wanted)
    assert str(e.value) == (
        "w.pt: weights of another network: c is missing; d is missing; e is missing and 3 more"
    )
    with pytest.raises(BenchError, match=r"b is \(3,\), expected \(2,\)$"):
        weights.check(Path("w.pt"), wanted | {"b": torch.zeros(3)}, wanted)
    weights.check(Path("w.pt"), wanted, wanted)


def test_what_is_no_file_of_weights(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"no")
    for name in ("a.safetensors", "none.pt"):
        with pytest.raises(BenchError, match=name):
            weights.read(tmp_path / name)
    with pytest.raises(BenchError, match="expected safetensors"):
        weights.about(tmp_path / "a.safetensors")
