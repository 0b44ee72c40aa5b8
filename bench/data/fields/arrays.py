"""Fields that the user has as one array: Moving MNIST's file of sequences, and a run of turbulent flow.

``mnist_test_seq.npy`` is (20 frames, sequences, 64, 64) uint8. ``rbc_data.pt`` or ``rbc_data.npy`` is
(frames, 2 components, rows, columns), a run of Rayleigh-Bénard convection as the authors of TF-Net give it;
nothing of a ``.pt`` is executed.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contract import BenchError, digest
from bench.data.catalog import CATALOG, VARIABLE
from bench.data.fields import frames
from bench.data.preparing import Progress, silent
from bench.data.source import Contents, DataSource
from bench.file_digest import file_digest

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

#: Raise when the meaning of a number changes: records made before become stale.
VERSION = 1
#: Data set -> the names that its file may have.
FILES: Mapping[str, tuple[str, ...]] = {
    "moving-mnist": ("mnist_test_seq.npy",),
    "turbulent-flow": ("rbc_data.pt", "rbc_data.npy"),
}


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """An array that is read as it lies on disk, as an entry of the catalogue."""

    name: str

    def missing(self) -> str | None:
        """See `DataSource.missing`."""
        if _path(self.name) is not None:
            return None
        dataset = CATALOG[self.name]
        return (
            f"{self.name}: no file {' or '.join(FILES[self.name])} in {dataset.folder}"
            f" (${VARIABLE}/{dataset.folder.name}): get it from {dataset.get}"
        )

    def fingerprint(self) -> str:
        """See `DataSource.fingerprint`."""
        return digest({"version": VERSION, "file": file_digest(_there(self.name))})

    def prepare(self, progress: Progress = silent, *, partial: bool = False, again: bool = False) -> None:
        """Do nothing, since the array is read as it is; see `DataSource.prepare`."""

    def verify(self, progress: Progress = silent) -> Contents:
        """Read the file; it has no published digest to compare with."""
        (event,) = read(self.name)
        sizes = ", ".join(f"{n:,} {dim}" for dim, n in event.sizes.items())
        return Contents(self.name, sizes, self.fingerprint())


def data_source(name: str) -> DataSource:
    """An array as an entry of the catalogue."""
    return ArrayFile(name)


def _path(name: str) -> Path | None:
    folder = CATALOG[name].folder
    return next((folder / file for file in FILES[name] if (folder / file).is_file()), None)


def _there(name: str) -> Path:
    path = _path(name)
    if path is None:
        raise BenchError(ArrayFile(name).missing() or name)
    return path


def read(name: str) -> tuple[xr.DataArray, ...]:
    """The one event of a data set, read once a process.

    The frames of Moving MNIST's sequences lie one after another, brightness from 0 to 1; the attribute
    ``sequence`` is how many one has.

    Raises:
        BenchError: the file is missing, damaged, or of another form.
    """
    path = _there(name)
    return _read(name, path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _read(name: str, path: Path, changed: int) -> tuple[xr.DataArray, ...]:
    # ``changed`` is part of the cache's key only: a file that was replaced is read again.
    values = _loaded(path)
    if name == "moving-mnist":
        return (_sequences(path, values),)
    return (_flow(path, values),)


def _loaded(path: Path) -> np.ndarray:
    import numpy as np

    try:
        if path.suffix == ".npy":
            found = np.load(path, mmap_mode="r", allow_pickle=False)
            if not isinstance(found, np.memmap):
                raise ValueError(f"holds a {type(found).__name__}, expected one array")
            if (says := found.offset + found.nbytes) != (has := path.stat().st_size):
                raise ValueError(f"has {has:,} bytes, and its header says {says:,}")
            return found
        import torch

        tensor = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(f"holds a {type(tensor).__name__}, expected a tensor")
        return tensor.numpy()
    except pickle.UnpicklingError as e:  # whose text advises to have what is in the file executed
        why = "it holds no single tensor that torch.save wrote, or is damaged"
        raise BenchError(f"{path}: cannot be read: {why}") from e
    # What unpacks an archive raises whatever it likes; the file is at fault.
    except Exception as e:
        raise BenchError(f"{path}: cannot be read: {type(e).__name__}: {e}") from e


def _sequences(path: Path, values: np.ndarray) -> xr.DataArray:
    import numpy as np

    if values.ndim != 4 or values.dtype != np.uint8 or not values.size:
        raise BenchError(
            f"{path}: is {values.shape} {values.dtype}, expected (frames, sequences, rows, columns) uint8"
        )
    length, n, rows, columns = values.shape
    whole = np.ascontiguousarray(values.transpose(1, 0, 2, 3)).reshape(n * length, 1, rows, columns)
    return frames.event(
        np.multiply(whole, np.float32(1 / 255), dtype=np.float32), name="moving-mnist", units="1",
        components=("ink",), time=np.arange(n * length), sequence=length, step=1, step_unit="frames",
    )  # fmt: skip


def _flow(path: Path, values: np.ndarray) -> xr.DataArray:
    import numpy as np

    if values.ndim != 4 or values.shape[1] != 2 or values.dtype.kind != "f" or not values.size:
        raise BenchError(
            f"{path}: is {values.shape} {values.dtype}, expected (frames, 2, rows, columns) of floats"
        )
    if not np.isfinite(values).all():
        at = int(np.flatnonzero(~np.isfinite(values).all((1, 2, 3)))[0])
        raise BenchError(f"{path}: frame {at} has numbers that are not finite")
    return frames.event(
        values, name="turbulent-flow", units="1", components=("u", "v"), time=np.arange(len(values)),
        step=1, step_unit="frames",
    )  # fmt: skip
