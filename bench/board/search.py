"""What searches found, and the rules that choose a draw: applied to records when a board is made.

``default`` takes the row as it is, ``validation`` the draw that is best on validation, ``oracle`` the one
that is best on the test data. The same records serve all three, and each row is chosen among the same number
of draws: as many as every searched row has, over the tasks and seeds on which all of them were searched (a
row with fewer seeds takes none from the others). Each seed chooses for itself: it is a repetition of
everything, of the search too.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench import stats
from bench.board.spec import WITHOUT_END, Slot
from bench.contract import Metric
from bench.stats import Array
from bench.store.draws import Draw

Rule = Literal["default", "validation", "oracle"]
#: How a sampler is called in a sentence; of an adaptive one the draws have an order.
SAMPLERS: Mapping[str, str] = {
    "random": "random search",
    "qmc": "quasi-random search",
    "tpe": "adaptive search by TPE, whose draws depend on the order of ends",
}
#: Orders of the draws that a curve is the mean over.
_ORDERS = 2_000


@dataclass(frozen=True, slots=True)
class Searched:
    """The search of one track by one sampler.

    Attributes:
        sampler: who drew.
        draws: how many draws of each row the rules choose among.
        slots: row -> (task, seed) -> what became of each of these draws, in their order.
        values: (row, task) -> these draws themselves; the task is "" where the draws are those of all tasks.
        unsearched: rows that have a search space, and too few draws.
    """

    sampler: str
    draws: int
    slots: Mapping[str, Mapping[tuple[str, int], Sequence[Slot]]]
    values: Mapping[tuple[str, str], Sequence[Draw]]
    unsearched: Sequence[str]

    @property
    def places(self) -> tuple[tuple[str, int], ...]:
        """The tasks and seeds of the search."""
        return tuple(dict.fromkeys(at for of in self.slots.values() for at in of))

    def validated(self, metric: str) -> bool:
        """Whether any draw has a score on validation."""
        slots = (s for of in self.slots.values() for found in of.values() for s in found)
        return any(s.metrics.get(f"val_{metric}") is not None for s in slots)

    def draw(self, row: str, task: str, index: int) -> Draw:
        """One draw of a row on a task."""
        return (self.values.get((row, "")) or self.values[row, task])[index]


def searched(
    sampler: str,
    ended: Mapping[str, Mapping[tuple[str, int], Sequence[Slot]]],
    draws: Iterable[Draw],
    with_space: Sequence[str],
) -> Searched | None:
    """What was searched, of the slots of all draws; None where no row has a draw beside its default.

    Args:
        sampler: who drew.
        ended: row -> (task, seed) -> the slots of its draws in their order, whether or not they have ended.
        draws: the draws.
        with_space: every row that has a search space.
    """
    counts = {row: {at: _leading(slots) for at, slots in of.items()} for row, of in ended.items()}
    rows = [row for row, of in counts.items() if max(of.values(), default=0) > 1]
    places = list(dict.fromkeys(at for row in rows for at in counts[row]))
    places = [at for at in places if all(counts[row].get(at, 2) > 1 for row in rows)]
    if not places:
        return None
    of_row = {row: of for row in rows if (of := [at for at in places if at in counts[row]])}
    n = min(counts[row][at] for row, of in of_row.items() for at in of)
    values: dict[tuple[str, str], list[Draw]] = defaultdict(list)
    for d in draws:
        values[d.row, d.task].append(d)
    return Searched(
        sampler, n, {row: {at: tuple(ended[row][at][:n]) for at in of} for row, of in of_row.items()}, values,
        [row for row in with_space if row not in of_row],
    )  # fmt: skip


def _leading(slots: Sequence[Slot]) -> int:
    """How many draws have ended before the first one that has not."""
    return next((i for i, s in enumerate(slots) if s.status in WITHOUT_END), len(slots))


def choose(slots: Sequence[Slot], rule: Rule, metric: Metric) -> int:
    """The number of the draw that a rule chooses; of equals the first, the default where none has a value."""
    if rule == "default":
        return 0
    scores = _scores(slots, metric.name if rule == "oracle" else f"val_{metric.name}", metric)
    return int(np.argmax(scores))


def _scores(slots: Sequence[Slot], name: str, metric: Metric) -> Array:
    """The values of a metric with their sign so that more is better; minus infinity where there is none."""
    sign = -1.0 if metric.better == "lower" else 1.0
    values = [stats.split_value(s.metrics.get(name))[0] if s.status == "ok" else math.nan for s in slots]
    return np.array([-math.inf if math.isnan(v) else sign * v for v in values])


@dataclass(frozen=True, slots=True)
class Curve:
    """The score on test against the number of draws that validation chooses among.

    ``mean[k]`` is over the orders in which k + 1 of the draws may come, the default first, and over tasks and
    seeds; 95 % of the orders end between ``low[k]`` and ``high[k]``. NaN where some order has no value yet.
    """

    mean: Array
    low: Array
    high: Array


def curve(found: Searched, row: str, metric: Metric) -> Curve:
    """The curve of best of k by validation of a row. An adaptive search has one order, that of its draws."""
    n, generator = found.draws, np.random.default_rng(0)
    later = np.arange(1, n)
    orders = (
        later[None] if found.sampler == "tpe" else generator.permuted(np.tile(later, (_ORDERS, 1)), axis=1)
    )
    order = np.concatenate([np.zeros((len(orders), 1), np.int64), orders], 1)
    by_task: dict[str, list[Array]] = defaultdict(list)
    for (task, _), slots in found.slots[row].items():
        by_task[task].append(_best_so_far(slots, order, metric))
    value = np.mean([np.mean(seeds, 0) for seeds in by_task.values()], 0)
    low, high = np.quantile(value, [0.025, 0.975], axis=0)
    return Curve(value.mean(0), low, high)


def _best_so_far(slots: Sequence[Slot], order: np.ndarray, metric: Metric) -> Array:
    """For orders of draws (orders, n): the test score of the best so far on validation, in the same shape."""
    tests = np.array([stats.split_value(s.metrics.get(metric.name))[0] for s in slots])
    ordered = _scores(slots, f"val_{metric.name}", metric)[order]
    best = np.maximum.accumulate(ordered, 1)
    before = np.concatenate([np.full((len(order), 1), -math.inf), best[:, :-1]], 1)
    place = np.maximum.accumulate(np.where(ordered > before, np.arange(order.shape[1]), 0), 1)
    chosen = tests[np.take_along_axis(order, place, 1)]
    return np.where(np.isneginf(best), math.nan, chosen)


def seconds(found: Searched, row: str) -> dict[str, float]:
    """Hardware label -> the seconds that the cells of a row's draws took; a cell of several draws once."""
    cells = {s.key: s for slots in found.slots[row].values() for s in slots}
    out: dict[str, float] = defaultdict(float)
    for s in cells.values():
        for name in ("load_s", "run_s", "score_s", "snapshot_s"):
            out[s.hardware] += s.cost.get(name) or 0.0
    return dict(out)
