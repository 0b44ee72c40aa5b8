"""Scores by example of the test set, where records keep them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.board.spec import Slot
from bench.contract import Record, Units

#: A board with more cells than these would take minutes to open their files.
MAX_CELLS = 5000


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one row on the examples of one task, each array (n,) in ascending order of the ids.

    ``groups`` say which examples are not independent, and ``order`` is the position of each example in the
    record.
    """

    ids: np.ndarray
    values: np.ndarray
    groups: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, units: Units) -> Scores:
        """As a record keeps them."""
        order = np.argsort(units.ids)
        groups = units.ids if units.groups is None else units.groups
        return cls(units.ids[order], units.values[order], groups[order], order)


class Examples:
    """Reads the scores by example of cells, each file once."""

    def __init__(
        self,
        slots: Sequence[Slot],
        read: Callable[[str], Record | None],
        units: Callable[[str], Units | None],
    ) -> None:
        """``read`` gives the record of a key, ``units`` the scores that a record names."""
        self._read, self._units = read, units
        self._first = next((s for s in slots if s.status == "ok"), None)
        self.too_many = len(slots) > MAX_CELLS
        self._kept: dict[str, bool] = {}
        self._found: dict[tuple[str, str], Scores | None] = {}

    def kept(self, metric: str) -> bool:
        """Whether records keep scores of a metric, which the first ok one says for all; False on a board of
        more than `MAX_CELLS` cells, where they are not opened.
        """
        if metric not in self._kept:
            record = None if self.too_many or self._first is None else self._read(self._first.key)
            self._kept[metric] = record is not None and metric in record.units
        return self._kept[metric]

    def of_seeds(self, slots: Iterable[Slot], metric: str) -> Mapping[int, Scores] | None:
        """Seed -> scores of the cells of one row and task; None unless every ok one has some."""
        if not self.kept(metric):
            return None
        found: dict[int, Scores] = {}
        for s in slots:
            if s.status == "ok":
                scores = self._scores(s.key, metric)
                if scores is None or s.seed in found:  # replicates of a seed are averaged, and have no ids
                    return None
                found[s.seed] = scores
        return found or None

    def _scores(self, key: str, metric: str) -> Scores | None:
        if (key, metric) not in self._found:
            record = self._read(key)
            name = record.units.get(metric) if record is not None else None
            units = self._units(name) if name is not None else None
            self._found[key, metric] = None if units is None else Scores.of(units)
        return self._found[key, metric]


def averaged(of_seeds: Mapping[int, Scores] | None) -> Scores | None:
    """The mean over seeds; None if these were scored on different examples."""
    if not of_seeds:
        return None
    first, *others = of_seeds.values()
    if not all(np.array_equal(first.ids, s.ids) for s in others):
        return None
    values = np.mean([s.values for s in of_seeds.values()], axis=0)
    return Scores(first.ids, values, first.groups, first.order)
