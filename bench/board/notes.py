"""The header of a board: what a reader must know before believing a number on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.board import text
from bench.board.model import HELD
from bench.stats import FEW
from bench.store.summaries import PUBLISHED

if TYPE_CHECKING:
    from bench.board.model import Board

#: So many names, or groups of tasks, are spelt out in a sentence.
_MOST = 3


@dataclass(frozen=True, slots=True)
class Note:
    """One rule or fact of the header: ``short`` for the line above the table, ``long`` in full."""

    label: str
    short: str
    long: str


def notes(board: Board) -> tuple[Note, ...]:
    """The header, in the order in which it is printed."""
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
        Note("ranks by", f"ranks by {m.name} {text.arrow(m)}".strip(), f"{m.name}{unit}, {way}{doc}."),
        _missing(board),
        *_tasks(board),
        Note(
            "selection",
            f"selection {spec.selection}",
            f"hyper-parameters by the rule “{spec.selection}”, for every row alike.",
        ),
        _hardware(board),
        _groups(board),
        _power(board),
        _state(board),
        *_records(board),
        *_verified(board),
    ]
    found += [Note(label, label, said) for label, said in spec.track.notes(spec.tasks).items()]
    if spec.note:
        found.append(Note("note", spec.note, spec.note))
    return tuple(found)


def lead(board: Board) -> str:
    """One sentence: who leads, by how much it may be read, who cannot be told apart or is not counted yet."""
    if not board.rows or board.rows[0].mean is None:
        return "No cell has a result yet."
    top = board.rows[0]
    if not board.tally.ranked:
        return "No task counts yet: on each one some row is still to run, so no row is ranked."
    if top.rank is None or top.mean is None:
        return "No row is complete yet, so none is ranked."
    digits = board.metric.digits
    tasks = len(board.counted)
    where = f"over {tasks} tasks" if tasks > 1 else f"on {board.tasks[board.counted[0]].name}"
    if board.tally.waiting:
        where += f" (so far {tasks} of {len(board.tasks)} tasks count{'s' * (tasks == 1)})"
    if aside := board.tally.aside:
        where += f", {_listed(_labels(board, aside))} not counted"
    start = f"{top.info.label} has the best {board.metric.name}, {text.estimate(top.mean, digits)} {where}"
    if not board.grouped:
        return f"{start}; with so little data nothing says that this is more than chance."
    tied = [r for r in board.rows[1:] if r.group == 0]
    if not tied:
        return f"{start}, separable from every other complete row."
    names = " and ".join(r.info.label for r in tied) if len(tied) <= 2 else f"{len(tied)} rows"
    return f"{start}; {names} cannot be separated from it."


def _seeds(board: Board) -> Note:
    n = board.spec.seeds
    fixed = sum(r.deterministic for r in board.infos)
    split = ", and the split changes with the seed" if board.spec.track.split_per_seed else ""
    det = (
        f" {fixed} deterministic row{'s' * (fixed != 1)} run once: one observation, no interval."
        if fixed
        else ""
    )
    return Note("seeds", f"{n} seed{'s' * (n != 1)}", f"{n} planned a row and task{split}.{det}")


def _missing(board: Board) -> Note:
    held = ", ".join(s for s in ("failed", "oom", "timeout", "diverged") if s in HELD)
    partial = sum(r.partial for r in board.rows)
    there = {*board.counted, *board.tally.waiting}
    out = [task.name for t, task in enumerate(board.tasks) if t not in there]
    left = f" Left out of all means, since no row has a value: {', '.join(out)}." if out else ""
    long = (
        f"a row with a missing task, or with any {held} cell, is listed after the complete rows, unranked, "
        f"its mean over what is there and marked *: {partial} here. Nothing is imputed. Cells not run yet or "
        f"lost with their machine are not held against a row that has another seed there.{left}"
    )
    return Note("missing cells", f"{partial or 'no'} partial row{'s' * (partial != 1)}", long)


def _verified(board: Board) -> list[Note]:
    """On which samples records stand whose code changed since they were made."""
    stamps = {s.key: s.verified for s in board.slots if s.verified}  # a cell that two rows show is one
    counted = Counter((v["on"], v["cells"], v["commit"]) for v in stamps.values())
    short = [f"{n:,} cells verified on {on:,} of {of:,} at {at}" for (on, of, at), n in counted.items()]
    why = "their code changed since they ran; every number of those that were run again came out the same"
    return [Note("verified", "; ".join(short), f"{'; '.join(short)}: {why}.")] if short else []


def _tasks(board: Board) -> list[Note]:
    """Which tasks count and what the others wait for; nothing where no row is still to run."""
    tally, of = board.tally, len(board.tasks)
    if not (tally.waiting or tally.aside):
        return []
    counting = len(board.counted) if tally.ranked else 0
    short = f"{counting or 'none'} of {of} tasks count{'s' * (counting <= 1)}"
    waiting: dict[tuple[int, ...], list[str]] = {}
    for t, rows in tally.waiting.items():
        waiting.setdefault(rows, []).append(board.tasks[t].name)
    said = [
        f"{_listed(tasks)} wait{'s' * (len(tasks) == 1)} for {_listed(_labels(board, rows))}"
        for rows, tasks in waiting.items()
    ]
    words = ["; ".join([short, *said[:_MOST], *(["and so on"] if len(said) > _MOST else [])])]
    if tally.aside:
        words.append(f"Nothing waits for {_listed(_labels(board, tally.aside))}, still to run")
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
    """``a, b and c``; of many the first ones and how many more there are."""
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


def _groups(board: Board) -> Note:
    tasks = len(board.counted)
    if not board.grouped:
        why = "no task has a result" if not tasks else "one seed and one task"
        if tasks and max(board.spec.seeds, len(board.seeds)) > 1:
            why = "fewer than two complete rows, or too few seeds"
        if tasks and not board.tally.ranked:
            why = "no task counts yet"
        return Note(
            "tie groups",
            "no tie groups claimed",
            f"none claimed: {why}. Ranks are the order of the means alone.",
        )
    over, axis, apart = board.unit, board.spec.track.axis, len(board.samples)
    few = f" ({apart} independent ones are too few to speak for others)" if 1 < apart < FEW else ""
    sample = {
        "tasks": f"paired t on task means (the {tasks} tasks are the sample)",
        "curves": f"paired t on means over {axis} (the {apart} curves are the sample: the "
        f"{tasks} tasks that are their points share data and seeds, so they are no {tasks} observations)",
        "seeds": f"Welch's t over seeds, {'on means over the tasks, ' if tasks > 1 else ''}so for "
        f"{'these tasks and test sets' if tasks > 1 else 'this one task and test set'} only{few}",
    }[over]
    long = (
        "group a is the best row and all rows not separable from it, b the best of the rest with its ties, "
        f"and so on: {sample}, Holm-corrected over all pairs, 5 %. ± is a 95 % t interval over seeds in task "
        f"columns; in Δ, one at a time, over {over}. Bold: not separable from "
        "the best of its task (Welch over seeds, Holm over the task's pairs)."
    )
    return Note("tie groups", f"groups over {over}", long)


def _power(board: Board) -> Note:
    d = board.detectable()
    if d is None:
        return Note("detectable", "no detectable difference", "unknown: no spread to estimate it from.")
    size = text.number(d, board.metric.digits)
    unit = f"{len(board.seeds) if board.unit == 'seeds' else len(board.samples)} {board.unit}"
    tail = ""
    if runner := board.runner_up:
        a, b, need = runner
        more = f"{need.seeds} seeds a row" if need.seeds else need.why
        tail = f" To separate {a.info.label} from {b.info.label}, if their gap is the true one: {more}."
    strict = board.detectable(board.corrected)
    first = f" ({text.number(strict, board.metric.digits)} at Holm's first bar)" if strict else ""
    long = f"smallest difference that one test over {unit} finds with 80 % power at 5 %: {size}{first}.{tail}"
    return Note("detectable", f"detects ≥ {size}", long)


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
    """Whose numbers these are: published with the code, or made here."""
    layers = {s.key: s.layer for s in board.slots if s.layer}
    total, theirs = len(layers), sum(layer == PUBLISHED for layer in layers.values())
    if not total or not board.spec.source:
        return []
    source, own = board.spec.source, total - theirs
    if not own:
        return [Note("records", "all records published", f"all {total:,} are the published ones.")]
    if not theirs:
        return [Note("records", f"records of {source}", f"all {total:,} are from {source}.")]
    verb = "is" if own == 1 else "are"
    return [
        Note(
            "records",
            f"{theirs:,} of {total:,} records published",
            f"{theirs:,} of {total:,} are the published ones; {own:,} {verb} from {source}.",
        )
    ]
