"""Files of weights: one reader for all networks, which executes nothing and says what is wrong with a file.

Imports torch: import it inside functions.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from bench.contract import BenchError

_UNREADABLE = (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, OSError, TypeError, AttributeError,
               ValueError, IndexError, AssertionError, safetensors.SafetensorError)  # fmt: skip
#: Where training checkpoints keep a network, the averaged one first; each may be there and hold nothing.
_HELD_IN = ("ema", "ema_model", "model_ema", "params_ema", "ema_state_dict", "model", "state_dict",
            "model_state_dict", "module", "net", "network", "params")  # fmt: skip
#: What wrappers put before every name: DataParallel, torch.compile, averages, Lightning.
_PREFIXES = ("module.", "_orig_mod.", "ema_model.", "ema.", "model.", "net.", "network.")
#: Names of an average's own, beside those of the network that it holds.
_BOOKKEEPING = re.compile(r"(n_averaged|num_updates|initted|step|decay)|online_model\..*")
#: What wrappers put between the parts of a name.
_WRAPPED = re.compile(r"\b(_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\.")


class Weights(dict[str, Tensor]):
    """Tensors by name, on the CPU. ``spelt``: a name -> the one that the file has, where it is another."""

    def __init__(self, tensors: Mapping[str, Tensor], spelt: Mapping[str, str] | None = None) -> None:
        super().__init__(tensors)
        self.spelt = dict(spelt or {})


def read(path: Path) -> Weights:
    """The tensors in a file by name, on the CPU, as precise as they are stored.

    A file may be safetensors or what `torch.save` wrote. Of a training checkpoint the averaged weights are
    taken, or else the network's; names lose what a wrapper put before them. Nothing is unpickled but tensors,
    numbers, plain containers and the `argparse.Namespace` in which such checkpoints store their arguments.

    Raises:
        BenchError: no such file, not one of weights, or a tensor in it holds NaN or infinite numbers.
    """
    start = _start(path)
    try:
        found: Any = safetensors.torch.load_file(path) if _is_safetensors(start, path) else _torch_file(path)
    except _UNREADABLE as e:
        raise BenchError(f"{path}: not a file of weights: {_why(e)}") from e
    found, held_in = _network(found)
    named = [*found.items()] if isinstance(found, dict) else []
    tensors = {k: v for k, v in named if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        known = ", ".join(repr(k) for k, _ in named[:8]) or type(found).__name__
        raise BenchError(
            f"{path}: expected a state dict, tensors by name; found {known} (save network.state_dict() alone)"
        )
    bare = _unwrapped(tensors)
    spelt = {ours: f"{held_in}{theirs}" for theirs, ours in bare.items()}
    made = Weights({ours: tensors[theirs] for theirs, ours in bare.items()}, spelt)
    check_finite(path, made)
    return made


def about(path: Path) -> dict[str, str]:
    """The metadata of a file of safetensors; raises `BenchError` if it is none."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except _UNREADABLE as e:
        raise BenchError(f"{path}: expected safetensors: {e}") from e


def write(
    path: Path, tensors: Mapping[str, Tensor], *, half: bool = False, about: Mapping[str, str] | None = None
) -> None:
    """Write safetensors; with ``half`` matrices and kernels in half precision, vectors as they are."""
    ready = {
        k: v.detach().cpu().contiguous().to(torch.float16 if half and v.ndim > 1 else v.dtype)
        for k, v in tensors.items()
    }
    safetensors.torch.save_file(ready, path, metadata=dict(about or {}))


def check(
    path: Path,
    found: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    spelt: Mapping[str, str] | None = None,
) -> None:
    """Raise `BenchError` that names the first differences in names and shapes, if there are any.

    Args:
        path: the file.
        found, wanted: tensors by the network's names.
        spelt: the network's name -> the one in the file, where it is another; default: as `read` says.
    """
    names = spelt if spelt is not None else found.spelt if isinstance(found, Weights) else {}

    def named(name: str) -> str:
        there = names.get(name, name)
        return name if there == name else f"{there} ({name} here)"

    wrong = [f"{named(k)} is missing" for k in wanted if k not in found]
    wrong += [f"{named(k)} is unknown" for k in found if k not in wanted]
    wrong += [
        f"{named(k)} is {tuple(found[k].shape)}, expected {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in found and found[k].shape != v.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise BenchError(f"{path}: weights of another network: {'; '.join(wrong[:3])}{more}")


# ------------------------------------------------------------------------------------------------ what it is


def _start(path: Path) -> bytes:
    """The first bytes of a file of weights; what cannot be one is named by what it is."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise BenchError(f"{path}: {what}, expected a file of weights (.safetensors, .pt, .bin)")
    try:
        with open(path, "rb") as file:
            start = file.read(512)
    except OSError as e:
        raise BenchError(f"{path}: cannot be read: {e.strerror}") from e
    for known, what in {
        b"version https://git-lfs": "is a pointer of Git LFS, not the file itself: run git lfs pull there",
        b"\x1f\x8b": "is compressed: unpack it first, with gunzip",
    }.items():
        if start.startswith(known):
            raise BenchError(f"{path}: {what}")
    if not start:
        raise BenchError(f"{path}: not a file of weights: it has 0 bytes")
    if re.match(rb"\s*<(!doctype|html|\?xml)", start, re.IGNORECASE):
        raise BenchError(f"{path}: is a web page, not the file that it was to be: download it again")
    return start


def _is_safetensors(start: bytes, path: Path) -> bool:
    """Whether a file is safetensors, by its content rather than its suffix: a length, then JSON."""
    of_torch = start.startswith((b"PK", b"\x80"))
    return start[8:9] == b"{" or (path.suffix == ".safetensors" and not of_torch)


def _torch_file(path: Path) -> Any:
    """What `torch.save` wrote, with nothing executed; a single number of numpy is taken for a number."""
    known = [argparse.Namespace, *_numpy_numbers()]
    with torch.serialization.safe_globals(known), warnings.catch_warnings(), open(path, "rb") as file:
        warnings.simplefilter("ignore")
        return torch.load(file, map_location="cpu", weights_only=True)  # of a path torch trusts the suffix


def _numpy_numbers() -> list[Any]:
    """What the pickle of a numpy number names, under the names of numpy 1 and 2."""
    scalar: Any = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(k)) for k in ("bool", "int32", "int64", "float32", "float64")]
    return [*((scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")), np.dtype, *kinds]


def _why(error: BaseException) -> str:
    """Why a file is no file of weights, without what torch advises: to read it with its code executed."""
    text = str(error)
    if named := re.search(r"GLOBAL ([\w.]+)", text):
        return (
            f"it holds an object of {named[1]}, and only tensors, numbers and plain containers are read; save"
            " network.state_dict() alone"
        )
    if isinstance(error, pickle.UnpicklingError):
        return "it is neither safetensors nor what torch.save writes, or it is cut off"
    return f"{text.partition(chr(10))[0]} ({type(error).__name__})"


# ---------------------------------------------------------------------------------------- which network in it


def _network(found: Any, held_in: str = "") -> tuple[Any, str]:
    """The state dict of the network in a checkpoint, and what its names have before them in the file."""
    if isinstance(found, dict):
        for name in _HELD_IN:
            inner = found.get(name)
            if isinstance(inner, dict) and _has_tensors(inner):
                return _network(inner, f"{held_in}{name}: ")
    return found, held_in


def _has_tensors(values: Mapping[Any, Any]) -> bool:
    """Whether there is a tensor among the values, or in what one of `_HELD_IN` holds."""
    inner = [values.get(name) for name in _HELD_IN]
    return any(isinstance(v, Tensor) for v in values.values()) or any(
        _has_tensors(v) for v in inner if isinstance(v, dict)
    )


def _unwrapped(names: Mapping[str, object]) -> dict[str, str]:
    """Each name that is the network's -> that name without what wrappers put before its parts."""
    bare = {name: _WRAPPED.sub("", name) for name in names}
    while prefix := next((p for p in _PREFIXES if _all_have(p, bare.values())), ""):
        bare = {k: v.removeprefix(prefix) for k, v in bare.items() if v.startswith(prefix)}
    return bare


def _all_have(prefix: str, names: Any) -> bool:
    """Whether a prefix is before every name that is not an average's own."""
    own = [n for n in names if n.startswith(prefix)]
    return bool(own) and all(n.startswith(prefix) or _BOOKKEEPING.fullmatch(n) for n in names)


def check_finite(path: Path, found: Weights) -> None:
    """Refuse weights that hold NaN or infinity: whatever is computed with them is none either. A mask of
    attention may: minus infinity there means that nothing is looked at.
    """
    for name, value in found.items():
        if value.is_floating_point() and not name.endswith("mask") and not bool(torch.isfinite(value).all()):
            n = int((~torch.isfinite(value)).sum())
            raise BenchError(
                f"{path}: {found.spelt.get(name, name)}: {n:,} of its {value.numel():,} numbers are NaN or"
                " infinite: the training that wrote it had diverged, or the file is damaged"
            )
