"""`bench status`: the status of every cell as a matrix, what drivers do, and what was spent so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from bench.cli.console import console, duration, escape, in_parts
from bench.cli.options import Options, takes
from bench.cli.session import Session
from bench.cli.sweep.launch import JobsOption, command_line, state_of
from bench.cli.sweep.logs import SweepArgument
from bench.cli.sweep.plan import summary
from bench.cli.sweep.run import RateOption

if TYPE_CHECKING:
    from bench.live.overview import Mark, Matrix

_STYLES = {
    "ok": "green",
    "running": "cyan",
    "new": "dim",
    "skipped": "dim",
    "stale": "yellow",
    "lost": "magenta",
    "blocked": "magenta",
}
#: The most failures and running cells that are listed, and lines of a log.
FAILURES, RUNNING, LINES = 5, 12, 5


@takes("profile", "track", "method", "filter", "published", "fresh", "store", "suite", "plugin")
def command(
    options: Options, key: SweepArgument = "", address: JobsOption = None, rate: RateOption = None
) -> None:
    """Show every cell by its status, one mark a seed, what runs now, what failed, and the hours spent so far.

    With --address, or the KEY of a launched sweep, list the sweeps that were launched on a cluster instead.
    """
    if key or address:
        _launched(key, address)
        return
    from bench.live.facts import LiveFiles
    from bench.live.overview import MARKS, overview
    from bench.live.page import sentence, spent

    session = Session.open(options)
    records = session.records()
    plan = session.plan(records)
    drivers = [] if options.published else LiveFiles(session.store.url).drivers()
    view = overview(plan, records, drivers, rate, failures=FAILURES)
    for matrix in view.matrices:
        for table in _tables(matrix, plan.profile, MARKS):
            console.print(table)
    legend = Text()
    for status, n in view.counts.items():
        legend.append(f"{MARKS[status]} {status} {n}   ", style=_STYLES.get(status, "red"))
    console.print(legend)
    console.print(spent(view))
    now = datetime.now(UTC)
    for d in [d for d in view.drivers if d.alive(now)] or view.drivers[:1]:
        console.print(f"driver {escape(d.name)}: {escape(sentence(d, now))}", soft_wrap=True)
        for r in d.running[:RUNNING] if d.alive(now) else ():
            node = f" on {r.node}" if r.node else ""
            console.print(f"  ▶ {escape(r.label)}{escape(node)}, {duration(r.seconds)}", soft_wrap=True)
        for text in d.left_out:
            console.print(f"  [magenta]left out[/] {escape(text)}", soft_wrap=True)
    for f in view.failures:
        console.print(f"[red]{f.status}[/] {escape(f'{f.cell} [{f.key}]: {f.why}')}", soft_wrap=True)
        for line in f.lines[-2:]:
            console.print(f"    {escape(line)}", soft_wrap=True)
    console.print(summary(plan))


def _tables(matrix: Matrix, profile: str, marks: Mapping[str, str]) -> Iterator[Table]:
    """The cells of a track as rows by tasks, in as many tables as it takes to cut no name."""
    seeds = [max((len(of[i]) for of in matrix.rows.values()), default=0) for i in range(len(matrix.tasks))]
    column = 2 + max((max(len(t), n) for t, n in zip(matrix.tasks, seeds, strict=True)), default=0)
    room = console.width - max(map(len, [*matrix.rows, "row"]))
    at = {task: i for i, task in enumerate(matrix.tasks)}
    for n, part in enumerate(in_parts([*matrix.tasks], column, room)):
        title = None if n else f"{matrix.track} · {profile}"
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for name in ("row", *part):
            table.add_column(name)
        for row, of_row in matrix.rows.items():
            table.add_row(escape(row), *(_marks(of_row[at[task]], marks) for task in part))
        yield table


def _marks(cells: Sequence[Mark], marks: Mapping[str, str]) -> Text:
    text = Text()
    for c in cells:
        text.append("=" if c.alias else marks[c.status], style=_STYLES.get(c.status, "red"))
    return text


# -------------------------------------------------------------------------------------------- on a cluster


def _launched(key: str, address: str | None) -> None:
    """The sweeps that were launched on a cluster, and the last lines of the one that is meant."""
    from bench.cluster import jobs

    client, server = jobs.connect(address)
    found = [jobs.find(client, key, server.url)] if key else jobs.ours(client)
    if not found:
        console.print(
            f"no sweep was launched at {escape(server.url)} since its head was started", soft_wrap=True
        )
        return
    table = Table(box=None, pad_edge=False)
    for name in ("sweep", "state", "command", "code"):
        table.add_column(name, no_wrap=name == "sweep")
    for job in found:
        commit = (job.metadata or {}).get("commit", "")
        table.add_row(str(job.submission_id), state_of(job), escape(command_line(job)), escape(commit))
    console.print(table)
    shown = found[0]
    lines = [x for x in jobs.logs(client, str(shown.submission_id)).splitlines() if x.strip()]
    if lines and (key or shown.status not in jobs.ENDED):
        console.print(f"[bold]last lines of {escape(str(shown.submission_id))}[/]")
        for line in lines[-LINES:]:
            console.print(f"  {escape(line)}", soft_wrap=True)
