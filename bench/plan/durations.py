"""How long planned cells take, by past records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.contract import canonical
from bench.plan import Factor, Plan, PlannedCell

if TYPE_CHECKING:
    from bench.store.summaries import RecordSummary


def expect(plan: Plan, heads: Mapping[str, RecordSummary]) -> None:
    """Seconds of each cell from past records: of its row and task, else of its row, else of its method.

    Only of records with the same run settings: a laptop cell says nothing about a cell of the paper's size.
    This store's own records go before published ones, which ran on other people's machines.
    """
    past: dict[tuple[str, ...], dict[str, list[float]]] = {}
    texts: dict[int, str] = {}  # of mappings that thousands of cells share

    def settings(run: Mapping[str, Any]) -> str:
        if id(run) not in texts:
            texts[id(run)] = canonical(run)
        return texts[id(run)]

    for h in heads.values():
        if h.kind == "cell" and h.status == "ok" and (run_s := h.cost.get("run_s")) is not None:
            spent = run_s + h.cost.get("load_s", 0) + h.cost.get("score_s", 0) + h.cost.get("snapshot_s", 0)
            where = (h.hardware or "unnamed hardware") if h.layer else ""
            for k in _likeness(h.cell["track"], settings(h.cell["run"]), h.cell["row"], h.cell["task"]):
                past.setdefault(k, {}).setdefault(where, []).append(spent)
    typical = {k: _typical(v, plan.factors) for k, v in past.items()}
    for c in plan.cells:
        alike = _likeness(c.cell.track, settings(c.cell.run), c.cell.row, c.task.name)
        c.seconds, c.timed_on = next((typical[k] for k in alike if k in typical), (None, ""))


def _typical(seconds: Mapping[str, list[float]], factors: Mapping[str, Factor]) -> tuple[float, str]:
    """The median of the store's own cells ("" in ``seconds``), else of those on the hardware with the most,
    scaled if it is known by how much; and that hardware.
    """
    where = "" if "" in seconds else max(sorted(seconds), key=lambda label: len(seconds[label]))
    return median(seconds[where]) * (factors[where].ratio if where in factors else 1.0), where


def factors(pairs: Iterable[tuple[RecordSummary, RecordSummary]]) -> dict[str, Factor]:
    """Of each hardware that published cells ran on: how much longer the store's own cells take, by those that
    both have (own, published).
    """
    ratios: dict[str, list[float]] = {}
    for own, published in pairs:
        mine, theirs = own.cost.get("run_s"), published.cost.get("run_s")
        if own.hardware != published.hardware and mine and theirs:
            ratios.setdefault(published.hardware, []).append(mine / theirs)
    return {label: Factor(median(found), len(found)) for label, found in ratios.items()}


def _likeness(track: str, settings: str, row: str, task: str) -> tuple[tuple[str, ...], ...]:
    """What two cells have in common that take about the same time, the most telling first."""
    method = row.partition("/")[0]
    return (track, settings, row, task), (track, settings, row), (track, settings, method, "*", "*")


@dataclass(frozen=True, slots=True)
class Estimate:
    """``seconds`` of work on one worker; ``known`` of ``cells`` cells rest on past records, and of these
    ``elsewhere`` (hardware label -> cells) on published ones.
    """

    seconds: float
    cells: int
    known: int
    elsewhere: Mapping[str, int]


def estimate(cells: Sequence[PlannedCell]) -> Estimate:
    """Time that these cells take one after the other; cells never seen count as the median of those that
    were.
    """
    known = [c.seconds for c in cells if c.seconds is not None]
    typical = median(known) if known else 0.0
    elsewhere = Counter(c.timed_on for c in cells if c.timed_on)
    return Estimate(sum(known) + typical * (len(cells) - len(known)), len(cells), len(known), elsewhere)
