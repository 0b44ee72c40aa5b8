"""UK radar as DeepMind curated it for DGMR: sequences of 24 frames of 5 minutes on a grid of 1 km, mm/h.

The user's copy has the publisher's layout: ``<split>/<variant>/*.tfrecord.gz``, each record a sequence with
``radar``, int16 in 1/32 mm/h with -1 where nothing was observed, ``sample_prob``, the probability with which
its crop was drawn, and ``end_time_timestamp``. Of each split one variant is read: crops of 256 x 256 cells,
for test 512 x 512, of which the middle is scored. Rain is cut off at 128 mm/h, as the publisher does.
How many sequences there are was not found: a file that is there twice, or was written twice, is told by its
first sequence, which stands once in a part.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.catalog import CATALOG, VARIABLE
from bench.data.fields import tfrecord
from bench.data.fields.converted import Converted, Files
from bench.data.source import DataSource

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

#: Raise when a rule changes: what was prepared before is then prepared again.
VERSION = 1
NAME = "nimrod"
#: Part of the data -> folder of its files, and cells a side.
VARIANTS: Mapping[str, tuple[str, int]] = {
    "train": ("train/random_crops_256", 256),
    "val": ("valid/subsampled_tiles_256_20min_stride", 256),
    "test": ("test/subsampled_overlapping_padded_tiles_512_20min_stride", 512),
}
FRAMES, MINUTES = 24, 5
#: Ends of sequences, in seconds since 1970: the years 2000 and 2100.
YEARS = (946_684_800, 4_102_444_800)
#: Codes of one mm/h, and of what was not observed; rain is cut off at this many mm/h.
PER_MM, MASKED, MOST = 32, -1, 128
#: Sequences that are written at once.
_BATCH = 8


def data_source(name: str) -> DataSource:
    """The sequences as an entry of the catalogue."""
    return _converted()


def read(name: str = NAME) -> tuple[xr.DataArray, ...]:
    """The parts train, val and test, opened; sequences lie one after another along time.

    The attribute ``part`` names the part, ``sequence`` the frames of a sequence; ``sample_prob`` is a
    coordinate along time.
    """
    return _converted().read()


def _converted() -> Converted:
    packing = {"dtype": "int16", "scale_factor": 1 / PER_MM, "_FillValue": MASKED}
    return Converted(
        name=NAME, version=VERSION, absent=_absent, events=_events, needs={}, chunk=(FRAMES, 512, 512),
        packing=packing,
    )  # fmt: skip


def _files(part: str) -> list[Path]:
    return sorted((CATALOG[NAME].folder / VARIANTS[part][0]).glob("*.tfrecord.gz"))


def _absent() -> str | None:
    for part, (folder, _) in VARIANTS.items():
        if not _files(part):
            dataset = CATALOG[NAME]
            return (
                f"no file *.tfrecord.gz in {dataset.folder / folder} (${VARIABLE}/{dataset.place}/{folder}):"
                f" get it from {dataset.get}"
            )
    return None


def _events(files: Files) -> dict[str, Iterator[xr.DataArray]]:
    found = {part: _files(part) for part in VARIANTS}
    files.total = sum(map(len, found.values()))
    return {part: files.each(paths, partial(_pieces, part=part, firsts={})) for part, paths in found.items()}


def _pieces(path: Path, part: str, firsts: dict[bytes, Path]) -> Iterator[xr.DataArray]:
    """Some sequences of a file at a time, after each other along time.

    ``firsts``: the files of the part that were read before, by the digests of their first sequences.
    """
    batch: list[tuple[np.ndarray, np.ndarray, float]] = []
    damage = None
    try:
        for number, example in enumerate(tfrecord.examples(path)):
            if other := firsts.get(mark := _digest(example)):
                raise ValueError(f"record {number}: is the first of {other.name}: a copy, or written twice")
            if not number:
                firsts[mark] = path
            try:
                batch.append(_sequence(example, VARIANTS[part][1]))
            except (KeyError, IndexError) as e:
                raise ValueError(f"record {number}: lacks radar, sample_prob or end_time_timestamp") from e
            except ValueError as e:
                raise ValueError(f"record {number}: {e}") from e
            if len(batch) == _BATCH:
                yield _joined(batch, part)
                batch = []
    except (ValueError, OSError, EOFError, zlib.error) as e:
        damage = e
    if batch:
        yield _joined(batch, part)  # what came before a damage is whole
    if damage is not None:
        raise damage


def _digest(example: Mapping[str, tfrecord.Feature]) -> bytes:
    """Equal for equal sequences of equal places and times."""
    sha = hashlib.sha256()
    for name, values in sorted(example.items()):
        sha.update(f"{name} {len(values)} ".encode())
        for value in values:
            sha.update(value if isinstance(value, bytes) else f"{value} ".encode())
    return sha.digest()


def _sequence(example: Mapping[str, tfrecord.Feature], side: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Rain (24, 1, side, side) in mm/h, the times of its frames, and the probability of its crop.

    Raises:
        ValueError: it is no sequence of this form. KeyError: a feature is missing.
    """
    import numpy as np

    raw = example["radar"][0]
    codes = np.frombuffer(raw if isinstance(raw, bytes) else b"", "<i2")
    if codes.size != FRAMES * side * side:
        raise ValueError(f"has {codes.size:,} cells, expected {FRAMES} x {side} x {side}")
    if codes.min() < MASKED:
        raise ValueError(f"has the code {codes.min()}, expected {MASKED} or more, in 1/{PER_MM} mm/h")
    drawn = float(example["sample_prob"][0])
    if not 0 < drawn <= 1:
        raise ValueError(f"has sample_prob {drawn:g}, expected above 0 and at most 1")
    rain = np.minimum(codes.astype(np.float32) / PER_MM, MOST)
    rain[codes == MASKED] = np.nan
    # Assumed: seconds since 1970 of the last frame; the publisher's notebook does not say.
    seconds = float(example["end_time_timestamp"][0])
    if not YEARS[0] <= seconds < YEARS[1]:
        raise ValueError(f"has end_time_timestamp {seconds:g}, expected seconds since 1970")
    end = np.datetime64(int(seconds), "s")
    times = end - np.arange(FRAMES - 1, -1, -1) * np.timedelta64(MINUTES, "m")
    return rain.reshape(FRAMES, 1, side, side), times.astype("datetime64[ns]"), drawn


def _joined(batch: list[tuple[np.ndarray, np.ndarray, float]], part: str) -> xr.DataArray:
    import numpy as np
    import xarray as xr

    rain, times, drawn = zip(*batch, strict=True)
    side = rain[0].shape[-1]
    return xr.DataArray(
        np.concatenate(rain),
        {
            "time": np.concatenate(times), "component": ["rain"], "y": np.arange(side), "x": np.arange(side),
            "sample_prob": ("time", np.repeat(np.array(drawn, np.float32), FRAMES)),
        },
        ("time", "component", "y", "x"), part,
        {"units": "mm/h", "part": part, "sequence": FRAMES, "step": MINUTES, "step_unit": "minutes"},
    )  # fmt: skip
