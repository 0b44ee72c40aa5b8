"""What the header says of the tests behind a board; it changes with `bench.board.inference`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import stats
from bench.board.text import formatting as fmt

if TYPE_CHECKING:
    from bench.board.inference.claims import ClaimView
    from bench.board.model import Board


@dataclass(frozen=True, slots=True)
class Note:
    """One rule or fact of the header: ``short`` for the line above the table, ``long`` in full."""

    label: str
    short: str
    long: str


def families(board: Board) -> tuple[Note, ...]:
    """One sentence for each of the families of statements that a board makes, each at 5 %; then what all of
    them hold for.
    """
    scope = [_scope(board)] if board.ranking.lettered else []
    return (*_claims(board), *_delta(board), *_letters(board), *scope)


def _claims(board: Board) -> list[Note]:
    found, absent = board.claims.found, board.claims.absent
    left = "; ".join(f"“{name}” needs {', '.join(rows)}" for name, rows in absent.items())
    left = f"Not on this board: {left}." if left else ""
    if not found:
        return [Note("claims", "no claims", left)] if left else []
    one = len(found) == 1
    holm = "" if one else f", p by Holm's correction over these {len(found)} alone"
    new = " “Over new tasks”: a paired t test with data sets as the sample, a family of its own."
    text = (
        f"{'a contrast' if one else 'contrasts'} that the track declares, tested at 5 % against 0 and "
        f"against the paper's figure{holm}; ± is the 95 % interval of each on its own."
        f"{new if any(v.new_tasks is not None for v in found) else ''} {left}"
    )
    return [Note("claims", f"{len(found)} claim{'s' * (not one)}", text.strip())]


def _delta(board: Board) -> list[Note]:
    ranked = [i for i in board.ranking.order if i in board.ranking.deltas]
    if not ranked:
        return []
    reference = board.spec.track.reference
    text = (
        f"each row minus {reference} on the tasks that both have; ± is Dunnett's simultaneous 95 % interval "
        f"over the {len(ranked)} ranked row{'s' * (len(ranked) != 1)}, and for ablations and partial rows "
        "over those with the same tasks."
    )
    return [Note(f"Δ {reference}", "Δ by Dunnett", text)]


def _letters(board: Board) -> list[Note]:
    if not board.ranking.lettered:
        why = (
            "no task has a result" if not board.counted else "fewer than two complete rows, or too few seeds"
        )
        if board.counted and not board.tally.ranked:
            why = "no task counts yet"
        return [Note("letters", "no letters", f"none: {why}. Ranks are the order of the means alone.")]
    k = len(board.ranking.order)
    pairs = f"all {k * (k - 1) // 2} pairs" if k > 2 else "the pair"
    text = (
        f"{pairs} of ranked rows, Holm's correction, 5 %: rows that share no letter are separated. Bold: the "
        "best mean of its column, without a test."
    )
    return [Note("letters", "letters by Holm over all pairs", text)]


def _scope(board: Board) -> Note:
    sets = len({board.arrays.data[t] for t in board.counted})
    over = f"seeds, data set by data set ({sets} here)" if sets > 1 else "seeds"
    tasks = "these tasks" if len(board.counted) > 1 else "this task"
    if board.ranking.new_examples:
        text = (
            f"{tasks}, on new examples like these too: chance is that of {over}, and that of the test "
            "examples, of which those of one cluster count together."
        )
        return Note("holds for", f"{tasks}, new examples too", text)
    pairs = " Rows are compared seed by seed, since they share what a seed draws."
    text = (
        f"{tasks} and these test sets: chance is that of {over}; not every task keeps scores by example."
        f"{pairs if board.spec.track.paired_seeds else ''}"
    )
    return Note("holds for", "these test sets", text)


def power(board: Board) -> list[Note]:
    """The note that says of each claim which difference its test could find, and how many seeds would decide
    it.
    """
    found = [v for v in board.claims.found if v.detectable is not None and v.contrasts[0].se is not None]
    if not found:
        return []
    first = " at Holm's first step" if len(board.claims.found) > 1 else ""
    said = "; ".join(_power(board, v, v.contrasts[0].se or 0.0, v.detectable or 0.0) for v in found)
    long = f"what a claim's test finds with {100 * stats.POWER:.0f} % power{first}: {said}."
    return [
        Note("power", f"first claim detects ≥ {_size(board, found[0], found[0].detectable or 0.0)}", long)
    ]


def _power(board: Board, view: ClaimView, se: float, least: float) -> str:
    size = f"“{view.claim.name}” ≥ {_size(board, view, least)} (standard error {_size(board, view, se)})"
    if view.judged.verdict != "not shown":
        return size
    need = f"{view.needed.seeds} seeds a row would decide" if view.needed.seeds else view.needed.why
    return f"{size}, and if the difference seen is the true one, {need}"


def _size(board: Board, view: ClaimView, value: float) -> str:
    """A size without direction: of ratios in per cent."""
    log = view.claim.scale == "log ratio"
    return f"{100 * value:.1f} %" if log else fmt.half(value, board.metric.digits)
