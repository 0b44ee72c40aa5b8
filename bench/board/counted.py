"""Which tasks means, ranks and tests are over: those on which no row that is ranked is merely still to run.

A run may be interrupted anywhere. Were a task to count as soon as one row has a value there, the one row that
had begun it, be it the worst, would be the only complete one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench.stats import Array, Bools

#: States that are nobody's fault: without a value, a row with one of these only waits.
WAITING = ("new", "lost", "blocked")


@dataclass(frozen=True, slots=True)
class Counted:
    """Indices of rows and tasks. ``tasks``: what means and tests are over. ``waiting``: task that has a value
    but does not count -> the rows that it waits for. ``aside``: rows still to run for which no task waits.

    ``ranked``: whether any task counts. If none does, ``tasks`` are all those with a value: means are over
    what is there, and no row is ranked.
    """

    tasks: tuple[int, ...]
    ranked: bool
    waiting: Mapping[int, tuple[int, ...]]
    aside: tuple[int, ...]


def count(values: Array, states: Mapping[str, Array], core: Bools, held: Bools) -> Counted:
    """Find out which tasks count.

    A row waits on a task where it has no value and nothing but cells that are new, lost or blocked: a failure
    or a skip there is an answer, and one seed of several is a value. A task counts when some core row has a
    value and none waits.

    A row that somebody just added would so hold up a board that is otherwise there. Therefore, once at least
    half of the core rows (and two) have nothing left to run, rows that have not begun are set aside; and all
    rows that wait anywhere, if no task would count otherwise.

    Args:
        values: number of values (rows, tasks). states: name of a state -> cells in it (rows, tasks). core:
        (rows,), the others are ablations, for which nothing waits. held: (rows, tasks), whether a cell there
        ended in a way that is held against the row.
    """
    there = values > 0
    begun_by = _any(there & core[:, None], 0)
    own = held | (states["skipped"] > 0)
    idle = _any(np.stack([states[s] > 0 for s in WAITING]), 0)
    waits = ~there & ~own & idle & core[:, None]
    begun = _any(there | held, 1)
    through = core & begun & ~_any((states["new"] + states["lost"]) > 0, 1)
    aside = np.zeros_like(core)
    if through.sum() >= max(2, core.sum() / 2):
        aside = _any(waits, 1) & ~begun
        if not (begun_by & ~_any(waits[~aside], 0)).any():
            aside = _any(waits, 1)
    still = waits & ~aside[:, None]
    counts = begun_by & ~_any(still, 0)
    ranked = bool(counts.any())
    return Counted(
        tasks=_indices(counts if ranked else begun_by),
        ranked=ranked,
        waiting={t: _indices(still[:, t]) for t in _indices(begun_by & ~counts)},
        aside=_indices(aside),
    )


def _any(of: Bools, axis: int) -> Bools:
    return np.asarray(of.any(axis), bool)


def _indices(where: Bools) -> tuple[int, ...]:
    return tuple(int(k) for k in np.flatnonzero(where))
