"""The header of a board: what a reader must know before believing a number on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bench.board.spec import FAILURES, STATES
from bench.board.text import claims
from bench.board.text import formatting as fmt
from bench.board.text.selection import oracle, selection
from bench.board.text.statistics import Note, power
from bench.store.summaries import PUBLISHED

if TYPE_CHECKING:
    from bench.board.model import Board

#: The number of names, or of groups of tasks, that a sentence spells out.
_MOST = 3


def notes(board: Board) -> tuple[Note, ...]:
    """The notes of the header, in the order in which they are printed."""
    m, spec = board.metric, board.spec
    unit = f" ({m.unit})" if m.unit else ""
    way = {"higher": "higher is better", "lower": "lower is better", "neither": "no direction"}[m.better]
    doc = f": {m.doc}" if m.doc else ""
    found = [
        Note(
            "profile",
            f"profile {spec.profile}",
            f"{spec.profile}. Numbers compare within this profile only; laptop numbers are not the paper's.",
        ),
        _seeds(board),
        Note("ranks by", f"ranks by {m.name} {fmt.arrow(m)}".strip(), f"{m.name}{unit}, {way}{doc}."),
        _missing(board),
        *_tasks(board),
        selection(board),
        _hardware(board),
        *power(board),
        _state(board),
        *_records(board),
        *_verified(board),
    ]
    found += [Note(label, label, text) for label, text in spec.track.notes(spec.tasks).items()]
    if own := list(dict.fromkeys(t.brought for t in spec.tasks if t.brought)):
        said = "data of the user's own (bench data add), in one split for all rows and seeds"
        found.append(Note("own data", "own data", f"{', '.join(own)}: {said}."))
    if spec.note:
        found.append(Note("note", spec.note, spec.note))
    return tuple(found)


def headline(board: Board) -> str:
    """One sentence: the verdict on the track's first claim; without claims, which row has the best mean; no
    verdict where the test data chose.
    """
    if bound := oracle(board):
        return bound
    if not board.rows or board.rows[0].mean is None:
        return "No cell has a result yet."
    top = board.rows[0]
    if not board.tally.ranked:
        return "No task counts yet: on each one some row is still to run, so no row is ranked."
    if said := claims.sentence(board):
        return said
    if top.rank is None or top.mean is None:
        return "No row is complete yet, so none is ranked."
    tasks = len(board.counted)
    where = f"over {tasks} tasks" if tasks > 1 else f"on {board.tasks[board.counted[0]].name}"
    if board.tally.waiting:
        where += f" (so far {tasks} of {len(board.tasks)} tasks count{'s' * (tasks == 1)})"
    if unawaited := board.tally.unawaited:
        where += f", {_listed(_labels(board, unawaited))} not counted"
    start = (
        f"{top.info.label} has the best {board.metric.name}, {fmt.estimate(top.mean, board.metric.digits)}"
    )
    return f"{start} {where}{_separation(board)}."


def _separation(board: Board) -> str:
    """How the first row stands to the others: the end of the sentence that names it."""
    if not board.ranking.lettered:
        return "; with so little data nothing says that this is more than chance"
    tied = [r for r in board.rows[1:] if r.leading]
    if not tied:
        return ", separated from every other complete row"
    names = " and ".join(r.info.label for r in tied) if len(tied) <= 2 else f"{len(tied)} rows"
    return f"; {names} cannot be separated from it"


def _seeds(board: Board) -> Note:
    """How many seeds are planned for most rows, and for which rows how many others."""
    planned = {r.info.row: max((c.planned for c in r.cells), default=0) for r in board.every_row}
    drawn = {i: planned[i.row] for i in board.infos if not i.deterministic and planned[i.row]}
    n = Counter(drawn.values()).most_common(1)[0][0] if drawn else 0
    other: dict[int, list[str]] = {}
    for info, k in drawn.items():
        if k != n:
            other.setdefault(k, []).append(info.label)
    more = "".join(f"; {k} for {_listed(labels)}" for k, labels in sorted(other.items()))
    fixed = sum(r.deterministic for r in board.infos)
    split = (
        ", and the split changes with the seed, so rows are ranked and compared on the seeds that they share"
        if board.spec.track.split_per_seed
        else ""
    )
    det = (
        f" {fixed} deterministic row{'s' * (fixed != 1)} run once: one observation, no interval."
        if fixed
        else ""
    )
    short = " or ".join(str(k) for k in sorted({n, *other}))
    return Note(
        "seeds", f"{short} seed{'s' * (short != '1')}", f"{n} planned a row and task{more}{split}.{det}"
    )


def _missing(board: Board) -> Note:
    failures = ", ".join(s for s in STATES if s in FAILURES)
    partial = sum(r.partial for r in board.rows)
    there = {*board.counted, *board.tally.waiting}
    out = [task.name for t, task in enumerate(board.tasks) if t not in there]
    left = f" Left out of all means, since no row has a value: {', '.join(out)}." if out else ""
    long = (
        f"a row with a missing task, or with any {failures} cell, is listed after the complete rows, "
        f"unranked, its mean over what is there and marked *: {partial} here. Nothing is imputed. Cells not "
        f"run yet or lost with their machine are not held against a row that has another seed there.{left}"
    )
    return Note("missing cells", f"{partial or 'no'} partial row{'s' * (partial != 1)}", long)


def _verified(board: Board) -> list[Note]:
    """How records whose code has changed since they were made were proven to stand: on which sample."""
    stamps = {s.key: s.verified for s in board.slots if s.verified}  # a cell that two rows show is one
    counted = Counter((v["on"], v["cells"], v["commit"]) for v in stamps.values())
    short = [f"{n:,} cells verified on {on:,} of {of:,} at {at}" for (on, of, at), n in counted.items()]
    why = "their code changed since they ran; every number of those that were run again came out the same"
    return [Note("verified", "; ".join(short), f"{'; '.join(short)}: {why}.")] if short else []


def _tasks(board: Board) -> list[Note]:
    """Which tasks count and what the others wait for; nothing where no row has cells left to run."""
    tally, of = board.tally, len(board.tasks)
    if not (tally.waiting or tally.unawaited):
        return []
    counting = len(board.counted) if tally.ranked else 0
    short = f"{counting or 'none'} of {of} tasks count{'s' * (counting <= 1)}"
    waiting: dict[tuple[int, ...], list[str]] = {}
    for t, rows in tally.waiting.items():
        waiting.setdefault(rows, []).append(board.tasks[t].name)
    waits = [
        f"{_listed(tasks)} wait{'s' * (len(tasks) == 1)} for {_listed(_labels(board, rows))}"
        for rows, tasks in waiting.items()
    ]
    words = ["; ".join([short, *waits[:_MOST], *(["and so on"] if len(waits) > _MOST else [])])]
    if tally.unawaited:
        words.append(f"Nothing waits for {_listed(_labels(board, tally.unawaited))}, still to run")
    words.append(
        "A task counts once no ranked row is merely still to run there (new, lost or blocked); means, ranks "
        "and tests leave the others out"
        if tally.ranked
        else "So no row is ranked, and means are over what is there"
    )
    return [Note("tasks", short, f"{'. '.join(words)}.")]


def _labels(board: Board, rows: Iterable[int]) -> list[str]:
    return [board.infos[i].label for i in rows]


def _listed(names: Sequence[str]) -> str:
    """Names as ``a, b and c``; of many the first ones and how many more there are."""
    if len(names) > _MOST + 1:
        return f"{', '.join(names[:_MOST])} and {len(names) - _MOST} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _hardware(board: Board) -> Note:
    labels = board.hardware
    short = (
        labels[0] if len(labels) == 1 else f"{len(labels)} hardware labels" if labels else "no hardware yet"
    )
    tail = "" if len(labels) <= 1 else " Costs are compared only within a label."
    return Note("hardware", short, f"{', '.join(labels) or 'none'}.{tail}")


def _state(board: Board) -> Note:
    counts = board.status_counts
    total = sum(n for s, n in counts.items() if s != "unplanned")
    words = [f"{n:,} {s}" for s, n in counts.items() if s not in ("ok", "unplanned")]
    short = f"{counts['ok']:,}/{total:,} cells ok" + (f", {board.stale:,} stale" if board.stale else "")
    return Note(
        "cells",
        short,
        f"{counts['ok']:,} of {total:,} ok{''.join(f', {w}' for w in words)}; {board.stale:,} stale.",
    )


def _records(board: Board) -> list[Note]:
    """Where the records are from: published with the code, or the user's own store."""
    layers = {s.key: s.layer for s in board.slots if s.layer}
    total, published = len(layers), sum(layer == PUBLISHED for layer in layers.values())
    if not total or not board.spec.source:
        return []
    source, own = board.spec.source, total - published
    if not own:
        return [Note("records", "all records published", f"all {total:,} are the published ones.")]
    if not published:
        return [Note("records", f"records of {source}", f"all {total:,} are from {source}.")]
    verb = "is" if own == 1 else "are"
    return [
        Note(
            "records",
            f"{published:,} of {total:,} records published",
            f"{published:,} of {total:,} are the published ones; {own:,} {verb} from {source}.",
        )
    ]
