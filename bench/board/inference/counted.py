"""Which tasks count, that is, over which tasks means, ranks and tests are.

A run may be interrupted anywhere. If a task counted as soon as one row has a value there, the one row that
has begun it, which may be the worst, would be the only complete one. So a task counts once no ranked row has
yet to be run there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench.stats import Array, Bools

#: States that do not count against a row: without a value, a row with such cells alone has yet to be run.
WAITING = ("new", "lost", "blocked")


@dataclass(frozen=True, slots=True)
class Counted:
    """Which tasks count; rows and tasks are indices.

    Attributes:
        tasks: the tasks over which means and tests are.
        ranked: whether any task counts. If none does, ``tasks`` are all those with a value: means are over
            what is there, and no row is ranked.
        waiting: task that has a value but does not count -> the rows that have yet to be run there.
        unawaited: rows that have yet to be run, but for which no task waits.
    """

    tasks: tuple[int, ...]
    ranked: bool
    waiting: Mapping[int, tuple[int, ...]]
    unawaited: tuple[int, ...]


def count(values: Array, states: Mapping[str, Array], core: Bools, failed: Bools) -> Counted:
    """Determine which tasks count.

    A row has yet to be run on a task where it has no value and only cells that are new, lost or blocked. A
    failure or a skip is a result, and one seed of several is a value. A task counts when some core row has a
    value there and no core row has yet to be run there.

    A row that has just been added would then leave a finished board without a ranking. Therefore, once at
    least half of the core rows (and at least two) have nothing left to run, rows without any result are set
    aside: no task waits for them. If no task would count even so, all rows that any task waits for are.

    Args:
        values: number of values (rows, tasks).
        states: name of a state -> number of cells in it (rows, tasks).
        core: (rows,) whether a row is ranked; no task waits for the others, which are ablations.
        failed: (rows, tasks) whether some cell ended in a way that counts against the row.
    """
    there = values > 0
    begun_by = _any(there & core[:, None], 0)
    finished = failed | (states["skipped"] > 0)
    idle = _any(np.stack([states[s] > 0 for s in WAITING]), 0)
    waits = ~there & ~finished & idle & core[:, None]
    begun = _any(there | failed, 1)
    through = core & begun & ~_any((states["new"] + states["lost"]) > 0, 1)
    unawaited = np.zeros_like(core)
    if through.sum() >= max(2, core.sum() / 2):
        unawaited = _any(waits, 1) & ~begun
        if not (begun_by & ~_any(waits[~unawaited], 0)).any():
            unawaited = _any(waits, 1)
    still = waits & ~unawaited[:, None]
    counts = begun_by & ~_any(still, 0)
    ranked = bool(counts.any())
    return Counted(
        tasks=_indices(counts if ranked else begun_by),
        ranked=ranked,
        waiting={t: _indices(still[:, t]) for t in _indices(begun_by & ~counts)},
        unawaited=_indices(unawaited),
    )


def _any(of: Bools, axis: int) -> Bools:
    return np.asarray(of.any(axis), bool)


def _indices(where: Bools) -> tuple[int, ...]:
    return tuple(int(k) for k in np.flatnonzero(where))
