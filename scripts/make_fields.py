"""Make the small NetCDF files below bench/data/embedded/fields out of three Debian packages.

    apt-get download ferret-datasets libncarg-data r-cran-stars
    for f in *.deb; do dpkg -x $f unpacked; done
    python scripts/make_fields.py unpacked

Takes netCDF4 for reading, since two of the originals are in the classic format of NetCDF.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import xarray as xr

from bench.data.fields import frames
from bench.data.fields.embedded import FOLDER

WINDS = "usr/share/ferret-vis/data/monthly_navy_winds.cdf"
STORM = "usr/share/ncarg/data/cdf/{}storm.cdf"
STAGE_IV = "usr/lib/R/site-library/stars/nc/test_stageiv_xyt.nc"


def monthly_winds(root: Path) -> xr.DataArray:
    """132 months of wind over the whole Earth; each month's time is its first day."""
    found = xr.open_dataset(root / WINDS, engine="netcdf4")
    months = found["TIME"].values.astype("datetime64[M]").astype("datetime64[ns]")
    return frames.event(
        np.stack([found["UWND"].values, found["VWND"].values], 1),
        name="monthly-winds", units="m s-1", components=("u", "v"), time=months,
        y=found["FNOCY"].values.astype(np.float32), x=found["FNOCX"].values.astype(np.float32),
    )  # fmt: skip


def storm_winds(root: Path) -> xr.DataArray:
    """The 6-hourly wind of January 1996 without the frames in which a component is empty; mask kept."""
    u, v = (xr.open_dataset(root / STORM.format(c), engine="netcdf4")[c.lower()] for c in "UV")
    values = np.stack([u.values, v.values], 1)
    whole = ~np.isnan(values).all((2, 3)).any(1)
    hours = u["timestep"].values.astype("timedelta64[h]")
    return frames.event(
        values[whole], name="storm-winds", units="m s-1", components=("u", "v"),
        time=(np.datetime64("1996-01-05T00", "ns") + hours)[whole], y=u["lat"].values, x=u["lon"].values,
    )  # fmt: skip


def stage_iv(root: Path) -> xr.DataArray:
    """23 hours of rain; an hour's amount in kg m-2 is its mean rate in mm/h."""
    found = xr.open_dataset(root / STAGE_IV, engine="netcdf4")
    rain = found["Total_precipitation_surface_1_Hour_Accumulation"]
    values = rain.transpose("time", "y", "x").values[:, None]
    event = frames.event(
        values, name="stage-iv", units="mm/h", components=("rain",), time=rain["time"].values
    )
    return event.assign_coords(lat=(("y", "x"), found["lat"].values), lon=(("y", "x"), found["lon"].values))


#: Name -> what makes it, and the step of its packed whole numbers, far below the errors of any forecast.
MADE = {
    "monthly-winds": (monthly_winds, 0.01),
    "storm-winds": (storm_winds, 0.002),
    "stage-iv": (stage_iv, 0.01),
}


def main(root: Path) -> None:
    """Write all files and say how large they and the errors of packing are."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, (make, step) in MADE.items():
        event = make(root)
        packing = {"dtype": "int16", "scale_factor": step, "_FillValue": -32768}
        encoding = {event.name: {**packing, "zlib": True, "complevel": 9, "shuffle": True}}
        path = FOLDER / f"{name}.nc"
        event.to_netcdf(path, engine="h5netcdf", encoding=encoding)
        error = abs(xr.load_dataarray(path, engine="h5netcdf") - event)
        size = f"{path.stat().st_size:,} bytes, {event.shape}"
        print(f"{path.name}: {size}, largest error {float(error.max()):.2g}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
