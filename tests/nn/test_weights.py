"""Files of weights: what is read back, in which precision, and what is said of a wrong one."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

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


#: What people save of a network, by how it is made of its tensors; all of it is the network.
SOUND = {
    "DataParallel": lambda t: {f"module.{k}": v for k, v in t.items()},
    "compiled": lambda t: {f"_orig_mod.{k}": v for k, v in t.items()},
    "compiled in parts": lambda t: {k.replace("a.", "a._orig_mod."): v for k, v in t.items()},
    "both": lambda t: {f"module._orig_mod.{k}": v for k, v in t.items()},
    "Lightning": lambda t: {"state_dict": {f"model.{k}": v for k, v in t.items()}, "epoch": 3},
    "torch's average": lambda t: {"n_averaged": torch.tensor(3)} | {f"module.{k}": v for k, v in t.items()},
    "ema_pytorch": lambda t: (
        {"initted": torch.tensor(1), "step": torch.tensor(9)}
        | {f"online_model.{k}": v + 1 for k, v in t.items()}
        | {f"ema_model.{k}": v for k, v in t.items()}
    ),
    "no average": lambda t: {"ema": None, "model": t, "opt": {"state": {}}},
    "an empty average": lambda t: {"ema": {}, "model": t},
    "nested": lambda t: {"model": {"module": t}},
    "numbers of numpy": lambda t: {
        "model": t,
        "loss": np.float64(0.5),
        "best": np.int64(3),
        "ok": np.bool_(1),
    },
    "numbers beside": lambda t: {**t, "epoch": 3, "name": "x"},
    "arguments": lambda t: {"model": t, "args": argparse.Namespace(lr=1e-3)},
}


@pytest.mark.parametrize("name", SOUND)
def test_what_is_sound_is_read_however_it_was_wrapped(tmp_path, name):
    torch.save(SOUND[name](TENSORS), tmp_path / "w.pt")
    found = weights.read(tmp_path / "w.pt")
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[k], v) for k, v in TENSORS.items())


def test_the_format_is_told_by_the_content_and_not_by_the_suffix(tmp_path):
    weights.write(tmp_path / "w.bin", TENSORS)
    torch.save(TENSORS, tmp_path / "w.safetensors")
    torch.save(TENSORS, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    for name in ("w.bin", "w.safetensors", "old.bin"):
        assert weights.read(tmp_path / name).keys() == TENSORS.keys()


def test_every_precision_is_read_as_it_is_stored(tmp_path):
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        torch.save({"a": torch.ones(2, 3, dtype=kind)}, tmp_path / "w.pt")
        assert {v.dtype for v in weights.read(tmp_path / "w.pt").values()} == {kind}


def saved(value):
    return lambda path: torch.save(value, path)


#: What a file holds that is no file of weights -> what is said of it.
WRONG = {
    "LFS": (
        lambda p: p.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid x\n"),
        "run git lfs pull",
    ),
    "HTML": (lambda p: p.write_bytes(b"\n<!DOCTYPE html><html>"), "is a web page, not the file that it was"),
    "nothing": (lambda p: p.write_bytes(b""), "it has 0 bytes"),
    "gzip": (lambda p: p.write_bytes(b"\x1f\x8b\x08"), "is compressed: unpack it first"),
    "cut off": (
        lambda p: (torch.save(TENSORS, p), p.write_bytes(p.read_bytes()[:300])),
        "not a file of weights",
    ),
    "a folder": (lambda p: p.mkdir(), "is a folder, expected a file of weights"),
    "NaN": (
        saved({"model": {"a": torch.tensor([1.0, float("nan")])}}),
        "model: a: 1 of its 2 numbers are NaN",
    ),
    "infinite": (saved({"module.a": torch.tensor([float("inf")])}), "module.a: 1 of its 1 numbers are NaN"),
    "a module": (saved(torch.nn.Linear(1, 1)), "holds an object of torch.nn.modules.linear.Linear, and only"),
    "a list": (saved([1, 2]), "expected a state dict, tensors by name; found list"),
    "other things": (saved({"opt": {}, "epoch": 3}), "tensors by name; found 'opt', 'epoch' (save network"),
    "text": (lambda p: p.write_text("no weights at all"), "not a file of weights"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_file_is_said_with_what_to_do(tmp_path, name):
    make, said = WRONG[name]
    make(tmp_path / "w.pt")
    with pytest.raises(BenchError) as e:
        weights.read(tmp_path / "w.pt")
    assert str(tmp_path / "w.pt") in str(e.value)
    assert said in str(e.value)
    assert "weights_only" not in str(e.value), "no advice of torch's to execute what is in a file"


@given(st.sampled_from(["pt", "safetensors"]), st.integers(0, 10**6), st.binary(min_size=1, max_size=4))
def test_a_mutated_file_is_the_same_network_or_refused(tmp_path, kind, at, new):
    path = tmp_path / f"w.{kind}"
    torch.save(TENSORS, path) if kind == "pt" else weights.write(path, TENSORS)
    data = bytearray(path.read_bytes())
    at %= len(data)
    data[at : at + len(new)] = new
    path.write_bytes(data)
    try:
        found = weights.read(path)
    except BenchError as e:
        said = str(e)
        assert said.startswith(str(path))
        return
    assert all(isinstance(v, torch.Tensor) for v in found.values())


def test_a_mask_of_attention_may_be_infinite(tmp_path):
    torch.save({"attn_mask": torch.tensor([float("-inf")]), "a": torch.ones(1)}, tmp_path / "w.pt")
    assert weights.read(tmp_path / "w.pt").keys() == {"attn_mask", "a"}


def test_differences_are_named_as_the_file_spells_them(tmp_path):
    torch.save({"module.a": torch.zeros(3), "module.x": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(BenchError) as e:
        weights.check(tmp_path / "w.pt", weights.read(tmp_path / "w.pt"), {"a": torch.zeros(2)})
    assert str(e.value).endswith(
        "another network: module.x (x here) is unknown; module.a (a here) is (3,), expected (2,)"
    )


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
