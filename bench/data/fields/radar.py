"""Radar frames of pySTEPS/pysteps-data, made ready once: mm/h, averaged over boxes, a file for each event.

The user's copy lies below ``$BENCH_DATA/pysteps-data`` in its original layout (`radar_layouts`). `prepare`
decodes the frames in use and writes, below ``$BENCH_DATA/prepared/<name>``, a NetCDF file for each event and
``manifest.json``. What was not observed stays NaN: a box is observed if all its cells are. A frame that
cannot be read is named in the manifest and left out; with more than 5 % of them the preparation stops.

Decoding a frame may take a second. What is decoded is kept, in ``.<name>-frames`` beside that folder,
until the data set is whole: a preparation that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from bench import packages
from bench.contract import BenchError, digest
from bench.data.catalog import CATALOG, VARIABLE, root
from bench.data.fields import frames
from bench.data.fields.radar_layouts import LAYOUTS, Layout
from bench.data.preparing import Progress, read_manifest, silent, unprepared
from bench.data.source import DataSource

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

#: Raise when a rule changes: what was prepared before is then prepared again.
VERSION = 1
#: More than this share of unreadable frames stops the preparation.
MOST_LEFT_OUT = 0.05
#: Two frames further apart than this belong to two events.
_EVENT = timedelta(hours=1)
_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a prepared folder holds.

    Attributes:
        name: of the data set.
        version: of the rules by which it was made.
        events: their names, in the order of their product and time.
        counts: number of frames of each event.
        left_out: the files that are none of this layout or could not be read, each with the reason.
        sha256: of each event's values.
        whole: whether it has as many frames as the published copy, as far as those were counted.
    """

    name: str
    version: int
    events: tuple[str, ...]
    counts: tuple[int, ...]
    left_out: tuple[str, ...]
    sha256: tuple[str, ...]
    whole: bool

    @property
    def complete(self) -> bool:
        """Whether it is the whole copy and every file of it could be read."""
        return self.whole and not self.left_out

    def summary(self) -> str:
        """What was prepared, and what was left out."""
        events = ", ".join(f"{e}: {n} frames" for e, n in zip(self.events, self.counts, strict=True))
        found = f"{self.name}: {sum(self.counts)} frames in {len(self.events)} events ({events})"
        if not self.whole:
            found += f"; the published copy has {LAYOUTS[self.name].frames}"
        return found + "".join(f"\n{self.name}: left out: {why}" for why in self.left_out)


@dataclass(frozen=True, slots=True)
class RadarSource:
    """One source of the copy as an entry of the catalogue."""

    name: str

    def missing(self) -> str | None:
        """See `DataSource.missing`."""
        return missing(self.name)

    def fingerprint(self) -> str:
        """See `DataSource.fingerprint`; of the frames alone, whatever else lies in the user's folder."""
        m = _manifest(self.name)
        return digest([m.name, m.version, m.events, m.counts, m.sha256])

    def prepare(self, progress: Progress = silent, *, partial: bool = False, again: bool = False) -> Manifest:
        """See `prepare`."""
        return prepare(self.name, partial=partial, again=again, progress=progress)

    def verify(self, progress: Progress = silent) -> Manifest:
        """Compare every event's values with the digest in the manifest; see `DataSource.verify`."""
        manifest = _ready(self.name)
        for i, (event, sha256) in enumerate(zip(read(self.name), manifest.sha256, strict=True)):
            if _digest(event.values) != sha256:
                raise BenchError(
                    f"{_place(self.name) / _file(i)}: is not what was prepared:"
                    f" bench data prepare {self.name} --again"
                )
            progress(f"{self.name}: events", i + 1, len(manifest.events))
        return manifest


def data_source(name: str) -> DataSource:
    """One source of the copy as an entry of the catalogue."""
    return RadarSource(name)


def missing(name: str) -> str | None:
    """Why a source cannot be read here and what to do about it, or None. Cheap."""

    def otherwise() -> str:
        why = _absent(name)
        return f"{why}, then" if why else f"{_folder(name)} is not prepared"

    why = packages.missing(name, {"h5netcdf": (), "h5py": ()})
    return unprepared(name, lambda: _manifest(name), VERSION, otherwise) or why


def _absent(name: str) -> str | None:
    if _folder(name).is_dir():
        return None
    layout = CATALOG[name].layout
    return (
        f"no folder {_folder(name)} (${VARIABLE}/{CATALOG[name].place}/{LAYOUTS[name].below}):"
        f" bench data fetch pysteps-data, or put your copy there as {layout}"
    )


def read(name: str) -> tuple[xr.DataArray, ...]:
    """The events of a source, (time, component, y, x) in mm/h; read once a process.

    Raises:
        BenchError: it is not here, not prepared, or cannot be read.
    """
    manifest = _ready(name)
    return _read(_place(name), name, manifest.sha256)


@lru_cache(maxsize=2)
def _read(place: Path, name: str, sha256: tuple[str, ...]) -> tuple[xr.DataArray, ...]:
    # ``sha256`` is part of the cache's key only: data that were prepared again are read again.
    import xarray as xr

    try:
        stored = [xr.load_dataarray(place / _file(i), engine="h5netcdf") for i in range(len(sha256))]
    except (OSError, ValueError) as e:
        raise BenchError(f"{place}: cannot be read: {e}: bench data prepare {name} --again") from e
    for event in stored:
        event.name = event.attrs.pop("event")
    return tuple(stored)


# -------------------------------------------------------------------------------------------------- preparing


@dataclass(frozen=True, slots=True)
class _Frame:
    """A file of the copy: the time of its frame, and what tells apart frames of one time."""

    path: Path
    product: str
    time: datetime


def prepare(
    name: str, *, partial: bool = False, again: bool = False, progress: Progress = silent
) -> Manifest:
    """Make a source ready, whole or not at all.

    Args:
        name: of the source.
        partial: accept fewer frames than the published copy has.
        again: prepare it although it has been done.
        progress: is called with the number of frames that are read.

    Raises:
        BenchError: the copy or a package is missing, too many frames cannot be read, or frames are missing.
    """
    if not again and missing(name) is None:
        return _manifest(name)
    layout = LAYOUTS[name]
    if why := _absent(name) or packages.missing(name, {**layout.needs, "h5netcdf": (), "h5py": ()}, "radar"):
        raise BenchError(why if why.startswith(name) else f"{name}: {why}")
    listed, left_out = _listed(name)
    if not listed:
        raise BenchError(f"{name}: no file {CATALOG[name].layout} below {CATALOG[name].folder}")
    whole = layout.frames is None or len(listed) >= layout.frames
    if not whole and not partial:
        raise BenchError(
            f"{name}: {len(listed)} frames in {_folder(name)}, the published copy has {layout.frames}:"
            f" bench data fetch pysteps-data, or bench data prepare {name} --partial"
        )
    kept = root() / "prepared" / f".{name}-frames"
    if again:
        shutil.rmtree(kept, ignore_errors=True)
    decoded: list[tuple[_Frame, np.ndarray]] = []
    for i, frame in enumerate(listed):
        try:
            decoded.append((frame, _kept(kept, frame.path, layout)))
        except BenchError as e:
            left_out.append(str(e))
        progress(f"{name}: frames", i + 1, len(listed))
    unread = len(listed) - len(decoded)
    if unread > MOST_LEFT_OUT * len(listed):
        reasons = "\n".join(left_out)
        raise BenchError(f"{name}: {unread} of {len(listed)} frames cannot be read:\n{reasons}")
    manifest = _written(name, [_event(layout, part) for part in _events(decoded)], left_out, whole)
    shutil.rmtree(kept, ignore_errors=True)
    return manifest


def _listed(name: str) -> tuple[list[_Frame], list[str]]:
    """Frames in use, in the order of their product and time, and the files that are not of this layout."""
    layout, folder, found, foreign = LAYOUTS[name], _folder(name), [], []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        try:
            match = layout.pattern.fullmatch(path.relative_to(folder).as_posix())
            if match is None:
                foreign.append(f"{path}: is no file of this layout, {CATALOG[name].layout}")
                continue
            time = layout.when(match)
        except ValueError as e:
            foreign.append(f"{path}: its name has no time: {e}")
            continue
        if layout.minutes is None or time.minute % layout.minutes == 0:
            found.append(_Frame(path, match.groupdict().get("product", name), time))
    return sorted(found, key=lambda f: (f.product, f.time)), foreign


def _kept(folder: Path, path: Path, layout: Layout) -> np.ndarray:
    """A decoded frame: as an earlier try left it in a folder, or decoded now and left there.

    Raises:
        BenchError: the frame cannot be decoded, or the folder cannot be written.
    """
    import numpy as np

    stat = path.stat()
    # A frame that was replaced, or other rules, make another name: what was kept is then not found.
    name = digest([VERSION, layout.box, str(path), stat.st_size, stat.st_mtime_ns])
    place = folder / f"{name}.npy"
    try:
        found: np.ndarray = np.load(place)
        return found
    except (OSError, ValueError):  # there is none, or the one there is was not written to its end
        found = _decoded(path, layout)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        np.save(place, found)
    except OSError as e:
        raise BenchError(f"{folder}: cannot be written: {e.strerror or e}") from e
    return found


def _decoded(path: Path, layout: Layout) -> np.ndarray:
    """One frame in mm/h, averaged over boxes.

    Raises:
        BenchError: the file is damaged, or of another kind; names it.
    """
    import numpy as np

    try:
        rain = layout.decode(path)
    except BenchError:
        raise
    # What decodes raises whatever it likes, from EOFError to errors of its own; the file is at fault.
    except Exception as e:
        raise BenchError(f"{path}: cannot be decoded: {type(e).__name__}: {e}") from e
    if rain.shape != layout.shape:
        raise BenchError(f"{path}: has {rain.shape} cells, expected {layout.shape}")
    if not np.isfinite(rain).any():
        raise BenchError(f"{path}: no cell was observed")
    if np.nanmin(rain) < 0:
        raise BenchError(f"{path}: has negative rain, {np.nanmin(rain):.3g} mm/h")
    return frames.boxes(rain, layout.box)


def _events(decoded: Iterable[tuple[_Frame, np.ndarray]]) -> list[list[tuple[_Frame, np.ndarray]]]:
    """Frames of one product that follow each other, each with its values."""
    found: list[list[tuple[_Frame, np.ndarray]]] = []
    for frame, values in decoded:
        last = found[-1][-1][0] if found else None
        if last is None or last.product != frame.product or frame.time - last.time > _EVENT:
            found.append([])
        found[-1].append((frame, values))
    return found


def _event(layout: Layout, part: Sequence[tuple[_Frame, np.ndarray]]) -> xr.DataArray:
    import numpy as np

    values = np.stack([v for _, v in part])[:, None]
    x, y = (
        corner + size * layout.box * (np.arange(n) + 0.5)
        for corner, size, n in zip(layout.corner, layout.cell, values.shape[:1:-1], strict=True)
    )
    first = part[0][0]
    times = np.array([frame.time for frame, _ in part], "datetime64[ns]")
    name = f"{first.product} {first.time:%Y-%m-%d %H:%M}"
    return frames.event(values, name=name, units="mm/h", components=("rain",), time=times, y=y, x=x)


def _written(name: str, events: Sequence[xr.DataArray], left_out: Sequence[str], whole: bool) -> Manifest:
    """Write the events and their manifest, whole or not at all."""
    place, work = _place(name), root() / "prepared" / f".{name}"
    manifest = Manifest(
        name=name, version=VERSION, events=tuple(str(e.name) for e in events),
        counts=tuple(e.sizes["time"] for e in events), left_out=tuple(left_out),
        sha256=tuple(_digest(e.values) for e in events), whole=whole,
    )  # fmt: skip
    shutil.rmtree(work, ignore_errors=True)  # of a killed process
    try:
        work.mkdir(parents=True)
        for i, event in enumerate(events):
            packing = {"zlib": True, "complevel": 1, "shuffle": True}
            # "rain" inside the file, since NetCDF has no names with a slash; the event's own is an attribute.
            stored = event.rename("rain").assign_attrs(event=str(event.name))
            stored.to_netcdf(work / _file(i), engine="h5netcdf", encoding={"rain": packing})
        (work / _MANIFEST).write_text(json.dumps(asdict(manifest), indent=1) + "\n", encoding="utf-8")
        # The old one goes first: for a moment there is none, never a mixture.
        shutil.rmtree(place, ignore_errors=True)
        work.rename(place)
    except OSError as e:
        raise BenchError(f"{place}: cannot be written: {e.strerror or e}") from e
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return manifest


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()


def _file(number: int) -> str:
    return f"event-{number}.nc"


def _folder(name: str) -> Path:
    return CATALOG[name].folder / LAYOUTS[name].below


def _place(name: str) -> Path:
    return root() / "prepared" / name


def _ready(name: str) -> Manifest:
    if why := missing(name):
        raise BenchError(why)
    return _manifest(name)


def _manifest(name: str) -> Manifest:
    return read_manifest(_place(name) / _MANIFEST, Manifest)
