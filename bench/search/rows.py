"""Which rows a search is of, what it has drawn for them before, and what it draws next."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bench.contract import BenchError
from bench.declarations import Dimension, search_space
from bench.plan import Plan, PlannedCell
from bench.registry import Registry, selects
from bench.search.samplers import STARTUP, Sampler, Space
from bench.store.draws import Draw
from bench.store.records import Store
from bench.store.summaries import Readable

#: Draws of an adaptive search that run side by side; each learns from all that ended before.
ROUND = 4


@dataclass(slots=True)
class Search:
    """A search of the rows of a plan, with the same number of draws for each.

    Attributes:
        plan: the cells that are searched, as they are by default.
        spaces: one for each row, of an adaptive search one for each row and task.
        without: the rows of the plan that have nothing to search.
        known: identity of a search (`Draw.search`) -> its draws so far, by their numbers.
    """

    plan: Plan
    sampler: Sampler
    spaces: list[Space]
    without: list[str]
    known: dict[str, dict[int, Draw]] = field(default_factory=lambda: defaultdict(dict))

    @classmethod
    def of(
        cls, plan: Plan, registry: Registry, records: Readable, sampler: Sampler, named: Sequence[str] = ()
    ) -> Search:
        """The search of the rows of a plan.

        Args:
            plan: the cells, as they are by default.
            registry: the tracks and rows that there are.
            records: the draws of searches before.
            sampler: who draws.
            named: the patterns of rows that were asked for; each has to match a row with a space.

        Raises:
            BenchError: a row without a space, or Optuna is not installed.
        """
        tasks: dict[tuple[str, str], dict[str, None]] = {}
        for c in plan.cells:
            for row in (c.row, c.cell.row):  # where a cell is another row's, so are its draws
                tasks.setdefault((c.plan.track.name, row), {})[c.task.name] = None
        tracks = {p.track.name: p.track for p in plan.tracks}
        spaces = {
            (track, row): search_space(tracks[track], registry.row(track, row).method, row)
            for track, row in tasks
        }
        with_space = {at: space for at, space in spaces.items() if space}
        _check(plan, registry, with_space, named)
        made = [
            Space(*at, space, sampler, task)
            for at, space in with_space.items()
            for task in (tasks[at] if sampler == "tpe" else [""])
        ]
        shown = dict.fromkeys((c.plan.track.name, c.row) for c in plan.cells)
        found = cls(plan, sampler, made, [row for track, row in shown if (track, row) not in with_space])
        for draw in records.draws():
            found.known[draw.search][draw.index] = draw
        return found

    def draw(self, n: int) -> list[Draw]:
        """The first ``n`` draws of each row: those drawn before, and those that need no results."""
        blind = min(n, STARTUP) if self.sampler == "tpe" else n
        out: list[Draw] = []
        for space in self.spaces:
            known = self.known[space.search]
            if any(i not in known for i in range(blind)):
                for draw in space.draws(blind):
                    known.setdefault(draw.index, draw)
            out += [known[i] for i in sorted(known) if i < n]
        return out

    def learn(self, n: int, cells: Iterable[PlannedCell]) -> list[Draw]:
        """All draws of an adaptive search so far, with a few more of each row and task, at most ``n`` each.

        Args:
            n: how many each row gets in all.
            cells: the cells of the draws so far, every one of which has ended.
        """
        scores = _scores(cells)
        out: list[Draw] = []
        for space in self.spaces:
            known = self.known[space.search]
            if len(known) < n:
                told = [(scores[space.track, space.row, space.task, i], i) for i in known]
                told.sort(key=lambda t: t[0][0])
                pairs = [(known[i], value) for (_, value), i in told]
                more = space.learn(pairs, min(ROUND, n - len(known)), self._better(space.track))
                known.update({d.index: d for d in more})
            out += [known[i] for i in sorted(known) if i < n]
        return out

    def _better(self, track: str) -> str:
        (p,) = [p for p in self.plan.tracks if p.track.name == track]
        return p.track.metric(p.ranks_by).better

    def write(self, draws: Iterable[Draw], store: Store, records: Readable) -> None:
        """Write the draws that are not there yet.

        Raises:
            StoreError: the store cannot be written.
        """
        there = {(d.search, d.index) for d in records.draws()}
        for draw in draws:
            if (draw.search, draw.index) not in there:
                store.write_draw(draw)


def _scores(cells: Iterable[PlannedCell]) -> dict[tuple[str, str, str, int], tuple[str, float]]:
    """(track, row, task, draw) -> when its last seed ended, and the mean score on validation; NaN if a seed
    has none.
    """
    of: dict[tuple[str, str, str, int], list[PlannedCell]] = defaultdict(list)
    for c in cells:
        for row in {c.row, c.cell.row}:
            of[c.plan.track.name, row, c.task.name, c.draw or 0].append(c)
    out = {}
    for at, seeds in of.items():
        name = f"val_{seeds[0].plan.ranks_by}"
        ended = [c.summary.ended if c.summary is not None else "" for c in seeds]
        values = [c.summary.metrics.get(name) if c.summary is not None else None for c in seeds]
        numbers = [v if isinstance(v, float | int) else math.nan for v in values]
        out[at] = max(ended), sum(numbers) / len(numbers)
    return out


def _check(
    plan: Plan,
    registry: Registry,
    spaces: dict[tuple[str, str], list[Dimension]],
    named: Sequence[str],
) -> None:
    """Raise `BenchError` where there is nothing to search: for each pattern, and altogether."""
    rows = list(dict.fromkeys(c.row for c in plan.cells))
    searched = {row for _, row in spaces}
    for pattern in named or ["*"]:
        hits = [r for r in rows if selects(pattern, r)]
        if hits and not searched.intersection(hits):
            names = [
                r for p in plan.tracks for r in registry.rows(p.track.name)
                if search_space(p.track, registry.row(p.track.name, r).method, r)
            ]  # fmt: skip
            what = f"-m {pattern}: {', '.join(hits[:3])}" if named else "no row of the plan"
            has = "has no search space" if named else "has a search space"
            raise BenchError(
                f"{what} {has}, so there is nothing to search. Rows with one: {', '.join(names) or 'none'}; "
                "a method declares it as hp={'lr': Space(default=1e-3, low=1e-4, high=1e-2, log=True)}"
            )
