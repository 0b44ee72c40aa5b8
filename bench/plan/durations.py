"""Estimates how long planned cells take: from past records, else from what the suite declares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from bench.contract import BenchError, canonical
from bench.plan.model import Factor, Plan, PlannedCell, Timing
from bench.store import provenance

if TYPE_CHECKING:
    from bench.store.summaries import RecordSummary


#: By how much a time may be off that one or two records say, and more where they ran on other hardware.
FEW, ELSEWHERE = 1.5, 2.0


def expect(plan: Plan, summaries: Mapping[str, RecordSummary]) -> None:
    """Set how long each planned cell takes, from past records: of its row and task, else its row, else its
    method; else from what the suite declares (`bench.suite.CostSpec`).

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
            spent /= h.cost.get("gpu_shared", 1.0)  # of a GPU that they shared it had a part of the time
            where = (h.hardware or "unnamed hardware") if h.layer else ""
            for k in _similar(h.cell["track"], settings(h.cell["run"]), h.cell["row"], h.cell["task"]):
                past.setdefault(k, {}).setdefault(where, []).append(spent)
    elsewhere = any(where for of in past.values() for where in of)
    here = provenance.environment()["label"] if elsewhere else ""
    typical = {k: _typical(v, plan.factors, here) for k, v in past.items()}
    steps: dict[tuple[str, str], int | None] = {}
    for c in plan.cells:
        alike = _similar(c.cell.track, settings(c.cell.run), c.cell.row, c.task.name)
        found = next((typical[k] for k in alike if k in typical), None)
        if found is not None:
            c.timing, c.timed_on = found
            c.seconds = c.timing.seconds
        elif c.cell.row in c.plan.cost:
            c.timing = _declared(c, steps)


def _declared(c: PlannedCell, steps: dict[tuple[str, str], int | None]) -> Timing:
    """What the suite declares. ``steps``: (track, task) -> those of the recipe, asked once."""
    cost, at = c.plan.cost[c.cell.row], (c.cell.track, c.task.name)
    if at not in steps:
        found = c.plan.track.recipe(c.task, c.plan.run).get("steps")
        steps[at] = found if isinstance(found, int) else None
    n = cost.steps if cost.steps is not None else steps[at]
    if n is None:
        raise BenchError(
            f"cost of {c.cell.row} in profile {c.plan.profile}: the recipe of {c.task.name} has no `steps`; "
            "declare `steps` there"
        )
    seconds = n * cost.step_s + cost.fixed_s
    return Timing(seconds, seconds / cost.within, seconds * cost.within, f"{cost.hardware}: {cost.why}")


def _typical(
    seconds: Mapping[str, list[float]], factors: Mapping[str, Factor], here: str
) -> tuple[Timing, str]:
    """The median of the store's own cells ("" in ``seconds``) or else of the cells on the hardware with most
    of them, multiplied by its factor if that is known; and the hardware.

    Between its bounds are eight of ten such cells; of fewer than three cells it may be `FEW` times off, and
    `ELSEWHERE` times more where nothing says how this machine compares. ``here``: its hardware.
    """
    where = "" if "" in seconds else max(sorted(seconds), key=lambda label: len(seconds[label]))
    ratio = factors[where].ratio if where in factors else 1.0
    found = [s * ratio for s in seconds[where]]
    middle = median(found)
    low, high = middle / FEW, middle * FEW
    if len(found) > 2:
        tenths = quantiles(found, n=10, method="inclusive")
        low, high = tenths[0], tenths[-1]
    off = ELSEWHERE if where not in ("", here, *factors) else 1.0
    return Timing(middle, low / off, high * off), where


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
    """How long cells take one after the other, in ``seconds``, and in hours × GPUs.

    ``low`` and ``high`` are bounds if every cell is as far off as it may be. ``known`` of the ``cells`` cells
    are estimated from past records; ``elsewhere`` counts, by hardware label, those estimated from published
    ones, and ``declared``, by hardware and reason, those that the suite declares.
    """

    seconds: float
    low: float
    high: float
    gpu_h: float
    gpu_low: float
    gpu_high: float
    cells: int
    known: int
    elsewhere: Mapping[str, int]
    declared: Mapping[str, int]


def estimate(cells: Sequence[PlannedCell]) -> Estimate:
    """The time that cells take one after the other. A cell that nothing is known of counts as the median of
    the others, and as anything between nothing and its limit.
    """
    timed = [c.timing.seconds for c in cells if c.timing is not None]
    typical = median(timed) if timed else 0.0
    of = [(c.timing or Timing(typical, 0.0, max(typical, 60 * c.needs.minutes)), c.needs.gpu) for c in cells]
    return Estimate(
        seconds=sum(t.seconds for t, _ in of),
        low=sum(t.low for t, _ in of),
        high=sum(t.high for t, _ in of),
        gpu_h=sum(t.seconds * gpu for t, gpu in of) / 3600,
        gpu_low=sum(t.low * gpu for t, gpu in of) / 3600,
        gpu_high=sum(t.high * gpu for t, gpu in of) / 3600,
        cells=len(cells),
        known=sum(c.timing is not None and not c.timing.declared for c in cells),
        elsewhere=Counter(c.timed_on for c in cells if c.timed_on),
        declared=Counter(c.timing.declared for c in cells if c.timing is not None and c.timing.declared),
    )
