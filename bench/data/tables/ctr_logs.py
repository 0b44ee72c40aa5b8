"""Click logs that the user provides, Criteo and Avazu: their rules, and the prepared form to train on.

`ctr_prepare` makes the prepared form once, from the raw file: a folder ``prepared`` beside it with
``x.npy`` (n, fields) int32, ``y.npy`` (n,) uint8 and ``manifest.json``. Rows stand in the order of the split:
training, then validation, then test, each a contiguous slice of a memory map.

Rules as in the released code of the multi-embedding paper (arXiv 2310.04400; thuml/Multi-Embedding).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contract import BenchError, digest
from bench.data.anonymous import mapped
from bench.data.catalog import CATALOG, VARIABLE
from bench.data.preparing import read_manifest, unprepared

if TYPE_CHECKING:
    import numpy as np

#: Raise when a rule, an index or the split changes: what was prepared before is then prepared again.
VERSION = 1
#: Shares of training and validation rows; the rest is test. Seed of the permutation before the cut.
SHARES, SPLIT_SEED = (0.8, 0.1), 0
FOLDER, MANIFEST = "prepared", "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The columns of a raw file in its order, and which of them become fields.

    Attributes:
        columns: all columns.
        label: the column of the label.
        integers: fields of integers, which are put into buckets (`ctr_text.bucket`).
        values: fields whose values are taken as they stand.
        delimiter: the character between columns.
        header: whether the first line names the columns.
        rare: a value seen fewer times in the whole file shares index 0 of its field with all such values.
    """

    columns: tuple[str, ...]
    label: str
    integers: tuple[str, ...]
    values: tuple[str, ...]
    delimiter: str
    header: bool
    rare: int

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields in the order of the file."""
        return (*self.integers, *self.values)


_COUNTS = tuple(f"I{i}" for i in range(1, 14))
_HASHES = tuple(f"C{i}" for i in range(1, 27))
_AVAZU = (
    "hour", "C1", "banner_pos", "site_id", "site_domain", "site_category", "app_id", "app_domain",
    "app_category", "device_id", "device_ip", "device_model", "device_type", "device_conn_type",
    *(f"C{i}" for i in range(14, 22)),
)  # fmt: skip

LAYOUTS: Mapping[str, Layout] = {
    "criteo": Layout(
        columns=("label", *_COUNTS, *_HASHES), label="label", integers=_COUNTS, values=_HASHES,
        delimiter="\t", header=False, rare=10,
    ),
    "avazu": Layout(
        columns=("id", "click", *_AVAZU), label="click", integers=(), values=_AVAZU,
        delimiter=",", header=True, rare=4,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a prepared folder holds, and from what it was made.

    Attributes:
        version: of the rules by which it was made.
        dataset: name of the data set.
        rows, clicks: number of rows, and of those with label 1.
        fields, cardinalities: names of the fields, and the number of indices of each.
        parts: rows of training, validation and test.
        complete: whether the raw file had as many rows as the published data set.
        source_bytes, source_sha256: of the raw file.
        x_sha256, y_sha256: of the prepared files.
    """

    version: int
    dataset: str
    rows: int
    clicks: int
    fields: tuple[str, ...]
    cardinalities: tuple[int, ...]
    parts: tuple[int, int, int]
    complete: bool
    source_bytes: int
    source_sha256: str
    x_sha256: str
    y_sha256: str

    def summary(self) -> str:
        """What was prepared, beside what the paper prints."""
        sizes, expected = self.cardinalities, CATALOG[self.dataset].expected
        parts = ", ".join(f"{n:,}" for n in self.parts)
        lines = [
            f"{self.dataset}: {self.rows:,} rows ({parts}), {self.clicks / self.rows:.2%} clicked;"
            f" {len(self.fields)} fields",
            f"  indices: {sum(sizes):,} in all, {max(sizes):,} at most, {min(sizes):,} at least",
        ]
        if expected is not None:
            unit = expected.unit
            found = (round(sum(sizes) / unit) * unit, round(max(sizes) / unit) * unit, min(sizes))
            printed = (expected.total, expected.largest, expected.smallest)
            verdict = "the same" if found == printed and self.complete else "not the same"
            numbers = ", ".join(f"{n:,}" for n in printed)
            lines.append(f"  published: {expected.rows:,} rows; {numbers} ({expected.source}): {verdict}")
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """Write the manifest as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Log:
    """A prepared log, memory-mapped, in the order of the split: ``x`` (n, fields) int32, ``y`` (n,) uint8.

    The maps are copy-on-write: whoever changes one changes only their own view of it.
    """

    manifest: Manifest
    x: np.ndarray
    y: np.ndarray

    def parts(self, rows: int = 0) -> tuple[slice, slice, slice]:
        """The slices of training, validation and test.

        With ``rows`` below the number of training rows, each part is cut to the same share. The order is
        random already, so the first rows are a sample.
        """
        sizes = self.manifest.parts
        share = rows / sizes[0] if 0 < rows < sizes[0] else 1.0
        starts = (0, sizes[0], sizes[0] + sizes[1])
        sizes_now = (n if share == 1 else max(2, round(share * n)) for n in sizes)
        train, val, test = (slice(a, a + min(k, n)) for a, k, n in zip(starts, sizes_now, sizes, strict=True))
        return train, val, test


def missing(name: str) -> str | None:
    """Why a log cannot be trained on here and what to do about it, or None. Cheap."""
    dataset = CATALOG[name]
    assert dataset.file is not None
    raw = dataset.folder / dataset.file
    there = raw.is_file()

    def otherwise() -> str:
        return f"{raw} is not prepared" if there else f"{_absent(name)}, then"

    if why := unprepared(name, lambda: _manifest(name), VERSION, otherwise):
        return why
    before = _manifest(name).source_bytes
    if there and (size := raw.stat().st_size) != before:
        changed = f"{raw} has {size} bytes, {before} when it was prepared"
        return f"{name}: {changed}: bench data prepare {name}"
    return None


def raw_file(name: str) -> Path:
    """The raw file of a log.

    Raises:
        BenchError: it is not there; names the place where it was expected.
    """
    dataset = CATALOG[name]
    assert dataset.file is not None
    path = dataset.folder / dataset.file
    if not path.is_file():
        raise BenchError(f"{name}: {_absent(name)}")
    return path


def _absent(name: str) -> str:
    dataset = CATALOG[name]
    near = sorted(p.name for p in dataset.folder.glob("train*") if p.name != dataset.file)
    found = f", but {near[0]}: unpack or rename it, or" if near else ":"
    where = f"{dataset.folder} (${VARIABLE}/{name})"
    return f"no file {dataset.file} in {where}{found} get it from {dataset.get}"


def fingerprint(name: str) -> str:
    """16 hexadecimal digits over the manifest, which holds the digests of raw and prepared bytes. Cheap.

    They end in ``-part`` if the raw file was not the whole published data set.
    """
    manifest = _manifest(name)
    return digest(asdict(manifest)) + ("" if manifest.complete else "-part")


def read(name: str) -> Log:
    """Map a prepared log into memory; nothing is read yet.

    Raises:
        BenchError: it is not prepared, or its files are not those of its manifest.
    """
    import numpy as np

    if why := missing(name):
        raise BenchError(why)
    folder, manifest = CATALOG[name].folder / FOLDER, _manifest(name)
    shapes = {"x": (manifest.rows, len(manifest.fields)), "y": (manifest.rows,)}
    arrays = {}
    for part, dtype in (("x", np.int32), ("y", np.uint8)):
        path = folder / f"{part}.npy"
        try:
            arrays[part] = mapped(path, "c")
        except (OSError, ValueError) as e:
            raise BenchError(f"{path}: damaged ({e}): bench data prepare {name} --again") from e
        if arrays[part].shape != shapes[part] or arrays[part].dtype != dtype:
            raise BenchError(
                f"{path}: holds {arrays[part].dtype} {arrays[part].shape}, its manifest says"
                f" {np.dtype(dtype)} {shapes[part]}: bench data prepare {name} --again"
            )
    return Log(manifest, arrays["x"], arrays["y"])


def _manifest(name: str) -> Manifest:
    return read_manifest(CATALOG[name].folder / FOLDER / MANIFEST, Manifest)
