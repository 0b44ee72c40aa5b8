"""Records as files to be read by others: sorted, small in a diff, without a private name; and back again."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from bench.contract import BenchError, Record, Stage, Units
from bench.store.artifacts import check_artifact, check_content, unpack_units, unpack_view
from bench.store.files import LocalFiles, StoreError, check_key
from bench.store.summaries import PUBLISHED, RecordSummary, StringTable, summary_of
from bench.store.encoding import NewerError, check_shape, parse, record_of
from bench.store.shape import ShapeError

if TYPE_CHECKING:
    import numpy as np

    from bench.store.committed.layers import Layered
    from bench.store.records import Store

_DIGITS = 9
_HOME = re.compile(r"/(?:home|Users)/[^/\s:'\"]+|(?<![\w./])/root(?=/)")
_ORDER = {f.name: i for i, f in enumerate(fields(Record))}
_EXACT = (
    "key",
    "cell",
    "units",
    "views",
    "schema",
    "started",
    "ended",
)  # names and identities: never touched


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a published record keeps of what may be large.

    ``log_lines``: the last ones. ``points``: of a curve or a history, evenly spaced with both ends.
    ``series_numbers``: a longer series is left out. ``views``: pictures a record, of the first seed of a row
    on a task only. ``views_mb``: of pictures a track.
    """

    log_lines: int = 20
    points: int = 30
    series_numbers: int = 3000
    views: int = 4
    views_mb: float = 2.0


@dataclass(slots=True)
class PublishReport:
    """What `publish` wrote: files of records, how many records, bytes with sidecars, and what was left out,
    in words.
    """

    files: list[Path] = field(default_factory=list)
    records: int = 0
    bytes: int = 0
    left_out: list[str] = field(default_factory=list)


def publish(
    store: Store | Layered, keys: Iterable[str], path: Path, limits: Limits | None = None
) -> PublishReport:
    """Write ``<path>/<track>.jsonl`` for each track among the records, and ``<path>/<track>/`` with their
    artifacts.

    One record a line, sorted by (task, row, seed), keys in a fixed order, floats with 9 significant digits,
    so that equal results give equal files. A track's file holds exactly the records given; its sidecar folder
    exactly the artifacts that they name. Records of stages have no track and are left out. Host names become
    the hardware label, home folders ``~``. A record that was published before (of a `Layered` store) is
    written as it was.

    Args:
        store: where the records are, alone or above those that were published before.
        keys: of the records to publish.
        path: ``results/<profile>``.
        limits: how much of the large things is kept.

    Raises:
        BenchError: a key has no record.
        StoreError: the files cannot be written.
    """
    limits = limits or Limits()
    report, heads = PublishReport(), store.summaries()
    tracks = _by_track(store, heads, keys)
    for track, records in sorted(tracks.items()):
        lines: list[bytes] = []
        kept: set[str] = set()
        sidecar = path / check_key(track)
        try:
            views = _choose_views(store, records, limits, report)
            for record in records:
                chosen = {n: v for n, v in record.views.items() if v in views.get(record.key, ())}
                record = replace(record, views=chosen)
                public = _fields(record) if heads[record.key].layer else _public(record, limits, report)
                named = {*record.units.values(), *chosen.values(), *_codes(record.provenance)}
                for name in sorted(named):
                    data = _artifact(store, name, record, report)
                    if data is not None and name not in kept:
                        _write(sidecar / name, data)
                        report.bytes += len(data)
                        kept.add(name)
                lines.append(orjson.dumps(public) + b"\n")
            for old in sidecar.glob("sha256-*"):
                if old.name not in kept:
                    old.unlink()
            target = path / f"{track}.jsonl"
            _write(target, b"".join(lines))
        except OSError as error:
            raise StoreError(f"cannot publish {track} to {path}: {error.strerror or error}") from error
        report.files.append(target)
        report.records += len(lines)
        report.bytes += sum(map(len, lines))
    return report


def _by_track(
    store: Store | Layered, heads: Mapping[str, RecordSummary], keys: Iterable[str]
) -> dict[str, list[Record]]:
    """The cells' records by track, each list sorted by (task, row, seed)."""
    tracks: dict[str, list[Record]] = {}
    for key in sorted(set(keys)):
        record = store.read(key) if key in heads else None
        if record is None:
            near = ", ".join(get_close_matches(key, heads, n=3))
            raise BenchError(f"no record {key} in {store.url}" + (f"; near: {near}" if near else ""))
        if record.kind == "cell":
            tracks.setdefault(record.cell["track"], []).append(record)
    for records in tracks.values():
        records.sort(key=lambda r: (r.cell["task"], r.cell["row"], r.cell["seed"], r.key))
    return tracks


def _choose_views(
    store: Store | Layered, records: list[Record], limits: Limits, report: PublishReport
) -> dict[str, tuple[str, ...]]:
    """Pictures by record: of the first seed of a row on a task, in order, as long as the track's share
    lasts.
    """
    left = int(limits.views_mb * 2**20)
    seen: set[tuple[str, str]] = set()
    chosen: dict[str, tuple[str, ...]] = {}
    held: set[str] = set()
    dropped = 0
    for record in records:
        at = record.cell["task"], record.cell["row"]
        names = list(record.views.values())[: limits.views] if at not in seen else []
        if record.views:
            seen.add(at)
        kept = []
        for name in names:
            data = _artifact(store, name, record, report)
            size = (
                0 if data is None or name in held else len(data)
            )  # a sheet that many records show is one file
            if data is not None and size <= left:
                kept.append(name)
                held.add(name)
                left -= size
        dropped += len(record.views) - len(kept)
        chosen[record.key] = tuple(kept)
    if dropped:
        report.left_out.append(f"{dropped} views of {records[0].cell['track']}")
    return chosen


def _artifact(store: Store | Layered, name: str, record: Record, report: PublishReport) -> bytes | None:
    try:
        return store.artifacts.get(name)
    except StoreError:
        raise
    except (
        BenchError
    ) as error:  # absent or damaged: the record is published without it, and the report says so
        said = f"{record.key}: {error}"
        if said not in report.left_out:
            report.left_out.append(said)
        return None


def _public(record: Record, limits: Limits, report: PublishReport) -> dict[str, Any]:
    """A record as the plain values that are published."""
    series = {}
    for name, values in record.series.items():
        if _numbers(values) <= limits.series_numbers:
            series[name] = values
        else:
            report.left_out.append(f"{record.key}: series {name} ({_numbers(values)} numbers)")
    shorter = replace(
        record,
        series=series,
        curve=_thin(record.curve, limits.points),
        history=_thin(record.history, limits.points),
        log=list(record.log)[-limits.log_lines :] if limits.log_lines else [],
        where={**record.where, "host": record.where.get("label", "")} if record.where else {},
    )
    hosts, label = _hosts(record), str(record.where.get("label", ""))
    public = {
        name: _sorted(value) if name in _EXACT else _clean(value, hosts, label)
        for name, value in _fields(shorter).items()
    }
    if ran_with := record.provenance.get("ran_with"):  # compared by value, so not rounded
        public["provenance"]["ran_with"] = _sorted(ran_with)
    return public


def _fields(record: Record) -> dict[str, Any]:
    """What a record says, in the fixed order, without what is empty."""
    values = {name: getattr(record, name) for name in _ORDER}
    if not record.generation:  # the first of its cell, as nearly all are
        del values["generation"]
    return {n: v for n, v in values.items() if v not in ({}, [], (), "") or n == "cell"}


def _codes(made: Mapping[str, Any]) -> set[str]:
    """The lists of definitions that a record's provenance names."""
    return {str(name) for name in (made.get("code", ""), *made.get("built_by", {}).values()) if name}


def _hosts(record: Record) -> re.Pattern[str] | None:
    """A pattern for the names of the machines a record may mention."""
    full = {str(record.where.get("host", "")), platform.node()}
    names = {n for f in full for n in (f, f.partition(".")[0]) if len(n) > 2 and n != "localhost"}
    if not names:
        return None
    return re.compile(
        rf"(?<![\w-])(?:{'|'.join(re.escape(n) for n in sorted(names, key=len, reverse=True))})(?![\w-])"
    )


def as_published(value: Any) -> Any:
    """A value of a record as it is published: floats with so many digits as count."""
    return _clean(value, None, "")


def _clean(value: Any, hosts: re.Pattern[str] | None, label: str) -> Any:
    """Floats rounded, mappings sorted, private names out of texts."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, str):
        text = _HOME.sub("~", value)
        return hosts.sub(lambda _: label or "host", text) if hosts else text
    if isinstance(value, Mapping):
        return {k: _clean(value[k], hosts, label) for k in sorted(value)}
    if isinstance(value, list | tuple):
        return [_clean(v, hosts, label) for v in value]
    return value


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _sorted(value[k]) for k in sorted(value)}
    return [_sorted(v) for v in value] if isinstance(value, list | tuple) else value


def _thin(given: Sequence[Any], most: int) -> list[Any]:
    points = list(given)
    if len(points) <= most:
        return points
    if most < 2:
        return points[-most:] if most else []
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def _numbers(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(_numbers(v) for v in value.values())
    return sum(_numbers(v) for v in value) if isinstance(value, list | tuple) else 1


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_bytes(data)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


# ----------------------------------------------------------------------------------------------- reading back


class Sidecars:
    """The artifacts beside published records: those of ``<track>.jsonl`` are in ``<track>/``."""

    def __init__(self, files: Sequence[Path], folder: Path) -> None:
        self._folders = [f.with_suffix("") for f in files]
        self._folder = folder

    def get(self, name: str) -> bytes:
        """The bytes of that name, verified; `BenchError` if they are absent or damaged."""
        check_artifact(name)
        for path in (f / name for f in self._folders):
            if path.is_file():
                return check_content(name, path.read_bytes())
        raise BenchError(f"no artifact {name} beside the records in {self._folder}")

    def units(self, name: str) -> Units:
        """Per-example scores."""
        return unpack_units(self.get(name), name)

    def view(self, name: str) -> np.ndarray:
        """A picture, uint8 (height, width, 3)."""
        return unpack_view(self.get(name), name)

    def stage_digest(self, stage: Stage) -> str | None:
        """None: records are published without the stages that they read."""
        return None

    def has_shard(self, address: str, shard: int) -> bool:
        """False: records are published without the stages that they read."""
        return False


class CommittedRecords:
    """Published records, read as a store is: ``summaries()``, ``read(key)``, ``artifacts``, ``problems``."""

    def __init__(self, files: Sequence[Path], folder: Path) -> None:
        self.url = str(folder)
        self.artifacts = Sidecars(files, folder)
        self.problems: list[str] = []
        self._folder = folder
        self._heads: dict[str, RecordSummary] = {}
        pool = StringTable()
        for file in files:
            offset, name = 0, str(file.relative_to(folder))
            try:
                lines = _content(file).splitlines(keepends=True)
            except OSError as error:
                self.problems.append(f"{file} is left out: {error.strerror or error}")
                continue
            for number, line in enumerate(lines, 1):
                try:
                    raw = parse(line)
                    check_shape(raw)
                    head = summary_of(raw, pool, name, offset, len(line))
                    head.layer = PUBLISHED
                except (ShapeError, NewerError) as error:
                    self.problems.append(f"{file}:{number} is left out: {error}")
                else:
                    if head.key not in self._heads or head.rank() > self._heads[head.key].rank():
                        self._heads[head.key] = head
                offset += len(line)

    def summaries(self) -> dict[str, RecordSummary]:
        """The record of each key as a `RecordSummary`."""
        return dict(self._heads)

    def read(self, key: str) -> Record | None:
        """The whole published record of a key, None if there is none; `BenchError` if its file was changed
        meanwhile.
        """
        if (head := self._heads.get(key)) is None:
            return None
        try:
            raw = parse(_content(self._folder / head.file, head.offset, head.size))
            check_shape(raw, key)
        except (OSError, ShapeError, NewerError) as error:
            raise BenchError(f"{self._folder / head.file} has changed since it was read: {error}") from error
        return record_of(raw)


def _content(path: Path, start: int = 0, size: int | None = None) -> bytes:
    """Bytes of a file; OSError for whatever is none, a pipe too."""
    return LocalFiles(path.parent).read(path.name, start, size)


def load_committed(path: Path) -> CommittedRecords:
    """Published records of a profile (a folder) or of one track (a ``.jsonl`` file).

    Raises:
        BenchError: there is no such file, or no ``.jsonl`` file in the folder.
    """
    if path.is_file():
        return CommittedRecords([path], path.parent)
    files = sorted(path.glob("*.jsonl"))
    if not files:
        raise BenchError(
            f"{path}: no published records here (expected <track>.jsonl files, from `bench publish`)"
        )
    return CommittedRecords(files, path)


# -------------------------------------------------------------------------------------------------- accepting


def rewrite(file: Path, records: Iterable[Record], listings: Mapping[str, bytes]) -> Path:
    """Put records in the place of the published ones of their keys; all else stays as it is.

    Args:
        file: ``results/<profile>/<track>.jsonl``.
        records: of that track.
        listings: what the code of these is, by name.

    Raises:
        StoreError: the file cannot be read or written.
    """
    mine = {record.key: record for record in records}
    sidecar = file.with_suffix("")
    try:
        lines, named = [], set[str]()
        for line in file.read_bytes().splitlines(keepends=True):
            raw = parse(line)
            if raw["key"] in mine:
                raw = _fields(mine[raw["key"]])
                line = orjson.dumps(raw) + b"\n"
            named |= _codes(raw.get("provenance", {}))
            lines.append(line)
        for name in named & listings.keys():
            _write(sidecar / name, listings[name])
        _write(file, b"".join(lines))
        for old in sidecar.glob("sha256-*.json"):
            if old.name not in named:
                old.unlink()
    except (OSError, ShapeError, NewerError) as error:
        raise StoreError(f"cannot rewrite {file}: {error}") from error
    return file
