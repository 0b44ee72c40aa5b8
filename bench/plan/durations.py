"""Estimates how long planned cells take, from past records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.contract import canonical
from bench.plan.model import Factor, Plan, PlannedCell

if TYPE_CHECKING:
    from bench.store.summaries import RecordSummary


def expect(plan: Plan, summaries: Mapping[str, RecordSummary]) -> None:
    """Set ``seconds`` of each planned cell from past records: of its row and task, else its row, else its
    method.

    Only records with the same run settings count: a laptop cell says nothing about a cell of the paper's
    size. The store's own records go before published ones, which ran on other machines.
    """
    past: dict[tuple[str, ...], dict[str, list[float]]] = {}
    texts: dict[int, str] = {}  # of mappings that thousands of cells share

    def settings(run: Mapping[str, Any]) -> str:
        if id(run) not in texts:
            texts[id(run)] = canonical(run)
        return texts[id(run)]

    for h in summaries.values():
        if h.kind == "cell" and h.status == "ok" and (run_s := h.cost.get("run_s")) is not None:
            spent = run_s + h.cost.get("load_s", 0) + h.cost.get("score_s", 0) + h.cost.get("snapshot_s", 0)
            where = (h.hardware or "unnamed hardware") if h.layer else ""
            for k in _similar(h.cell["track"], settings(h.cell["run"]), h.cell["row"], h.cell["task"]):
                past.setdefault(k, {}).setdefault(where, []).append(spent)
    typical = {k: _typical(v, plan.factors) for k, v in past.items()}
    for c in plan.cells:
        alike = _similar(c.cell.track, settings(c.cell.run), c.cell.row, c.task.name)
        c.seconds, c.timed_on = next((typical[k] for k in alike if k in typical), (None, ""))


def _typical(seconds: Mapping[str, list[float]], factors: Mapping[str, Factor]) -> tuple[float, str]:
    """The median of the store's own cells ("" in ``seconds``) or else of the cells on the hardware with most
    of them, multiplied by its factor if that is known; and the hardware.
    """
    where = "" if "" in seconds else max(sorted(seconds), key=lambda label: len(seconds[label]))
    return median(seconds[where]) * (factors[where].ratio if where in factors else 1.0), where


def factors(pairs: Iterable[tuple[RecordSummary, RecordSummary]]) -> dict[str, Factor]:
    """For each hardware of published cells, how much longer the store's own cells take.

    Args:
        pairs: the (own, published) records of the cells that both have.
    """
    ratios: dict[str, list[float]] = {}
    for own, published in pairs:
        here, there = own.cost.get("run_s"), published.cost.get("run_s")
        if own.hardware != published.hardware and here and there:
            ratios.setdefault(published.hardware, []).append(here / there)
    return {label: Factor(median(found), len(found)) for label, found in ratios.items()}


def _similar(track: str, settings: str, row: str, task: str) -> tuple[tuple[str, ...], ...]:
    """Cells that have one of these in common take about the same time; the most specific comes first."""
    method = row.partition("/")[0]
    return (track, settings, row, task), (track, settings, row), (track, settings, method, "*", "*")


@dataclass(frozen=True, slots=True)
class Estimate:
    """``seconds`` of work on one worker. ``known`` of the ``cells`` cells are estimated from past records;
    ``elsewhere`` counts, by hardware label, those estimated from published ones.
    """

    seconds: float
    cells: int
    known: int
    elsewhere: Mapping[str, int]


def estimate(cells: Sequence[PlannedCell]) -> Estimate:
    """The time that cells take one after the other. A cell without a past record counts as the median of the
    others.
    """
    known = [c.seconds for c in cells if c.seconds is not None]
    typical = median(known) if known else 0.0
    elsewhere = Counter(c.timed_on for c in cells if c.timed_on)
    return Estimate(sum(known) + typical * (len(cells) - len(known)), len(cells), len(known), elsewhere)
