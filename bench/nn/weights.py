"""Files of weights: how they are read without executing anything, and how a wrong one is named.

Imports torch: import it inside functions.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from bench.contract import BenchError

_UNREADABLE = (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, OSError, TypeError, AttributeError,
               ValueError, safetensors.SafetensorError)  # fmt: skip


def read(path: Path) -> dict[str, Tensor]:
    """The tensors in a file by name, on the CPU: safetensors by its suffix, else what `torch.save` wrote.

    Of a training checkpoint (a dictionary of state dicts) the averaged weights are taken, ``ema``, or else
    ``model`` or ``state_dict``. Nothing is unpickled but tensors, plain containers and the
    `argparse.Namespace` in which such checkpoints store their arguments.

    Raises:
        BenchError: no such file, or not one of weights.
    """
    if not path.is_file():
        raise BenchError(f"{path}: no such file, expected a file of weights (.safetensors, .pt, .bin)")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as e:
        why = str(e).partition("\n")[0]
        raise BenchError(f"{path}: not a file of weights ({type(e).__name__}: {why})") from e
    if isinstance(found, dict):
        found = next((found[k] for k in ("ema", "model", "state_dict") if k in found), found)
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise BenchError(f"{path}: expected a state dict, tensors by name; found {type(found).__name__}")
    return dict(found)


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


def check(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise `BenchError` that names the first differences in names and shapes, if there are any."""
    wrong = [f"{k} is missing" for k in wanted if k not in found]
    wrong += [f"{k} is unknown" for k in found if k not in wanted]
    wrong += [
        f"{k} is {tuple(found[k].shape)}, expected {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in found and found[k].shape != v.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise BenchError(f"{path}: weights of another network: {'; '.join(wrong[:3])}{more}")
