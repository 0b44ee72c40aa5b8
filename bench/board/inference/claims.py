"""What the records say of each claim of a track: its difference, its verdict, and the power of its test."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from bench import stats
from bench.board.arrays import Arrays
from bench.board.inference.counted import Counted
from bench.board.inference.row_means import RowMeans
from bench.contract import Claim
from bench.stats import Contrast, Judged, RowMean

if TYPE_CHECKING:
    from bench.board.model import Board


@dataclass(frozen=True, slots=True)
class ClaimView:
    """One claim as the records have it.

    Attributes:
        claim: as the track declares it.
        contrasts: against ``over``, then against each of ``also``: the mean difference over pairs and tasks,
            or the mean logarithm of the ratios.
        judged: the verdict, with p corrected over the claims of the board.
        new_tasks: the same with data sets as the sample, and its verdict; None with fewer than `stats.TASKS`.
        tasks: indices of the tasks that it was judged on.
        left_out: name of a task that it is about -> why it was left out.
        censored: row of it -> how many of its values on these tasks are censored, and of how many; rows
            without any are not in it.
        data: number of independent data sets among the tasks.
        new_examples: whether it holds for new test examples too.
        detectable: the difference that such a test finds with 80 % power; None without a standard error.
        needed: how many seeds would decide, if the difference seen is the true one.
    """

    claim: Claim
    contrasts: tuple[Contrast, ...]
    judged: Judged
    new_tasks: tuple[Contrast, Judged] | None
    tasks: tuple[int, ...]
    left_out: Mapping[str, str]
    censored: Mapping[str, tuple[int, int]]
    data: int
    new_examples: bool
    detectable: float | None
    needed: stats.Needed


#: A contrast as `stats.contrast` takes it.
_Parts = list[tuple[float, RowMean]]


class Claims:
    """Judges the claims of a board's track, those of which every row is on the board.

    Attributes:
        found: the claims in their order.
        absent: name of a claim that is not among them -> rows of it that are not on the board.
    """

    def __init__(self, arrays: Arrays, tally: Counted, means: RowMeans) -> None:
        self._arrays, self._tally, self._means = arrays, tally, means
        # What was chosen on the test data shows nothing.
        declared = () if arrays.spec.selection == "oracle" else arrays.spec.track.claims
        missing = {c.name: [r for r in _rows(c) if r not in arrays.row_index] for c in declared}
        self.absent: Mapping[str, Sequence[str]] = {name: rows for name, rows in missing.items() if rows}
        here = [c for c in declared if c.name not in self.absent]
        self.found: tuple[ClaimView, ...] = self._judge(here)

    def _judge(self, claims: Sequence[Claim]) -> tuple[ClaimView, ...]:
        over = [self._tasks(c) for c in claims]
        parts = [self._parts(c, tasks) for c, (tasks, _) in zip(claims, over, strict=True)]
        contrasts = [tuple(map(_contrast, of)) for of in parts]
        judged = self._verdicts(claims, contrasts)
        over_data = [self._new_tasks(c, tasks) for c, (tasks, _) in zip(claims, over, strict=True)]
        enough = [k for k, c in enumerate(over_data) if c is not None]
        tested = {k: c for k, c in enumerate(over_data) if c is not None}
        beyond = self._verdicts([claims[k] for k in enough], [(tested[k],) for k in enough])
        new_tasks = {k: (tested[k], j) for k, j in zip(enough, beyond, strict=True)}
        level = 1 - (1 - stats.LEVEL) / max(len(claims), 1)
        found = []
        for k, (claim, (tasks, left_out)) in enumerate(zip(claims, over, strict=True)):
            first = contrasts[k][0]
            least = None
            if first.se is not None and first.df is not None:
                least = stats.detectable(first.se, first.df, level=level)
            rows = [self._arrays.row_index[r] for r in _rows(claim)]
            found.append(ClaimView(
                claim, contrasts[k], judged[k], new_tasks.get(k), tasks, left_out,
                self._censored(claim, tasks), len({self._arrays.data[t] for t in tasks}),
                self._means.have_units(rows, tasks), least,
                stats.seeds_needed(parts[k][0], level=level) if tasks else stats.Needed(None, "no task"),
            ))  # fmt: skip
        return tuple(found)

    def _verdicts(self, claims: Sequence[Claim], contrasts: Sequence[Sequence[Contrast]]) -> list[Judged]:
        papers = [c.paper.value if c.paper is not None else None for c in claims]
        return stats.judge(contrasts, better=self._arrays.metric.better, papers=papers)

    def _tasks(self, claim: Claim) -> tuple[tuple[int, ...], Mapping[str, str]]:
        """The tasks that a claim is judged on, and why others that it is about are left out."""
        arrays, values = self._arrays, self._arrays.values(self._arrays.metric.name)[0]
        rows = [arrays.row_index[r] for r in _rows(claim)]
        tasks, left_out = [], {}
        for t, task in enumerate(arrays.tasks):
            about = any(fnmatchcase(task.name, p) for p in claim.tasks)
            if not about or claim.group not in (None, task.group):
                continue
            none = [arrays.rows[r].label for r in rows if not (values[r, t] == values[r, t]).any()]
            if none:
                some = ", ".join(none) if len(none) <= 2 else f"{len(none)} of its {len(rows)} rows"
                left_out[task.name] = f"no result of {some}"
            elif arrays.same_cells(rows, t):
                left_out[task.name] = "the same cells by construction"
            elif claim.scale == "log ratio" and (values[rows, t] <= 0).any():
                left_out[task.name] = "a value that is not positive has no ratio"
            elif arrays.never_reached(rows, t):
                left_out[task.name] = "all values are censored, so that nothing is known of a difference"
            elif t not in self._tally.tasks:
                left_out[task.name] = "other rows are still to run there"
            else:
                tasks.append(t)
        return tuple(tasks), left_out

    def _censored(self, claim: Claim, tasks: tuple[int, ...]) -> Mapping[str, tuple[int, int]]:
        values, censored = self._arrays.values(self._arrays.metric.name)
        found = {}
        for row in _rows(claim):
            at = self._arrays.row_index[row], list(tasks)
            if n := int(censored[at].sum()):
                found[row] = n, int((~np.isnan(values[at])).sum())
        return found

    def _parts(self, claim: Claim, tasks: tuple[int, ...]) -> list[_Parts]:
        """The contrast with ``over`` and that with each of ``also``."""
        rows = _rows(claim)
        log = claim.scale == "log ratio"
        indices = [self._arrays.row_index[r] for r in rows]
        means = dict(zip(rows, self._means.together(indices, tasks, log=log), strict=True)) if tasks else {}
        weight = 1 / len(claim.rows)
        return [
            [(weight, means[r]) for r in claim.rows] + [(-weight, means[r]) for r in over] if means else []
            for over in (claim.over, *claim.also)
        ]

    def _new_tasks(self, claim: Claim, tasks: tuple[int, ...]) -> Contrast | None:
        """The contrast with ``over`` with data sets as the sample."""
        of: dict[str, list[int]] = defaultdict(list)
        for t in tasks:
            of[self._arrays.data[t]].append(t)
        if len(of) < stats.TASKS:
            return None
        each = [self._parts(claim, tuple(at))[0] for at in of.values()]
        return stats.over_tasks([sum(c * r.mean for c, r in parts) for parts in each])


def _contrast(parts: _Parts) -> Contrast:
    if not parts:
        return Contrast(math.nan, None, None, None, None, "no task has a result of all its rows")
    return stats.contrast(parts)


def _rows(claim: Claim) -> list[str]:
    """The rows of a claim, each once."""
    return list(dict.fromkeys(r for side in (claim.rows, claim.over, *claim.also) for r in side))


def in_front(board: Board) -> list[tuple[str, ...]]:
    """The rows that a reader compares first, a tuple a comparison with the paper's row first: those of the
    claims; without any, methods with their counterparts; else the best other row with the reference.
    """
    groups: dict[str, dict[str, None]] = {}
    for view in board.claims.found:
        for k, row in enumerate(view.claim.rows):
            others = [side[k] for side in (view.claim.over, *view.claim.also)]
            groups.setdefault(row, {row: None}).update(dict.fromkeys(others))
    if groups:
        return [tuple(g) for g in groups.values()]
    there = {r.info.row for r in board.rows}
    pairs: list[tuple[str, ...]] = [
        (i.row, i.counterpart)
        for i in board.infos
        if i.role == "method" and i.row in there and i.counterpart in there
    ]
    if pairs:
        return pairs
    reference = board.spec.track.reference
    best = next((r.info.row for r in board.rows if r.info.row != reference), None)
    found = [r for r in (best, reference) if r in there]
    return [tuple(found)] if found else []
