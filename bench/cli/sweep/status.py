"""`bench status`: the status of every cell as a matrix, and the hours spent so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rich.table import Table
from rich.text import Text

from bench.cli.console import console, duration, escape, in_parts
from bench.cli.options import Options, takes
from bench.cli.session import Session
from bench.cli.sweep.plan import summary
from bench.contract import SYMBOLS
from bench.plan import Plan, PlannedCell
from bench.store.summaries import RecordSummary

_STYLES = {
    "ok": "green",
    "new": "dim",
    "skipped": "dim",
    "stale": "yellow",
    "lost": "magenta",
    "blocked": "magenta",
}
_MARKS = {**SYMBOLS, "ok": "■", "stale": "†"}


@takes("profile", "track", "method", "filter", "published", "fresh", "store", "suite", "plugin")
def command(options: Options) -> None:
    """Show every cell by its status, one mark a seed, and the hours spent so far."""
    plan = Session.open(options).plan()
    for p in plan.tracks:
        for table in _matrix(plan, p.track.name):
            console.print(table)
    counted = Counter(_status(c) for c in {c.key: c for c in plan.cells}.values())
    legend = Text()
    for status, n in counted.items():
        legend.append(f"{_MARKS[status]} {status} {n}   ", style=_STYLES.get(status, "red"))
    console.print(legend)
    heads = {c.key: c.summary for c in plan.cells if c.summary is not None}.values()
    own = [h for h in heads if not h.layer]
    published = [h for h in heads if h.layer]
    spent = f"spent so far: {duration(_spent(own))} of worker time over {len(own)} records"
    if published:
        spent += f"; {duration(_spent(published))} over {len(published)} published ones, elsewhere"
    console.print(spent)
    console.print(summary(plan))


def _spent(heads: Iterable[RecordSummary]) -> float:
    """Seconds of worker time that the records say were spent on their cells."""
    kinds = ("load_s", "run_s", "score_s", "snapshot_s")
    return float(sum(v for h in heads for k, v in h.cost.items() if k in kinds))


def _status(c: PlannedCell) -> str:
    if c.state == "stale":
        return "stale"
    if c.skip:
        return "skipped"
    return c.summary.status if c.summary is not None and c.state != "new" else c.state


def _matrix(plan: Plan, track: str) -> Iterator[Table]:
    """The cells of a track as rows by tasks, in as many tables as it takes to cut no name."""
    cells: dict[str, dict[str, list[PlannedCell]]] = {}
    tasks: dict[str, int] = {}
    for c in plan.cells:
        if c.plan.track.name == track:
            of = cells.setdefault(c.row, {}).setdefault(c.task.name, [])
            of.append(c)
            tasks[c.task.name] = max(tasks.get(c.task.name, 0), len(of))
    column = 2 + max((max(len(task), seeds) for task, seeds in tasks.items()), default=0)
    room = console.width - max(map(len, [*cells, "row"]))
    for n, part in enumerate(in_parts([*tasks], column, room)):
        title = None if n else f"{track} · {plan.profile}"
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for name in ("row", *part):
            table.add_column(name)
        for row, of_row in cells.items():
            table.add_row(escape(row), *(_marks(of_row.get(task, ())) for task in part))
        yield table


def _marks(cells: Sequence[PlannedCell]) -> Text:
    text = Text()
    for c in cells:
        status = _status(c)
        text.append(_MARKS[status] if not c.alias_of else "=", style=_STYLES.get(status, "red"))
    return text
