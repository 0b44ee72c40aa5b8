"""Data as a stranger has them: an ImageFolder with domains, a table of clicks, a field over time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

DOMAINS, CLASSES = ("photo", "sketch", "clip art"), ("cat", "red_fox")


def pictures(folder: Path, each: int = 5, domains: tuple[str, ...] = DOMAINS) -> Path:
    """``<domain>/<class>/<n>.png``, of noise; without domains ``<class>/<n>.png``."""
    from PIL import Image

    random = np.random.default_rng(0)
    for domain in domains or ("",):
        for name in CLASSES:
            below = folder / domain / name
            below.mkdir(parents=True)
            for i in range(each):
                pixels = random.integers(0, 255, (24, 30, 3), np.uint8)
                Image.fromarray(pixels).save(below / f"{i}.png")
    return folder


def table(file: Path, rows: int = 600) -> Path:
    """Clicks of users on items: a number with a fraction, a blank here and there, a site, a date."""
    random = np.random.default_rng(0)
    user, item, site = random.integers(0, 40, rows), random.integers(0, 9, rows), random.integers(0, 3, rows)
    click = random.random(rows) < np.where(user % 3 == item % 3, 0.7, 0.2)
    price = np.where(random.random(rows) < 0.1, "", np.round(random.normal(10, 3, rows), 2).astype(str))
    day = np.datetime64("2024-01-01") + random.integers(0, 90, rows)
    columns = (user, item, price, np.char.add("s", site.astype(str)), day.astype(str), click.astype(int))
    lines = [
        "user,item,price,site,day,clicked",
        *(",".join(map(str, row)) for row in zip(*columns, strict=True)),
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def field(file: Path, frames: int = 100, side: tuple[int, int] = (24, 32)) -> Path:
    """A wave that moves to the east, hourly, in kelvin: NetCDF or Zarr by the file's name."""
    import xarray as xr

    y, x = np.mgrid[: side[0], : side[1]]
    values = np.stack([280 + np.sin((x - 2 * t) / 5) + np.cos(y / 4) for t in range(frames)])
    time = np.datetime64("2020-01-01T00", "ns") + np.arange(frames) * np.timedelta64(3_600_000_000_000, "ns")
    coords = {"time": time, "latitude": np.arange(side[0]) * 1.0, "longitude": np.arange(side[1]) * 1.0}
    made = xr.DataArray(values.astype(np.float32), coords, tuple(coords), "t2m", {"units": "K"}).to_dataset()
    if file.suffix == ".zarr":
        made.to_zarr(file, zarr_format=3, consolidated=False)
    else:
        made.to_netcdf(file, engine="h5netcdf")
    return file
