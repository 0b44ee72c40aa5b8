"""How the sources of pySTEPS/pysteps-data lie on disk, and how one of their frames is decoded to mm/h.

MRMS is GRIB2 and is decoded by eccodes: pysteps' importer takes pygrib, which is not needed otherwise, and
cfgrib takes eight times as long for a frame of this size, most of it for coordinates that are known. The
others are read by pysteps' own importers, and brought to mm/h by its conversion.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

#: Of pySTEPS/pysteps-data, as of which our own copy is and `Layout.frames` were counted: what is fetched
#: later may be newer.
COMMIT = "eaa59fb"
#: MRMS writes these where no radar sees anything, and where a value is missing; no rate of rain is negative.
NO_COVERAGE, ABSENT = -3.0, -1.0
#: What the rate of precipitation of MRMS is called in GRIB2: its unit, mm/h, is said by these numbers alone.
PARAMETER: Mapping[str, int] = {"discipline": 209, "parameterCategory": 6, "parameterNumber": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One source.

    Attributes:
        below: its folder in the copy.
        pattern: of a frame's path below that folder; ``time`` is its time, ``product`` tells apart what lies
            side by side at one time.
        time: the form of that time, of `datetime.strptime`.
        minutes: between the frames in use; frames of the source between them are left out.
        box: cells of a side that are averaged to one.
        corner, cell: x and y of the upper left corner and the size of a cell of the source; in degrees for
            MRMS, in km for the others.
        frames: how many frames in use the copy holds (as of `COMMIT`); None if that was not counted.
        shape: rows and columns of a frame as the source has them.
        decode: makes a frame in mm/h, NaN where it was not observed, of a file.
        needs: distributions that decode it.
    """

    below: str
    pattern: re.Pattern[str]
    time: str
    minutes: int | None
    box: int
    shape: tuple[int, int]
    decode: Callable[[Path], np.ndarray]
    corner: tuple[float, float] = (0.0, 0.0)
    cell: tuple[float, float] = (1.0, 1.0)
    frames: int | None = None
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def when(self, match: re.Match[str]) -> datetime:
        """The time of the frame whose path matched."""
        return datetime.strptime(match["time"], self.time)


def _mrms(path: Path) -> np.ndarray:
    """GRIB2 with one message, whose parameter eccodes knows by its numbers only."""
    import eccodes
    import numpy as np

    with open(path, "rb") as file:
        message = eccodes.codes_grib_new_from_file(file)
        if message is None:
            raise ValueError("holds no GRIB message")
        try:
            parameter = tuple(eccodes.codes_get(message, key) for key in PARAMETER)
            if parameter != tuple(PARAMETER.values()):
                raise ValueError(
                    f"is of the parameter {parameter}; expected {tuple(PARAMETER.values())} (discipline,"
                    " category, number), the rate of precipitation in mm/h"
                )
            if eccodes.codes_get(message, "jScansPositively") or eccodes.codes_get(
                message, "iScansNegatively"
            ):
                raise ValueError(
                    "its rows do not run from north to south, or its columns not from west to east"
                )
            shape = eccodes.codes_get(message, "Nj"), eccodes.codes_get(message, "Ni")
            # Numbers that are packed as a PNG can be unpacked as float64 only; that array goes at once.
            rain: np.ndarray = eccodes.codes_get_values(message).astype(np.float32).reshape(shape)
        finally:
            eccodes.codes_release(message)
    rain[(rain == NO_COVERAGE) | (rain == ABSENT)] = np.nan
    return rain


def _imported(importer: str, **options: Any) -> Callable[[Path], np.ndarray]:
    """A decoder that calls an importer of pysteps with its options."""

    def decode(path: Path) -> np.ndarray:
        import numpy as np

        with contextlib.redirect_stdout(io.StringIO()):  # pysteps says at import which settings it has found
            from pysteps.exceptions import MissingOptionalDependency
            from pysteps.io import importers
            from pysteps.utils.conversion import to_rainrate
        try:
            found, _, metadata = getattr(importers, f"import_{importer}")(str(path), **options)
        except MissingOptionalDependency as e:
            raise BenchError(f"{path}: {e}: pip install 'gridbench[radar]'") from e
        rain, _ = to_rainrate(np.ma.filled(np.ma.asarray(found, float), np.nan), metadata)
        return np.asarray(rain, np.float32)

    return decode


_PYSTEPS = {"pysteps": ()}
LAYOUTS: Mapping[str, Layout] = {
    "mrms": Layout(
        below="mrms",
        pattern=re.compile(r"\d{4}/\d\d/\d\d/PrecipRate_00\.00_(?P<time>\d{8}-\d{6})\.grib2"),
        time="%Y%m%d-%H%M%S",
        minutes=4,
        box=4,
        shape=(3500, 7000),
        decode=_mrms,
        corner=(-130.0, 55.0),
        cell=(0.01, -0.01),
        frames=18,
        needs={"eccodes": ()},
    ),
    "knmi": Layout(
        below="radar/KNMI",
        pattern=re.compile(r"\d{4}/\d\d/RAD_NL25_RAP_5min_(?P<time>\d{12})\.h5"),
        time="%Y%m%d%H%M",
        minutes=10,
        box=4,
        shape=(765, 700),
        decode=_imported("knmi_hdf5", qty="ACRR", accutime=5.0, pixelsize=1000.0),
        frames=46,
        needs={**_PYSTEPS, "h5py": ()},
    ),
    "fmi": Layout(
        below="radar/fmi/pgm",
        pattern=re.compile(r"\d{8}/(?P<time>\d{12})_fmi\.radar\.composite\.lowest_FIN_SUOMI1\.pgm\.gz"),
        time="%Y%m%d%H%M",
        minutes=10,
        box=4,
        shape=(1226, 760),
        decode=_imported("fmi_pgm", gzipped=True),
        needs={**_PYSTEPS, "pyproj": ()},
    ),
    "meteoswiss": Layout(
        below="radar/mch",
        pattern=re.compile(r"\d{8}/AQC(?P<time>\d{9})\w?_00005\.801\.gif"),
        time="%y%j%H%M",
        minutes=10,
        box=4,
        shape=(640, 710),
        decode=_imported("mch_gif", product="AQC", unit="mm", accutime=5.0),
        needs=_PYSTEPS,
    ),
    "bom": Layout(
        below="radar/bom",
        pattern=re.compile(
            r"(?P<product>prcp-\w+/\d+)/\d{4}/\d\d/\d\d/\d+_(?P<time>\d{8}_\d{6})\.prcp-\w+\.nc"
        ),
        time="%Y%m%d_%H%M%S",
        minutes=None,
        box=8,
        shape=(512, 512),
        decode=_imported("bom_rf3"),
        cell=(0.5, 0.5),
        needs={**_PYSTEPS, "netCDF4": ()},
    ),
}
