"""`bench plan`: which cells are done, which are to be run, and how long these take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.table import Table

from bench.cli.console import console, duration, escape, in_parts
from bench.cli.options import Options, takes
from bench.cli.session import Session
from bench.plan import Estimate, Plan, PlannedCell, estimate
from bench.store import provenance

#: The most tasks with which the table has room to name the row whose cell an aliased one is.
WIDE = 5
STATES = ("done", "new", "stale", "failed", "blocked")


@takes("profile", "track", "method", "filter", "fresh", "store", "suite", "plugin")
def command(
    options: Options,
    cells: Annotated[bool, typer.Option("--cells", help="List every cell with its key.")] = False,
) -> None:
    """List cells and stages by state (new, done, stale, failed, blocked), and the hours that are left."""
    plan = Session.open(options).plan()
    for p in plan.tracks:
        for table in _tables(plan, p.track.name):
            console.print(table)
    if cells:
        console.print(_cells(plan))
    for text in _reasons(plan):
        console.print(f"  {escape(text)}", soft_wrap=True)
    console.print(summary(plan))


def summary(plan: Plan) -> str:
    """One line: how many cells are in which state, and an estimate of the time that those to run take."""
    count, published = plan.count(), _published(plan)
    words = {s: f"{count[s]} {s}" + (f" ({published[s]} published)" if published[s] else "") for s in count}
    states = ", ".join(words[s] for s in STATES if s in words) or "no cell"
    todo = [c for c in plan.to_run() if c.skip is None]
    stages = [s for s in plan.stages.values() if s.state in ("new", "stale")]
    parts = [f"profile {plan.profile}: {states}"]
    if stages:
        parts.append(f"{len(stages)} stage{'s' if len(stages) > 1 else ''} to build first")
    if todo:
        parts.append(f"{len(todo)} to run: {hours(plan, todo)}")
    waiting = {c.key: c for c in plan.cells if c.state == "blocked" and c.skip is None}
    if blocked := list(waiting.values()):
        parts.append(f"{len(blocked)} to run when their data are here: {hours(plan, blocked)}")
    return "; ".join(parts)


def _published(plan: Plan) -> Counter[str]:
    """How many cells of each state have a published record."""
    return Counter(c.state for c in {c.key: c for c in plan.cells}.values() if c.summary and c.summary.layer)


def hours(plan: Plan, cells: Sequence[PlannedCell]) -> str:
    """How long cells take, what says so, and how uncertain it is; at most by their limits if nothing does."""
    e = estimate(cells)
    if e.known or e.declared:
        said = f"about {duration(e.seconds)} on one worker"
        if e.gpu_h:
            low, middle, high = (
                f"{h:,.0f}" if h >= 10 else f"{h:.2g}" for h in (e.gpu_low, e.gpu_h, e.gpu_high)
            )
            said += f", {middle} GPU-hours (between {low} and {high})"
        else:
            said += f" (between {duration(e.low)} and {duration(e.high)})"
        by = [f"by past records of {e.known} of them"] if e.known else []
        if n := sum(e.declared.values()):
            by.append(f"by the cost that the suite declares for {n} of them, which was not measured")
        return f"{said}, {', '.join(by)}" + "".join(f" ({text})" for text in _elsewhere(plan, e))
    bound = sum(60 * c.needs.minutes for c in cells)
    return f"no past record to estimate from, at most {duration(bound)} by their limits"


def _elsewhere(plan: Plan, e: Estimate) -> Iterator[str]:
    """A remark for each kind of other hardware on which times were measured that the estimate rests on."""
    for label, n in e.elsewhere.items():
        if (factor := plan.factors.get(label)) is not None:
            yield (
                f"{n} of these on {label}, whose times are multiplied with {factor.ratio:.2g}, as in "
                f"{factor.cells} cells that ran here too"
            )
        elif label != (here := provenance.environment()["label"]):
            yield f"{n} of these on {label}; this machine, {here}, may differ"


def _tables(plan: Plan, track: str) -> Iterator[Table]:
    """The cells of a track as rows by tasks, in as many tables as it takes to cut no name."""
    cells = [c for c in plan.cells if c.plan.track.name == track]
    tasks = list(dict.fromkeys(c.task.name for c in cells))
    by_row: dict[str, dict[str, list[PlannedCell]]] = {}
    for c in cells:
        by_row.setdefault(c.row, {}).setdefault(c.task.name, []).append(c)
    brief = len(tasks) > WIDE
    wide = max(map(len, [*by_row, ""]))
    words = ["3 blocked"] if brief else ["skipped", *(c.alias_of for c in cells if c.alias_of)]
    column = 2 + max(map(len, [*words, *tasks]))
    for n, part in enumerate(in_parts(tasks, column, console.width - wide)):
        title = None if n else f"{track} · {plan.profile}"
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        table.add_column("row", no_wrap=True, min_width=wide)
        for task in part:
            table.add_column(task, justify="center", no_wrap=brief)
        for name, columns in by_row.items():
            table.add_row(escape(name), *(_states(columns.get(t, []), brief) for t in part))
        yield table


_STYLES = {"done": "green", "new": "", "stale": "yellow", "failed": "red", "blocked": "magenta"}


def _states(cells: list[PlannedCell], brief: bool) -> str:
    """The states of a row on a task: ``2 done 1 new``; ``= row`` for an alias of a row; ``·`` for none."""
    if not cells:
        return "·"
    if cells[0].alias_of:
        return "[dim]=[/]" if brief else f"[dim]= {escape(cells[0].alias_of)}[/]"
    if all(c.skip for c in cells):
        return "[dim]skipped[/]"
    counted = {s: n for s in STATES if (n := sum(c.state == s for c in cells))}
    return " ".join(f"[{_STYLES[s]}]{n} {s}[/]" if _STYLES[s] else f"{n} {s}" for s, n in counted.items())


def _reasons(plan: Plan) -> list[str]:
    """Why cells are blocked, stale or failed, and where the suite declares how long they take: each reason
    once, with the number of cells that it concerns.
    """
    reasons: dict[str, int] = {}
    for c in plan.cells:
        if c.state == "blocked" or (c.state == "failed" and c.reason):
            text = c.reason if c.state == "failed" else f"blocked: {c.reason}"
            reasons[text] = reasons.get(text, 0) + 1
        elif c.state == "stale":
            for cause in c.causes:
                reasons[f"stale: {cause}"] = reasons.get(f"stale: {cause}", 0) + 1
    for s in plan.stages.values():
        text = f"stage {s.stage.name}: {s.state}{f' ({s.reason})' if s.reason else ''}"
        reasons[text] = reasons.get(text, 0) + 1
    declared = estimate([c for c in plan.cells if c.state != "done" and c.skip is None]).declared
    reasons |= {f"time declared by the suite: steps × step time on {text}": n for text, n in declared.items()}
    return [f"{text} ({n})" for text, n in reasons.items()]


def _cells(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("key", "state", "cell", "estimate"):
        table.add_column(name, no_wrap=name == "key")
    for c in plan.cells:
        state = "skipped" if c.skip else c.state
        seconds = duration(c.timing.seconds) if c.timing is not None else ""
        where = f"{c.cell.track} · {c.task.name} · {c.row} · seed {c.cell.seed}"
        table.add_row(c.key, state, escape(where), seconds)
    return table
