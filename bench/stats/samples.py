"""Which tasks are points of one curve."""

from __future__ import annotations

from collections.abc import Iterable

from bench.contract import Task, canonical


def samples(tasks: Iterable[Task], axis: str | None) -> dict[str, str]:
    """Task -> what it is an observation of: itself, or the curve along ``axis`` that it is a point of.

    Points of a curve are measured on the same data with the same seeds, so what one row gains over another
    at one point it mostly gains at the next: five points are not five observations. In simulation, taking
    them for such separated equal rows in more than 80 % of boards (``tests/perf/test_stats_sim.py``).
    """
    return {
        t.name: canonical({k: v for k, v in t.params.items() if k != axis}) if axis in t.params else t.name
        for t in tasks
    }
