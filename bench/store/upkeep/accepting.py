"""Accepts stale records whose code changed in a way that changes no number: they are stamped with today's
code.

Either a person gives the reason (each such record is marked on the board), or a sample of the cells ran again
with equal numbers (the board's header says how many of how many).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.contract import BenchError, Metric, Record
from bench.store.code.names import Closure
from bench.store.committed.writing import as_published, rewrite
from bench.store.encoding import dump, parse
from bench.store.files import Files
from bench.store.provenance import Dependencies, now
from bench.store.records import Store
from bench.store.summaries import RecordSummary, StringTable, summary_of

#: Numbers agree if they differ by less than this share of them, or are equal as published: in nine digits.
TOLERANCE = 1e-9


def stamped(
    record: Record,
    today: Dependencies,
    *,
    reason: str = "",
    verified: Mapping[str, Any] | None = None,
) -> Record:
    """A record stamped with the code, settings, data and stages of today.

    Args:
        record: the stale one.
        today: what it would depend on if it were made today. Without ``data`` their identity stays as it was.
        reason: why the change cannot have changed a number; it becomes a mark on the board.
        verified: the sample that ran again: ``{"cells": n, "on": k, "commit": …, "at": …}``.

    Raises:
        BenchError: neither a reason nor a sample is given.
    """
    if not reason.strip() and not verified:
        raise BenchError(f"accept {record.key}: a reason is needed; it is shown on the board")
    then = record.provenance
    built_by = {name: code.name for name, code in today.built_by.items()}
    made = {
        **then,
        "code": today.code.name,
        "ran_with": {**then.get("ran_with", {}), **today.ran_with},
        "stages": {**then.get("stages", {}), **today.stages},
        "built_by": {**then.get("built_by", {}), **built_by},
    }
    if today.data is not None:
        made["data"] = today.data
    later = record.generation + 1
    if verified:
        return replace(record, provenance={**made, "verified": dict(verified)}, generation=later)
    made["accepted"] = {"at": now(), "reason": reason.strip()}
    marks = [*record.marks, f"accepted: {reason.strip()}"]
    return replace(record, provenance=made, marks=marks, generation=later)


def differences(old: Record, new: Record, metrics: Sequence[Metric]) -> list[str]:
    """The numbers of a cell that differ after it ran again, one sentence each.

    All metrics but costs are compared, and all series that both records have. A metric that is new, or that
    the track does not declare any more, is no difference.
    """
    if new.status != old.status:
        return [f"it ended as {new.status}: {new.reason or new.error.get('message', '')}"]
    known = {m.name: m.kind for m in metrics}
    words = []
    for name, then in old.metrics.items():
        kind = known.get(name.removeprefix("val_"))
        if kind in (None, "cost"):
            continue
        now_ = new.metrics.get(name)
        if name not in new.metrics or not _agree(then, now_):
            words.append(f"{name} was {_shown(then)}, is {_shown(now_)}")
    for name in old.series.keys() & new.series.keys():
        if known.get(name) != "cost" and not _agree(old.series[name], new.series[name]):
            words.append(f"the series {name} differs")
    return words


def _shown(value: Any) -> str:
    return f"at least {value['bound']}" if isinstance(value, Mapping) else str(value)


def _agree(a: Any, b: Any) -> bool:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_agree(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_agree, a, b))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-12) or bool(a == as_published(b))
    return bool(a == b)


def sample(cells: Iterable[tuple[tuple[str, ...], str, str]], each: int) -> list[str]:
    """Keys of cells to run again: ``each`` of every group, or all that it has.

    Within a group cells on the tasks that were chosen least so far come first, so that all tasks are chosen
    where there are enough groups; among these the first key, which is as good as random, since keys are
    digests.

    Args:
        cells: (group, task, key); a group is a row on one kind of task.
        each: how many of a group.
    """
    groups: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for group, task, key in cells:
        groups.setdefault(group, []).append((task, key))
    seen: Counter[str] = Counter()
    chosen = []
    for of in groups.values():
        for _ in range(min(each, len(of))):
            task, key = min(of, key=lambda c: (seen[c[0]], c[1]))
            of.remove((task, key))
            seen[task] += 1
            chosen.append(key)
    return chosen


class RerunStore(Store):
    """A store for cells that run again to be compared: it holds their records in memory and writes none of
    them.

    ``cells``: key -> record. Stages that the cells need are built and recorded in the store.
    """

    def __init__(self, files: Files, cache: Path | None = None) -> None:
        super().__init__(files, cache)
        self.cells: dict[str, Record] = {}
        self._rerun: dict[str, RecordSummary] = {}

    def write(self, record: Record) -> str:
        """Hold the record of a cell in memory, in no file; write that of a stage."""
        if record.kind == "stage":
            return super().write(record)
        line = dump(record)
        self.cells[record.key] = record
        self._rerun[record.key] = summary_of(parse(line), StringTable(), "", 0, len(line))
        return ""

    def summaries(self) -> dict[str, RecordSummary]:
        """The summaries of the store, with those of the cells that ran again in place of the old ones."""
        return {**super().summaries(), **self._rerun}

    def fresh(self) -> dict[str, RecordSummary]:
        """The same, with what other machines wrote until this moment."""
        return {**super().fresh(), **self._rerun}


def write_stamped(store: Store, records: Iterable[Record], codes: Iterable[Closure]) -> None:
    """Write stamped records into a store, with the definitions that they name.

    Raises:
        StoreError: the store cannot be written.
    """
    for code in codes:
        store.artifacts.put_listing(code.listing)
    for record in records:
        store.write(record)


def restamp(folder: Path, records: Iterable[Record], codes: Iterable[Closure]) -> list[Path]:
    """Replace committed records by stamped ones; returns the changed files.

    Raises:
        StoreError: a file cannot be written.
    """
    listings = {code.name: code.listing for code in codes}
    by_track: dict[str, list[Record]] = {}
    for record in records:
        by_track.setdefault(str(record.cell["track"]), []).append(record)
    return [rewrite(folder / f"{track}.jsonl", made, listings) for track, made in sorted(by_track.items())]
