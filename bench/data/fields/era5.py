"""ERA5's wind 10 m above the ground, as the user got it: a file a year, u and v in m/s, every 6 hours.

Years are NetCDF (``2016.nc``), GRIB (``2016.grib``) or Zarr (``2016.zarr``), with the variables and the
dimensions of the Climate Data Store or of its copies. Which region, years and step the paper took was not
found: the region is the user's, the step is assumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.catalog import CATALOG, VARIABLE
from bench.data.fields.converted import Converted, Files
from bench.data.source import DataSource

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

#: Raise when a rule changes: what was prepared before is then prepared again.
VERSION = 1
NAME = "era5"
#: Assumed: hours between two frames in use.
HOURS = 6
#: Names of the two variables, short and long.
VARIABLES = (("u10", "10m_u_component_of_wind", "10u"), ("v10", "10m_v_component_of_wind", "10v"))
#: Names of dimensions, as different releases have them.
DIMENSIONS = {"valid_time": "time", "latitude": "y", "lat": "y", "longitude": "x", "lon": "x"}
UNITS = ("m s**-1", "m s-1", "m/s", "m s^-1")
#: Frames that are read and written at once.
_BATCH = 64
_ENDS = {".nc": "h5netcdf", ".grib": "cfgrib", ".grb": "cfgrib", ".zarr": "zarr"}


def data_source(name: str) -> DataSource:
    """The wind as an entry of the catalogue."""
    return _converted()


def read(name: str = NAME) -> tuple[xr.DataArray, ...]:
    """One event of all years, opened; where years are missing, `frames.unbroken` tells."""
    return _converted().read()


def _converted() -> Converted:
    ends = {p.suffix for p in _files()}
    needs: dict[str, tuple[str, ...]] = {"h5netcdf": (), "h5py": ()} if ".nc" in ends else {}
    if ends & {".grib", ".grb"}:
        needs |= {"cfgrib": (), "eccodes": ()}
    return Converted(
        name=NAME, version=VERSION, absent=_absent, events=_events, needs=needs, chunk=(_BATCH, 128, 128)
    )


def _files() -> list[Path]:
    """The files, in the order of their years."""
    folder = CATALOG[NAME].folder
    found = [p for p in folder.iterdir() if p.suffix in _ENDS] if folder.is_dir() else []
    return sorted((p for p in found if p.stem.isdigit()), key=lambda p: int(p.stem))


def _absent() -> str | None:
    if _files():
        return None
    dataset = CATALOG[NAME]
    return (
        f"no file <year>.nc, .grib or .zarr in {dataset.folder} (${VARIABLE}/{dataset.folder.name}):"
        f" get it from {dataset.get}"
    )


def _events(files: Files) -> dict[str, Iterator[xr.DataArray]]:
    paths = _files()
    files.total = len(paths)
    return {"wind": _ascending(files, paths)}


def _ascending(files: Files, paths: list[Path]) -> Iterator[xr.DataArray]:
    """The pieces of all years; a year on another grid, or not after the one before, is left out."""
    import numpy as np

    first = last = None

    def read(path: Path) -> Iterator[xr.DataArray]:
        nonlocal first, last
        for piece in _pieces(path):
            first = piece if first is None else first
            for axis in ("y", "x"):
                if not np.array_equal(piece[axis].values, first[axis].values):
                    raise ValueError(f"its {axis} are not those of the years before")
            times = piece["time"].values
            if last is not None and times[0] <= last:
                raise ValueError(f"its times do not ascend at {times[0]!s:.16}: another file has them too")
            last = times[-1]
            yield piece

    return files.each(paths, read)


def _pieces(path: Path) -> Iterator[xr.DataArray]:
    """Some frames of a year at a time, (time, component, y, x).

    Raises:
        ValueError: a variable is missing, has another unit or other dimensions, times do not ascend or are of
            another year, or values are missing.
    """
    import numpy as np
    import xarray as xr

    engine = _ENDS[path.suffix]
    options = {"backend_kwargs": {"indexpath": ""}} if engine == "cfgrib" else {}
    if engine == "zarr":
        options = {"chunks": None}  # type: ignore[dict-item]
    with xr.open_dataset(path, engine=engine, **options) as opened:  # type: ignore[arg-type]
        parts = [_variable(opened, names) for names in VARIABLES]
        chosen = _in_use(parts[0]["time"], int(path.stem))
        for begin in range(0, len(chosen), _BATCH):
            at = chosen[begin : begin + _BATCH]
            values = np.stack([p.isel(time=at).to_numpy() for p in parts], 1).astype(np.float32)
            if not np.isfinite(values).all():
                raise ValueError(
                    f"values are missing at {parts[0]['time'].values[at[0]]!s:.16} or soon after"
                )
            coords = {d: parts[0][d].values for d in ("y", "x")}
            coords |= {"time": parts[0]["time"].values[at], "component": np.array(["u", "v"])}
            attrs = {"units": "m s-1", "step": HOURS, "step_unit": "hours"}
            yield xr.DataArray(values, coords, ("time", "component", "y", "x"), "wind", attrs)


def _in_use(time: xr.DataArray, year: int) -> np.ndarray:
    """The positions of the frames in use.

    Raises:
        ValueError: times are no dates, do not ascend, or are of another year.
    """
    import numpy as np

    times = time.values
    if times.dtype.kind != "M":
        raise ValueError(f"its times are {times.dtype}, expected dates of the usual calendar")
    if (at := np.flatnonzero(np.diff(times) <= np.timedelta64(0))).size:
        raise ValueError(f"its times do not ascend at {times[at[0] + 1]!s:.16}")
    if (at := np.flatnonzero(time.dt.year.values != year)).size:
        raise ValueError(f"has the time {times[at[0]]!s:.16}, expected those of {year} alone")
    since_midnight = times - times.astype("datetime64[D]")
    chosen: np.ndarray = np.flatnonzero(since_midnight % np.timedelta64(HOURS, "h") == 0)
    return chosen


def _variable(opened: xr.Dataset, names: tuple[str, ...]) -> xr.DataArray:
    """A component of the wind, (time, y, x)."""
    name = next((n for n in names if n in opened), None)
    if name is None:
        raise ValueError(
            f"has no variable {names[0]} ({', '.join(names[1:])}); it has {', '.join(map(str, opened))}"
        )
    found = opened[name]
    if found.attrs.get("units") not in UNITS:
        raise ValueError(
            f"{name} has the unit {found.attrs.get('units')!r}, expected one of {', '.join(UNITS)}"
        )
    found = found.rename({old: new for old, new in DIMENSIONS.items() if old in found.dims})
    found = found.squeeze(
        [d for d in found.dims if d not in ("time", "y", "x") and found.sizes[d] == 1], drop=True
    )
    if set(found.dims) != {"time", "y", "x"}:
        raise ValueError(f"{name} has the dimensions {found.dims}, expected time, latitude and longitude")
    return found.transpose("time", "y", "x")
