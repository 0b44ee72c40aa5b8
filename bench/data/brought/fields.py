"""Fields of the user's own over time: a NetCDF file or a Zarr store with time and two axes of space.

Nothing is converted: windows are read out of the file. It is split by time, the oldest frames for training.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import packages
from bench.contract import BenchError
from bench.data.brought.entries import VERSION, Brought, Entry, command, entry, placed
from bench.data.fields import frames
from bench.data.preparing import Progress, silent
from bench.errors import nearest
from bench.file_digest import read_digest

if TYPE_CHECKING:
    import xarray as xr

#: Share of the frames in training, validation and test, in the order of time.
SHARES: Mapping[str, tuple[float, float]] = {"train": (0.0, 0.8), "val": (0.8, 0.9), "test": (0.9, 1.0)}
#: Names of axes that are told by their name alone, in small letters; others are told by their place.
TIME = ("time", "valid_time", "t")
Y, X = ("y", "lat", "latitude", "south_north", "row"), ("x", "lon", "longitude", "west_east", "column")
#: Units as files spell them -> as everything here does.
UNITS: Mapping[str, str] = {
    **dict.fromkeys(("m s-1", "m/s", "m s**-1", "m s^-1", "meters/second"), "m s-1"),
    **dict.fromkeys(("mm/h", "mm h-1", "mm/hr", "mm hr-1", "mm h**-1"), "mm/h"),
}
#: Units of a coordinate of rows -> their length in km; a degree of latitude is 111 km anywhere.
KM: Mapping[str, float] = {
    **dict.fromkeys(("km", "kilometer", "kilometers", "kilometre", "kilometres"), 1.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1e-3),
    **dict.fromkeys(("degrees_north", "degree_north", "degrees", "degree"), 111.2),
}
#: Ends of a name -> distributions that read such files.
ENDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    ".nc": {"h5netcdf": (), "h5py": ()}, ".zarr": {"zarr": ()},
}  # fmt: skip
#: A window has at most so many cells a side, and at least so many; networks halve it three times.
LARGEST, SMALLEST, MULTIPLE = 32, 16, 8
#: Frames that are shown, and frames that are forecast.
FRAMES, LEADS = 4, 4
#: Frames that are read at once.
_BATCH = 64
#: Up to so many bytes the content is compared with what was added whenever it is opened; of more, the size.
_COMPARED = 4_000_000_000


def add(
    name: str, path: Path, variables: Sequence[str], *, terms: str, progress: Progress = silent
) -> tuple[Entry, dict[str, bytes]]:
    """Check fields; the entry, to which no lists belong.

    Args:
        name: of the data set.
        path: the file or the store.
        variables: names of the components; () where the file has no others.
        terms: its licence.
        progress: is called with the number of frames that were read.

    Raises:
        BenchError: the file cannot be read, or its axes, times, units or values are not what they should be;
            names which.
    """
    if path.suffix.lower() not in ENDS or not path.exists():
        what = (
            "no such file"
            if path.suffix.lower() in ENDS
            else f"expected a name that ends in {' or '.join(ENDS)}"
        )
        raise BenchError(f"--fields {path}: {what}")
    if why := packages.missing(str(path), ENDS[path.suffix.lower()], "paper"):
        raise BenchError(why)
    event = _opened(path, variables)
    side = min(LARGEST, *(event.sizes[d] // MULTIPLE * MULTIPLE for d in ("y", "x")))
    if side < SMALLEST:
        raise BenchError(
            f"{path}: has {event.sizes['y']} x {event.sizes['x']} cells, expected {SMALLEST} or more a side"
        )
    _check_time(path, event)
    _check_values(name, path, event, progress)
    sizes = " x ".join(str(event.sizes[d]) for d in ("time", "y", "x"))
    components = event["component"].values.tolist()
    found = f"{sizes} (frames, rows, columns) of {', '.join(components)} in {event.attrs['units']}"
    return Entry(
        version=VERSION, name=name, kind="fields", place=placed(path), bytes=_bytes(path), terms=terms,
        digest=_content(name, path, progress), found=found,
        settings={
            "variables": components, "units": event.attrs["units"], "size": side, "frames": FRAMES,
            "leads": LEADS, "km": event.attrs["km"],
        },
    ), {}  # fmt: skip


def read(name: str) -> xr.DataArray:
    """The one event of a data set, (time, component, y, x), opened and not loaded.

    Its attributes ``step`` and ``step_unit`` say how far frames are from each other, ``km`` how wide a cell
    is, or None.

    Raises:
        BenchError: it is not here, or cannot be read.
    """
    e = entry(name)
    if why := data_source(name).missing():
        raise BenchError(why)
    if e.bytes <= _COMPARED and _again(e, silent) != e.digest:
        raise BenchError(f"{name}: {e.path} is not what was added: {command(e)}")
    return _opened(e.path, e.settings["variables"])


def data_source(name: str) -> Brought:
    """The fields as an entry of the catalogue."""
    return Brought(entry(name), _changed, _again)


def _changed(e: Entry) -> str | None:
    size = _bytes(e.path)
    if size != e.bytes:
        return f"has {size:,} bytes, had {e.bytes:,} when it was added"
    return packages.missing(e.name, ENDS[e.path.suffix.lower()], "paper")


def _again(e: Entry, progress: Progress) -> str:
    return _content(e.name, e.path, progress)


def _files(path: Path) -> list[Path]:
    """The file, or every file of a store, in the order of their paths."""
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


def _bytes(path: Path) -> int:
    return sum(p.stat().st_size for p in _files(path))


def _content(name: str, path: Path, progress: Progress) -> str:
    """sha-256 of the file; of a store over the names and the digests of its files."""
    files = _files(path)
    if path.is_file():
        return read_digest(path, lambda done, total: progress(f"{name}: bytes", done, total))
    found = hashlib.sha256()
    for i, file in enumerate(files, 1):
        sha = read_digest(file, lambda done, total: None)
        found.update(f"{file.relative_to(path).as_posix()}\t{sha}\n".encode())
        progress(f"{name}: files", i, len(files))
    return found.hexdigest()


# ---------------------------------------------------------------------------------------------- what is there


def _opened(path: Path, variables: Sequence[str]) -> xr.DataArray:
    """The variables as components of one array, with coordinates and units as they are used here."""
    import xarray as xr

    options: dict[str, Any] = {"engine": _engine(path)}
    if options["engine"] == "zarr":
        options |= {"chunks": None, "consolidated": False}
    try:
        dataset = xr.open_dataset(path, **options)
        return _joined(path, [_axes(path, dataset[v]) for v in _chosen(path, dataset, variables)])
    except BenchError:
        raise
    # What opens and decodes a file raises whatever it likes; the file is at fault.
    except Exception as e:
        frames.let_go(e)
        raise BenchError(f"{path}: cannot be read: {type(e).__name__}: {e}") from e


def _engine(path: Path) -> str:
    """What reads the file: scipy the NetCDF of before 2008, which is no HDF5."""
    if path.suffix.lower() != ".nc":
        return "zarr"
    with path.open("rb") as file:
        return "scipy" if file.read(3) == b"CDF" else "h5netcdf"


def _joined(path: Path, parts: Sequence[xr.DataArray]) -> xr.DataArray:
    import xarray as xr

    first = parts[0]
    if other := [p for p in parts if p.shape != first.shape]:
        raise BenchError(
            f"{path}: {other[0].name} has the shape {other[0].shape}, {first.name} {first.shape}"
        )
    units = [UNITS.get(str(u), str(u)) for u in (p.attrs.get("units", "1") for p in parts)]
    if len(set(units)) > 1:
        raise BenchError(
            f"{path}: its fields are in {' and '.join(map(repr, sorted(set(units))))}, and components of one"
            " have one unit: choose with --variables"
        )
    step, unit = _step(first)
    names = [str(p.name) for p in parts]
    bare = [p.reset_coords(drop=True).drop_attrs() for p in parts]
    whole = xr.concat(bare, dim=xr.Variable("component", names), coords="minimal", compat="override")
    whole = whole.transpose(*frames.DIMS).assign_attrs(
        units=units[0], step=step, step_unit=unit, km=_km(first)
    )  # fmt: skip
    return whole.rename(path.stem)


def _chosen(path: Path, dataset: xr.Dataset, variables: Sequence[str]) -> list[str]:
    """The variables that are fields over time, if they are clear or the user says which."""
    has = [
        str(v) for v in dataset.data_vars if len([d for d in dataset[v].dims if dataset[v].sizes[d] > 1]) >= 3
    ]
    if strange := [v for v in variables if v not in has]:
        raise BenchError(
            f"--variables {strange[0]}: {path} has no such field{nearest(strange[0], has)}; it has"
            f" {', '.join(has) or 'none with time and two axes of space'}"
        )
    if variables:
        return list(dict.fromkeys(variables))
    if len(has) != 1:
        found = f"has the fields {', '.join(has)}" if has else "has no field with time and two axes of space"
        raise BenchError(
            f"{path}: {found}: choose with --variables, several only if they are components of one"
        )
    return has


def _axes(path: Path, found: xr.DataArray) -> xr.DataArray:
    """A variable as (time, y, x): axes by their names, those of space else by their place."""
    found = found.squeeze([d for d in found.dims if found.sizes[d] == 1], drop=True)
    if len(found.dims) != 3:
        axes = ", ".join(f"{d} ({found.sizes[d]})" for d in found.dims)
        raise BenchError(f"{path}: {found.name} has the axes {axes}, expected time and two of space")
    time = next((d for d in found.dims if str(d).lower() in TIME), None)
    if time is None:
        raise BenchError(
            f"{path}: {found.name} has the axes {', '.join(map(str, found.dims))}, none of which is time:"
            f" rename one to {TIME[0]}"
        )
    space = [d for d in found.dims if d != time]
    if str(space[0]).lower() in X or str(space[1]).lower() in Y:
        space.reverse()
    if found.dtype.kind not in "fiu":
        raise BenchError(f"{path}: {found.name} holds {found.dtype}, expected numbers")
    if time in found.coords and found[time].dtype.kind not in "Mfiu":
        raise BenchError(
            f"{path}: its times are {type(found[time].values.flat[0]).__name__}, such as"
            f" {found[time].values.flat[0]}, expected dates of the usual calendar, or numbers"
        )
    names = dict(zip((time, *space), ("time", "y", "x"), strict=True))
    renamed = found.drop_vars([c for c in found.coords if c not in found.dims])
    return renamed.rename({a: b for a, b in names.items() if a != b}).transpose("time", "y", "x")


def _step(found: xr.DataArray) -> tuple[float, str]:
    """How far one frame is from the next, and in which unit."""
    import numpy as np

    if found.sizes["time"] < 2 or "time" not in found.coords:
        return 1, "frames"
    step = np.median(np.diff(found["time"].values))
    if found["time"].dtype.kind != "M":
        return 1, "frames"
    minutes = float(step / np.timedelta64(1, "m"))
    return (minutes, "minutes") if minutes < 60 else (minutes / 60, "hours")


def _km(found: xr.DataArray) -> float | None:
    """How wide a cell is by the coordinate of its rows; None where that has no unit of length or degrees."""
    import numpy as np

    if "y" not in found.coords or found["y"].dtype.kind not in "fiu":
        return None
    unit = str(found["y"].attrs.get("units", "")).lower()
    width = float(np.median(np.abs(np.diff(found["y"].values)))) * KM.get(unit, 0.0)
    return width if math.isfinite(width) and width > 0 else None


def _check_time(path: Path, event: xr.DataArray) -> None:
    """Refuse times that do not ascend, and too few frames for a window in each part."""
    import numpy as np

    if "time" in event.coords:
        steps = np.diff(event["time"].values)
        if len(steps) and not (steps > np.zeros(1, steps.dtype)).all():
            at = int(np.flatnonzero(~(steps > np.zeros(1, steps.dtype)))[0])
            raise BenchError(f"{path}: the times of its frames do not ascend after frame {at}")
    length, shortest = FRAMES + LEADS, min(b - a for a, b in SHARES.values())
    least = math.ceil(round(length / shortest, 6))
    if event.sizes["time"] < least:
        raise BenchError(
            f"{path}: has {event.sizes['time']} frames, expected {least} or more: a tenth of them is for"
            f" test, and a window has {FRAMES} + {LEADS}"
        )


def _check_values(name: str, path: Path, event: xr.DataArray, progress: Progress) -> None:
    """Refuse infinite numbers, a file that cannot be read to its end, and fields that never change."""
    import numpy as np

    low, high, n = math.inf, -math.inf, event.sizes["time"]
    for begin in range(0, n, _BATCH):
        try:
            with np.errstate(all="ignore"):  # of numbers that are none, which are looked for below
                values = np.asarray(event.isel(time=slice(begin, begin + _BATCH)).to_numpy(), np.float64)
        except Exception as e:  # as above: of what decodes
            raise BenchError(f"{path}: cannot be read from frame {begin} on: {type(e).__name__}: {e}") from e
        if np.isinf(values).any():
            at = begin + int(np.flatnonzero(np.isinf(values).any((1, 2, 3)))[0])
            raise BenchError(f"{path}: frame {at} has numbers that are infinite")
        if not np.isnan(values).all():
            low, high = min(low, float(np.nanmin(values))), max(high, float(np.nanmax(values)))
        progress(f"{name}: frames", min(begin + _BATCH, n), n)
    if not low < high:
        raise BenchError(f"{path}: all its values are {low:g}" if low == high else f"{path}: holds no value")
