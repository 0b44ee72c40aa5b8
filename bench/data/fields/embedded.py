"""Observed fields that ship here as small NetCDF files: monthly winds, the winds of a storm, hours of rain.

``SOURCES.md`` beside the files says where they come from; ``scripts/make_fields.py`` made them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from bench import packages
from bench.contract import BenchError, digest
from bench.data import EMBEDDED
from bench.data.fields import frames
from bench.data.preparing import Progress, silent
from bench.data.source import Contents, DataSource
from bench.file_digest import file_digest

if TYPE_CHECKING:
    import xarray as xr

#: Raise when the meaning of a number changes: records made before become stale.
VERSION = 1
FOLDER = EMBEDDED / "fields"
#: What opens the files; they are only imported.
_NEEDS = {"h5netcdf": (), "h5py": ()}


def path(name: str) -> Path:
    """The file of a data set."""
    return FOLDER / f"{name}.nc"


@lru_cache(maxsize=4)
def read(name: str) -> tuple[xr.DataArray, ...]:
    """The one event of a data set, read once a process; where it has gaps, `frames.unbroken` tells.

    Raises:
        BenchError: the file is damaged, or is none of the kind.
    """
    import numpy as np
    import xarray as xr

    try:
        found = xr.load_dataarray(path(name), engine="h5netcdf")
    except (OSError, ValueError) as e:
        raise BenchError(f"{path(name)}: cannot be read: {e}") from e
    if found.dims != frames.DIMS or found.attrs.get("units") not in frames.UNITS:
        raise BenchError(f"{path(name)}: expected the dimensions {frames.DIMS} and a unit of {frames.UNITS}")
    return (found.astype(np.float32).rename(name),)


@dataclass(frozen=True, slots=True)
class Embedded:
    """A file that ships here, as an entry of the catalogue."""

    name: str

    def missing(self) -> str | None:
        """See `DataSource.missing`."""
        return packages.missing(self.name, _NEEDS)

    def fingerprint(self) -> str:
        """See `DataSource.fingerprint`."""
        return digest({"version": VERSION, "file": file_digest(path(self.name), on_disk=False)})

    def prepare(self, progress: Progress = silent, *, partial: bool = False, again: bool = False) -> None:
        """Do nothing, since what ships here needs no preparation; see `DataSource.prepare`."""

    def verify(self, progress: Progress = silent) -> Contents:
        """Read the file; HDF5 has no digest of its own, so a damaged one shows as one that cannot be read."""
        if why := self.missing():
            raise BenchError(why)
        (event,) = read(self.name)
        sizes = ", ".join(f"{n:,} {dim}" for dim, n in event.sizes.items())
        return Contents(self.name, f"{sizes} in {event.attrs['units']}", self.fingerprint())


def data_source(name: str) -> DataSource:
    """A file that ships here, as an entry of the catalogue."""
    return Embedded(name)
