"""What the header says of the tests behind a ranking; it changes with `bench.board.ranking`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.board.text import formatting as fmt
from bench.stats import FEW

if TYPE_CHECKING:
    from bench.board.model import Board


@dataclass(frozen=True, slots=True)
class Note:
    """One rule or fact of the header: ``short`` for the line above the table, ``long`` in full."""

    label: str
    short: str
    long: str


def separation(board: Board) -> str:
    """How the leading row stands to the others: the end of the sentence that names it."""
    if not board.ranking.grouped:
        return "; with so little data nothing says that this is more than chance"
    tied = [r for r in board.rows[1:] if r.leading]
    if not tied:
        return ", separable from every other complete row"
    names = " and ".join(r.info.label for r in tied) if len(tied) <= 2 else f"{len(tied)} rows"
    return f"; {names} cannot be separated from it"


def groups(board: Board) -> Note:
    """The note that says by which tests rows were separated, and what these tests hold for."""
    tasks = len(board.counted)
    if not board.ranking.grouped:
        why = "no task has a result" if not tasks else "one seed and one task"
        if tasks and max(board.spec.seeds, len(board.arrays.seeds)) > 1:
            why = "fewer than two complete rows, or too few seeds"
        if tasks and not board.tally.ranked:
            why = "no task counts yet"
        return Note(
            "tie groups",
            "no tie groups claimed",
            f"none claimed: {why}. Ranks are the order of the means alone.",
        )
    over, axis, apart = board.ranking.unit, board.spec.track.axis, len(board.ranking.samples)
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


def power(board: Board) -> Note:
    """The note that says which difference tests could find, and how many seeds would separate the best."""
    ranking = board.ranking
    d = ranking.detectable()
    if d is None:
        return Note("detectable", "no detectable difference", "unknown: no spread to estimate it from.")
    size = fmt.number(d, board.metric.digits)
    unit = f"{len(board.arrays.seeds) if ranking.unit == 'seeds' else len(ranking.samples)} {ranking.unit}"
    tail = ""
    if runner := ranking.runner_up:
        a, b, need = runner
        more = f"{need.seeds} seeds a row" if need.seeds else need.why
        names = [board.infos[i].label for i in (a, b)]
        tail = f" To separate {names[0]} from {names[1]}, if their gap is the true one: {more}."
    strict = ranking.detectable(ranking.corrected_level)
    first = f" ({fmt.number(strict, board.metric.digits)} at Holm's first bar)" if strict else ""
    long = f"smallest difference that one test over {unit} finds with 80 % power at 5 %: {size}{first}.{tail}"
    return Note("detectable", f"detects ≥ {size}", long)
