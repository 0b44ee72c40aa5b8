"""From a plan and its store to boards: every planned cell becomes a slot, whether it has a record or not, and
where a rule chooses among the draws of a search, the slot of the draw that it chose.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bench.board.model import Board
from bench.board.paper_figures import read_paper_figures
from bench.board.registry import Element, of_plugins
from bench.board.search import Rule, Searched, choose, searched
from bench.board.spec import BoardSpec, RowInfo, Slot
from bench.contract import BenchError
from bench.plan import Plan, PlannedCell, plan_searches, rows_with_space
from bench.registry import Registry
from bench.store.committed.layers import Records, store_name
from bench.suite import TrackPlan


def boards(
    plan: Plan, store: Records, figures: Path, registry: Registry | None = None, select: Rule = "default"
) -> list[Board]:
    """A board for each track of the plan.

    Args:
        plan: the cells.
        store: their records.
        figures: the folder with a file ``<track>.csv`` of the numbers that the paper printed.
        registry: its plugins may declare pictures and derived tables of their own; without it, no search is
            shown.
        select: the rule that chooses among the draws of searches.

    Raises:
        BenchError: the rule wants a search, and no row of a track has one.
    """
    elements = of_plugins(registry) if registry is not None else []
    found = _searches(plan, store, registry) if registry is not None else {}
    made = []
    for p in plan.tracks:
        search = found.get(p.track.name)
        if search is None and select != "default":
            where = store_name(store.url)
            raise BenchError(
                f"--select {select}: in {where} no row of {p.track.name} was searched; "
                f"`bench search -t {p.track.name} -m ROW` runs draws from the search spaces of rows"
                + (f" (searched: -t {', -t '.join(found)})" if found else "")
            )
        if select == "validation" and search is not None and not search.validated(p.ranks_by):
            raise BenchError(
                f"--select validation: no draw of {p.track.name} has a val_{p.ranks_by} to choose by: "
                "the track scores no validation data"
            )
        made.append(_board(plan, p, store, figures / f"{p.track.name}.csv", elements, search, select))
    return made


def _searches(plan: Plan, store: Records, registry: Registry) -> dict[str, Searched]:
    """Track -> its search: of several samplers that of most rows, then that with most draws of each."""
    out: dict[str, list[Searched]] = defaultdict(list)
    for sampler, (drawn, draws) in sorted(plan_searches(plan, registry, store, store.draws()).items()):
        for p in plan.tracks:
            slots: dict[str, dict[tuple[str, int], list[Slot]]] = defaultdict(lambda: defaultdict(list))
            for c in drawn.cells:
                if c.plan.track.name == p.track.name:
                    slots[c.row][c.task.name, c.cell.seed].append(slot(c))
            of = [d for d in draws if d.track == p.track.name]
            if (found := searched(sampler, slots, of, rows_with_space(plan, registry, p))) is not None:
                out[p.track.name].append(found)
    return {track: max(found, key=lambda s: (len(s.slots), s.draws)) for track, found in out.items()}


def _chosen(cells: Sequence[PlannedCell], search: Searched, rule: Rule) -> Iterator[tuple[PlannedCell, Slot]]:
    """The cells that a rule has something to say of, each with the slot of the draw that it chose: those of
    rows that were searched, and of rows that have nothing to search, where all were searched.
    """
    places = set(search.places)
    for c in cells:
        at = c.task.name, c.cell.seed
        if at not in places or c.row in search.unsearched:
            continue
        slots = search.slots.get(c.row, {}).get(at)
        if slots is None:
            yield c, slot(c)
        else:
            metric = c.plan.track.metric(c.plan.ranks_by)
            yield c, replace(slots[choose(slots, rule, metric)], alias_of=c.alias_of)


def _board(
    plan: Plan, p: TrackPlan, store: Records, figures: Path, elements: list[Element],
    search: Searched | None, rule: Rule,
) -> Board:  # fmt: skip
    cells = [c for c in plan.cells if c.plan.track.name == p.track.name]
    slots = [slot(c) for c in cells]
    if rule != "default" and search is not None:
        chosen = list(_chosen(cells, search, rule))
        cells, slots = [c for c, _ in chosen], [s for _, s in chosen]
    names = {c.task.name for c in cells}
    spec = BoardSpec(
        track=p.track,
        profile=p.profile,
        ranks_by=p.ranks_by,
        tasks=[t for t in plan.tasks[p.track.name] if t.name in names],
        rows=list({c.row: _row(c) for c in cells}.values()),
        paper_figures=read_paper_figures(figures) if figures.is_file() else (),
        note="only the cells that were asked for" if plan.filtered else "",
        source=store_name(store.url),
        elements=elements,
        selection=rule,
        search=search,
    )
    return Board(spec, slots, store.read, store.artifacts)


def _row(c: PlannedCell) -> RowInfo:
    """What the board says of a row. A cell may be another row's by construction; the row is still its own."""
    own = c.shown
    m = own.method
    counterpart = m.counterpart_of(c.row)
    return RowInfo(
        row=c.row,
        label=m.label(c.row),
        role=own.role,
        core=c.core,
        deterministic=m.deterministic and not c.plan.track.split_per_seed,
        counterpart=counterpart if counterpart != c.row else None,
        ref=m.ref,
    )


def slot(c: PlannedCell) -> Slot:
    """One planned cell as the board sees it."""
    head, state = c.summary, c.state
    if head is None or (head.status == "skipped" and state == "new" and c.skip is None):
        status = "blocked" if state == "blocked" else "skipped" if c.skip else "new"
        return Slot(
            row=c.row, task=c.task.name, seed=c.cell.seed, key=c.key, status=status, reason=c.reason,
            alias_of=c.alias_of,
        )  # fmt: skip
    return Slot(
        row=c.row,
        task=c.task.name,
        seed=c.cell.seed,
        key=c.key,
        status=head.status,
        metrics=head.metrics if head.status == "ok" else {},
        cost=head.cost,
        hardware=head.hardware,
        reason=head.error or head.reason,
        stale=tuple(c.causes),
        marks=tuple(head.marks),
        alias_of=c.alias_of,
        layer=head.layer or "own",
        verified=head.verified,
    )
