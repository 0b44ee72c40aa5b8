"""Brings the records of one store into another, and tells which cells both ran and whether their numbers
agree.

No number is lost and none is replaced in silence. A record that the other store lacks is added to what it
knows of that cell, and `RecordSummary.rank` says which one counts, as between two runs in one store. A cell
that both ran is a *replicate*, unless the two records have different numbers although hardware, packages,
code, settings, data and stages were the same: that is a *conflict*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from bench.contract import BenchError, Metric, Record
from bench.store.encoding import dump
from bench.store.files import KEY, StoreError
from bench.store.records import Store
from bench.store.segments import SEALED, write_segment
from bench.store.summaries import RecordSummary
from bench.store.upkeep.accepting import differences

#: Records of one segment that is written, by their size in bytes.
_SEGMENT_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Replicate:
    """A cell that both stores ran: the records that count there, ``differs``: one sentence for each number
    that differs, and ``apart``: what the two were made with that is not the same; without it and with
    ``differs`` this is a conflict.
    """

    ours: Record
    theirs: Record
    differs: tuple[str, ...]
    apart: tuple[str, ...]

    @property
    def conflict(self) -> bool:
        """Whether the numbers differ although nothing that is recorded explains it."""
        return bool(self.differs) and not self.apart


@dataclass(slots=True)
class Merged:
    """What a merge did: records ``added`` and those that were ``there`` before, stage shards copied, cells
    that both stores ran, keys ``left_out`` for a conflict, and ``notes`` on what could not be brought along.
    """

    added: int = 0
    there: int = 0
    stages: int = 0
    replicates: list[Replicate] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


#: Name of a track -> its metrics, None if no such track is known here.
MetricsOf = Callable[[str], Sequence[Metric] | None]


def merge(into: MergingStore, other: MergingStore, metrics_of: MetricsOf, *, both: bool = False) -> Merged:
    """Bring what ``other`` has into ``into``, which is the only one that is written.

    Args:
        into: the store that grows.
        other: the store that is read.
        metrics_of: which metrics of a track are costs, that is, expected to differ.
        both: add the records of conflicts too; the one that ended last then counts.

    Raises:
        BenchError: the other store has no record, or both are the same store.
        StoreError: one of the stores cannot be read, or the first one cannot be written.
    """
    if into.url == other.url:
        raise BenchError(f"both are the store {into.url}: name two")
    ours, theirs, out = into.every(), other.every(), Merged()
    if not theirs:
        raise BenchError(
            f"{other.url} holds no record: is it a store (the folder or URL given with --store)?"
        )
    wanted: list[RecordSummary] = []
    for key, found in theirs.items():
        known = {_identity(s) for s in ours.get(key, ())}
        new = [s for s in found if _identity(s) not in known]
        out.there += len(found) - len(new)
        if not new:
            continue
        if key in ours and (pair := _pair(into, other, ours[key][0], found[0], metrics_of)) is not None:
            out.replicates.append(pair)
            if pair.conflict and not both:
                out.left_out.append(key)
                continue
        wanted += new
    into.bring(other, wanted, out)
    return out


def _identity(s: RecordSummary) -> tuple[Any, ...]:
    """What two copies of one record have in common, and two runs of one cell have not."""
    return s.generation, s.ended, s.accepted, s.status, str(sorted(s.metrics.items(), key=lambda kv: kv[0]))


def _pair(
    into: MergingStore,
    other: MergingStore,
    our: RecordSummary,
    their: RecordSummary,
    metrics_of: MetricsOf,
) -> Replicate | None:
    """The two records that count, if both hold numbers of one cell and are not the same one."""
    if our.kind != "cell" or our.status != "ok" or their.status != "ok" or _identity(our) == _identity(their):
        return None
    a, b = into.whole(our), other.whole(their)
    if a is None or b is None:
        return None
    metrics = metrics_of(our.track) or [Metric(name=n, better="neither") for n in a.metrics]
    return Replicate(a, b, tuple(differences(a, b, metrics)), tuple(_apart(a, b)))


def _apart(a: Record, b: Record) -> Iterable[str]:
    """What the two records of a cell were made with that is not the same, one phrase each."""
    if (here := a.where.get("label", "")) != (there := b.where.get("label", "")):
        yield f"hardware: {here or 'unnamed'}, {there or 'unnamed'}"
    then, now = a.provenance, b.provenance
    packages = _changed(then.get("packages", {}), now.get("packages", {}))
    if packages:
        yield f"packages: {', '.join(packages)}"
    if then.get("code", "") != now.get("code", ""):
        yield f"code: {str(then.get('commit', ''))[:7]}, {str(now.get('commit', ''))[:7]}"
    for name, word in (("ran_with", "settings"), ("data", "data"), ("stages", "stages")):
        if then.get(name) != now.get(name):
            yield word
    if list(a.marks) != list(b.marks):
        yield f"marks: {', '.join(a.marks) or 'none'}; {', '.join(b.marks) or 'none'}"


def _changed(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [
        f"{name} {then.get(name, 'absent')}, {now.get(name, 'absent')}"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]


class MergingStore(Store):
    """A store as a merge needs it: with all records of each key, and able to take over records of another."""

    @classmethod
    def existing(cls, url: str) -> Self:
        """The store there; `BenchError` if there is no such folder."""
        if "://" not in url and not Path(url).expanduser().is_dir():
            raise BenchError(f"{url}: no such folder; name a store as with --store")
        return cls.open(url)

    def every(self) -> dict[str, list[RecordSummary]]:
        """Key -> the summaries of all its records, the one that counts first."""
        with self._lock:
            counts = self.summaries()
            return {key: [best, *self._others.get(key, ())] for key, best in counts.items()}

    def whole(self, summary: RecordSummary) -> Record | None:
        """The whole record of a summary, None if it turns out to be damaged."""
        key = summary.key

        def find() -> Record | None:
            of_key = [self._index[key], *self._others.get(key, ())] if key in self._index else []
            at = next((s for s in of_key if _identity(s) == _identity(summary)), None)
            return None if at is None else self._whole(at)

        return self._retry(find)

    def bring(self, other: MergingStore, wanted: Iterable[RecordSummary], out: Merged) -> None:
        """Take over records of another store, with the artifacts and stages that they name."""
        lines, size, done = list[bytes](), 0, set[str]()
        for summary in wanted:
            record = other.whole(summary)
            if record is None:
                out.notes.append(f"the record of {summary.key} in {other.url} is damaged and is left out")
                continue
            for name in _artifacts(record):
                if name not in done:
                    done.add(name)
                    self._bring_artifact(other, name, record, out)
            if record.kind == "stage" and record.status == "ok":
                self._bring_stage(other, record, out)
            lines.append(dump(record))
            size += len(lines[-1])
            out.added += 1
            if size >= _SEGMENT_BYTES:
                self._append(lines)
                lines, size = [], 0
        if lines:
            self._append(lines)

    def _append(self, lines: list[bytes]) -> None:
        self._make()
        try:
            there = self._files.names("segments")
        except OSError as error:
            raise StoreError(f"cannot read store {self.url}: {error}") from error
        numbers = [int(m["number"]) for name in there if (m := SEALED.fullmatch(name))]
        write_segment(self._files, max(numbers, default=0) + 1, lines)

    def _bring_artifact(self, other: MergingStore, name: str, record: Record, out: Merged) -> None:
        try:
            if not self.artifacts.holds(name):
                self.artifacts.put(other.artifacts.get(name), name.rpartition(".")[2])
        except StoreError:
            raise
        except BenchError as error:  # absent there, or damaged
            out.notes.append(f"{record.key}: {error}")

    def _bring_stage(self, other: MergingStore, record: Record, out: Merged) -> None:
        """Copy a shard that only the other store has; where both have one, this store's stays."""
        address, shard = str(record.cell.get("address", "")), int(record.cell.get("shard", 0))
        if not KEY.fullmatch(address):
            return
        mine, theirs = (s.artifacts.shard_digest(address, shard) for s in (self, other))
        if theirs is None or mine == theirs:
            return
        if mine is not None:
            name = record.cell.get("stage", address)
            out.notes.append(
                f"stage {name} was built in both stores with different files, and that of {self.url} stays: "
                "cells that read the other one show as stale"
            )
            return
        with TemporaryDirectory(prefix="bench-merge-") as folder:
            try:
                other.artifacts.copy_shard(address, shard, Path(folder))
                self.artifacts.put_stage(address, shard, Path(folder))
            except StoreError:
                raise
            except BenchError as error:
                out.notes.append(str(error))
            else:
                out.stages += 1


def _artifacts(record: Record) -> Iterable[str]:
    made = record.provenance
    yield from (*record.units.values(), *record.views.values(), *made.get("built_by", {}).values())
    if made.get("code"):
        yield made["code"]
