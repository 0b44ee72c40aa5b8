"""Large data sets of fields, converted once to Zarr: streamed, whole or not at all, with a manifest.

Below ``$BENCH_DATA/prepared/<name>`` lie a Zarr group for each event and ``manifest.json``. Events are
opened, not loaded: only what is asked for is read. Files that cannot be read are named in the manifest and
left out; with more than 5 % of them the preparation stops.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import packages
from bench.contract import BenchError, digest
from bench.data.catalog import root
from bench.data.fields import frames
from bench.data.preparing import Progress, read_manifest, silent, unprepared

if TYPE_CHECKING:
    import xarray as xr

#: More than this share of unreadable files stops a preparation.
MOST_LEFT_OUT = 0.05
_MANIFEST = "manifest.json"
_NEEDS = {"zarr": ()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a prepared folder holds.

    Attributes:
        name: of the data set.
        version: of the rules by which it was made.
        events: their names.
        counts: number of frames of each event.
        left_out: files that could not be read to their end, each with the reason.
        sha256: of each event's values.
    """

    name: str
    version: int
    events: tuple[str, ...]
    counts: tuple[int, ...]
    left_out: tuple[str, ...]
    sha256: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every file could be read; how many were published is not known."""
        return not self.left_out

    def summary(self) -> str:
        """What was prepared, and what was left out."""
        events = ", ".join(f"{e}: {n:,} frames" for e, n in zip(self.events, self.counts, strict=True))
        found = f"{self.name}: {sum(self.counts):,} frames in {len(self.events)} events ({events})"
        return found + "".join(f"\n{self.name}: left out: {why}" for why in self.left_out)


@dataclass(slots=True)
class Files:
    """The files of a preparation: how many there are, which of them could not be read, and why."""

    name: str
    total: int
    progress: Progress = silent
    left_out: list[str] = field(default_factory=list)
    done: int = 0

    def each(
        self, paths: Sequence[Path], read: Callable[[Path], Iterator[xr.DataArray]]
    ) -> Iterator[xr.DataArray]:
        """The pieces of some files, one file after another. What is read of a damaged file before its damage
        counts, the rest is left out.

        Raises:
            BenchError: more than `MOST_LEFT_OUT` of all files cannot be read; names them.
        """
        for path in paths:
            try:
                found = False
                for piece in read(path):
                    found = True
                    yield piece
                if not found:
                    raise ValueError("holds no frame that is in use")
            except BenchError:
                raise
            # What decodes raises whatever it likes; the file is at fault.
            except Exception as e:
                frames.let_go(e)
                self.left_out.append(f"{path}: {type(e).__name__}: {e}")
                if len(self.left_out) > MOST_LEFT_OUT * self.total:
                    reasons = "\n".join(self.left_out)
                    raise BenchError(
                        f"{self.name}: {len(self.left_out)} of {self.total} files cannot be read:\n{reasons}"
                    ) from e
            self.done += 1
            self.progress(f"{self.name}: files", self.done, self.total)


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A data set that is converted, as an entry of the catalogue.

    Attributes:
        name: its name.
        version: of the rules; raised when one changes.
        absent: why the originals are not here, or None. Cheap.
        events: name -> its pieces, each (time, component, y, x) with the attributes of the event; given a
            `Files` that still has no total.
        needs: distributions that read the originals.
        chunk: (time, y, x) of what is read at once.
        packing: how values are written, as xarray has it.
    """

    name: str
    version: int
    absent: Callable[[], str | None]
    events: Callable[[Files], Mapping[str, Iterable[xr.DataArray]]]
    needs: Mapping[str, tuple[str, ...]]
    chunk: tuple[int, int, int]
    packing: Mapping[str, Any] = field(default_factory=dict)

    def missing(self) -> str | None:
        """See `DataSource.missing`."""

        def otherwise() -> str:
            why = self.absent()
            return f"{why}, then" if why else "is not prepared"

        why = packages.missing(self.name, _NEEDS, "paper")
        return unprepared(self.name, self._manifest, self.version, otherwise) or why

    def fingerprint(self) -> str:
        """See `DataSource.fingerprint`; of the values alone, wherever the files lie that were left out."""
        m = self._manifest()
        return digest([m.name, m.version, m.events, m.counts, m.sha256])

    def prepare(self, progress: Progress = silent, *, partial: bool = False, again: bool = False) -> Manifest:
        """Convert the data set, whole or not at all; see `DataSource.prepare`."""
        if not again and self.missing() is None:
            return self._manifest()
        if why := self.absent():
            raise BenchError(f"{self.name}: {why}")
        if why := packages.missing(self.name, {**_NEEDS, **self.needs}, "paper"):
            raise BenchError(why)
        work, files = self._place.with_name(f".{self.name}"), Files(self.name, 0, progress)
        shutil.rmtree(work, ignore_errors=True)  # of a killed process
        try:
            work.mkdir(parents=True)
            written = {name: self._write(work / name, pieces) for name, pieces in self.events(files).items()}
            manifest = Manifest(
                name=self.name, version=self.version, events=tuple(written),
                counts=tuple(n for n, _ in written.values()), left_out=tuple(files.left_out),
                sha256=tuple(sha for _, sha in written.values()),
            )  # fmt: skip
            (work / _MANIFEST).write_text(json.dumps(asdict(manifest), indent=1) + "\n", encoding="utf-8")
            # The old one goes first: for a moment there is none, never a mixture.
            shutil.rmtree(self._place, ignore_errors=True)
            work.rename(self._place)
        except OSError as e:
            raise BenchError(f"{self._place}: cannot be written: {e.strerror or e}") from e
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return manifest

    def _write(self, place: Path, pieces: Iterable[xr.DataArray]) -> tuple[int, str]:
        """Write an event piece by piece; returns the number of its frames and the digest of its values."""
        import numpy as np

        count, sha = 0, hashlib.sha256()
        for piece in pieces:
            # Names of components are an attribute: Zarr 3 has no type for words that all readers know.
            named = piece.assign_attrs(components=piece["component"].values.tolist())
            stored = named.drop_vars("component").rename("values").to_dataset()
            if not count:
                size = tuple(min(n, piece.sizes[d]) for n, d in zip(self.chunk[1:], ("y", "x"), strict=True))
                chunks = (self.chunk[0], piece.sizes["component"], *size)
                encoding = {"values": {"chunks": chunks, **self.packing}}
                if piece["time"].dtype.kind == "M":
                    encoding["time"] = {"units": "seconds since 1970-01-01", "dtype": "int64"}
                stored.to_zarr(place, zarr_format=3, consolidated=False, encoding=encoding)
            else:
                stored.to_zarr(place, append_dim="time", zarr_format=3, consolidated=False)
            sha.update(np.ascontiguousarray(piece.to_numpy(), np.float32).tobytes())
            count += piece.sizes["time"]
        if not count:
            raise BenchError(f"{self.name}: {place.name}: no frame could be read")
        return count, sha.hexdigest()

    def read(self) -> tuple[xr.DataArray, ...]:
        """The events, opened.

        Raises:
            BenchError: the data set is not here, not prepared, or cannot be read.
        """
        import xarray as xr

        if why := self.missing():
            raise BenchError(why)
        found = []
        for name in self._manifest().events:
            try:
                opened = xr.open_zarr(self._place / name, consolidated=False, chunks=None)["values"]
            except (OSError, ValueError, KeyError) as e:
                raise BenchError(
                    f"{self._place / name}: cannot be read: {e}: bench data prepare {self.name} --again"
                ) from e
            if opened.dims != frames.DIMS:
                raise BenchError(f"{self._place / name}: has the dimensions {opened.dims}")
            components = opened.attrs.pop("components")
            found.append(opened.assign_coords(component=components).rename(name))
        return tuple(found)

    def verify(self, progress: Progress = silent) -> Manifest:
        """Compare every event's values with the digest in the manifest; see `DataSource.verify`."""
        import numpy as np

        manifest = self._manifest() if (why := self.missing()) is None else None
        if manifest is None:
            raise BenchError(str(why))
        for i, (event, sha256) in enumerate(zip(self.read(), manifest.sha256, strict=True)):
            sha = hashlib.sha256()
            for first in range(0, event.sizes["time"], self.chunk[0]):
                piece = event.isel(time=slice(first, first + self.chunk[0]))
                sha.update(np.ascontiguousarray(piece.to_numpy(), np.float32).tobytes())
            if sha.hexdigest() != sha256:
                raise BenchError(
                    f"{self._place / str(event.name)}: is not what was prepared:"
                    f" bench data prepare {self.name} --again"
                )
            progress(f"{self.name}: events", i + 1, len(manifest.events))
        return manifest

    @property
    def _place(self) -> Path:
        return root() / "prepared" / self.name

    def _manifest(self) -> Manifest:
        return read_manifest(self._place / _MANIFEST, Manifest)
