"""Writes records as files that are committed and read by others: sorted, small in a diff, without private
names.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from bench.contract import BenchError, Record
from bench.store.artifacts import artifact_name
from bench.store.committed import shared_names
from bench.store.committed.reading import DRAWS
from bench.store.draws import Draw, dump_many
from bench.store.encoding import NewerError, parse
from bench.store.files import StoreError, check_key
from bench.store.shape import ShapeError
from bench.store.summaries import RecordSummary

if TYPE_CHECKING:
    from bench.store.committed.layers import Layered
    from bench.store.records import Store

_DIGITS = 9
_HOME = re.compile(r"/(?:home|Users)/[^/\s:'\"]+|(?<![\w./])/root(?=/)")
#: Where an environment lies, in front of its packages, as warnings of theirs say it.
_INSTALLED = re.compile(r"(?<![\w./~-])/(?:[^/\s:'\"]+/)*(?=(?:site|dist)-packages/)")
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
    """How much of the large fields of a record is published.

    ``log_lines``: the last lines of the log. ``points``: of a curve or a history, evenly spaced, both ends
    among them. ``series_numbers``: a longer series is left out. ``views``: pictures of a record, for the
    first seed of a row on a task only. ``views_mb``: all pictures of a track.
    """

    log_lines: int = 20
    points: int = 30
    series_numbers: int = 3000
    views: int = 4
    views_mb: float = 2.0


@dataclass(slots=True)
class PublishReport:
    """What `publish` wrote: the files, the number of records, bytes with artifacts; and sentences on what was
    left out.
    """

    files: list[Path] = field(default_factory=list)
    records: int = 0
    bytes: int = 0
    left_out: list[str] = field(default_factory=list)


def publish(
    store: Store | Layered,
    keys: Iterable[str],
    path: Path,
    limits: Limits | None = None,
    draws: Iterable[Draw] = (),
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
        limits: how much of the large fields is published.
        draws: of the searches whose records are among these; in ``<path>/<track>.draws.json``.

    Raises:
        BenchError: a key has no record.
        StoreError: the files cannot be written.
    """
    limits, draws = limits or Limits(), list(draws)
    report, summaries = PublishReport(), store.summaries()
    tracks = _by_track(store, summaries, keys)
    for track, records in sorted(tracks.items()):
        lines: list[bytes] = []
        written: set[str] = set()
        sidecar = path / check_key(track)
        try:
            views = _choose_views(store, records, limits, report)
            for record in records:
                chosen = {n: v for n, v in record.views.items() if v in views.get(record.key, ())}
                record = replace(record, views=chosen)
                files = _files(store, record, chosen, report)
                record = replace(record, units={m: files.units.get(n, n) for m, n in record.units.items()})
                public = _fields(record) if summaries[record.key].layer else _public(record, limits, report)
                for name, data in sorted(files.contents.items()):
                    if name not in written:
                        _write(sidecar / name, data)
                        report.bytes += len(data)
                        written.add(name)
                lines.append(orjson.dumps(public) + b"\n")
            for old in sidecar.glob("sha256-*"):
                if old.name not in written:
                    old.unlink()
            target = path / f"{track}.jsonl"
            _write(target, b"".join(lines))
            drawn = [d for d in draws if d.track == track]
            if drawn:
                _write(target.with_suffix(DRAWS), dump_many(drawn))
            else:
                target.with_suffix(DRAWS).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot publish {track} to {path}: {error.strerror or error}") from error
        report.files.append(target)
        report.records += len(lines)
        report.bytes += sum(map(len, lines))
    return report


def _by_track(
    store: Store | Layered, summaries: Mapping[str, RecordSummary], keys: Iterable[str]
) -> dict[str, list[Record]]:
    """The cells' records by track, each list sorted by (task, row, seed)."""
    tracks: dict[str, list[Record]] = {}
    for key in sorted(set(keys)):
        record = store.read(key) if key in summaries else None
        if record is None:
            near = ", ".join(get_close_matches(key, summaries, n=3))
            raise BenchError(f"no record {key} in {store.url}" + (f"; near: {near}" if near else ""))
        if record.kind == "cell":
            tracks.setdefault(record.cell["track"], []).append(record)
    for records in tracks.values():
        records.sort(key=lambda r: (r.cell["task"], r.cell["row"], r.cell["seed"], r.key))
    return tracks


def _choose_views(
    store: Store | Layered, records: list[Record], limits: Limits, report: PublishReport
) -> dict[str, tuple[str, ...]]:
    """Record key -> its pictures that are published: for the first seed of a row on a task, in order, until
    the limit of the track is reached.
    """
    left = int(limits.views_mb * 2**20)
    seen: set[tuple[str, str]] = set()
    chosen: dict[str, tuple[str, ...]] = {}
    counted: set[str] = set()
    dropped = 0
    for record in records:
        at = record.cell["task"], record.cell["row"]
        names = list(record.views.values())[: limits.views] if at not in seen else []
        if record.views:
            seen.add(at)
        fits = []
        for name in names:
            data = _artifact(store, name, record, report)
            size = (
                0 if data is None or name in counted else len(data)
            )  # a sheet that many records show is one file
            if data is not None and size <= left:
                fits.append(name)
                counted.add(name)
                left -= size
        dropped += len(record.views) - len(fits)
        chosen[record.key] = tuple(fits)
    if dropped:
        report.left_out.append(f"{dropped} views of {records[0].cell['track']}")
    return chosen


class _Files(NamedTuple):
    """What is published beside a record: name -> content, and how scores by example are called there."""

    contents: dict[str, bytes]
    units: dict[str, str]


def _files(store: Store | Layered, record: Record, views: Mapping[str, str], report: PublishReport) -> _Files:
    """The files of a record, of its scores by example in two: the names of the examples are shared."""
    found = _Files({}, {})
    for name in sorted({*views.values(), *_codes(record.provenance)}):
        if (data := _artifact(store, name, record, report)) is not None:
            found.contents[name] = data
    for name in sorted({*record.units.values()}):
        if (data := _artifact(store, name, record, report)) is None:
            continue
        if other := shared_names.names_of(data, name):  # published before
            scores, names = data, _artifact(store, other, record, report)
        else:
            scores, names = shared_names.split(data)
        found.units[name] = artifact_name(scores, "npz")
        found.contents[found.units[name]] = scores
        if names is not None:
            found.contents[artifact_name(names, "npz")] = names
    return found


def _artifact(store: Store | Layered, name: str, record: Record, report: PublishReport) -> bytes | None:
    try:
        return store.artifacts.get(name)
    except StoreError:
        raise
    except (
        BenchError
    ) as error:  # absent or damaged: the record is published without it, and the report says so
        problem = f"{record.key}: {error}"
        if problem not in report.left_out:
            report.left_out.append(problem)
        return None


def _public(record: Record, limits: Limits, report: PublishReport) -> dict[str, Any]:
    """The fields of a record as they are published."""
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
    """The fields of a record in the fixed order, without those that are empty."""
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
    """A value of a record as it is published: floats with 9 significant digits."""
    return _clean(value, None, "")


def _clean(value: Any, hosts: re.Pattern[str] | None, label: str) -> Any:
    """Round floats, sort mappings; in strings, replace names of machines and home folders, and leave out what
    stands in front of installed packages.
    """
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, str):
        text = _HOME.sub("~", _INSTALLED.sub("", value))
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


# -------------------------------------------------------------------------------------------------- accepting


def rewrite(file: Path, records: Iterable[Record], listings: Mapping[str, bytes]) -> Path:
    """Replace the published records of some keys; everything else in the file stays as it is.

    Args:
        file: ``results/<profile>/<track>.jsonl``.
        records: of that track.
        listings: the definitions of these records' code, by name.

    Raises:
        StoreError: the file cannot be read or written.
    """
    replacing = {record.key: record for record in records}
    sidecar = file.with_suffix("")
    try:
        lines, named = [], set[str]()
        for line in file.read_bytes().splitlines(keepends=True):
            raw = parse(line)
            if raw["key"] in replacing:
                raw = _fields(replacing[raw["key"]])
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
