"""`bench compare A B`: a paired comparison of two rows, with a verdict and an exit code."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.console import console, escape
from bench.cli.options import Options, takes
from bench.cli.session import Session
from bench.contract import BenchError
from bench.errors import nearest
from bench.plan import Plan
from bench.suite import resolve

if TYPE_CHECKING:
    from bench.board.examples import ByExample


@takes("profile", "track", "filter", "published", "fresh", "store", "suite", "plugin")
def command(
    options: Options,
    a: Annotated[str, typer.Argument(help="A row.")],
    b: Annotated[str, typer.Argument(help="The row that it is compared with.")],
    metric: Annotated[
        str | None, typer.Option("--metric", help="The metric to compare (default: the one that ranks).")
    ] = None,
) -> None:
    """Compare two rows over the tasks that both have.

    The exit code is 1 if A is worse than B, and 0 if it is better or cannot be told apart from it.
    """
    from bench import stats
    from bench.board import examples

    session = Session.open(options)
    (track,) = holding = _track_of_both(session, a, b)
    session = replace(session, options=replace(options, track=holding, method=[a, b]))
    plan = session.plan()
    name = metric or plan.tracks[0].ranks_by
    try:
        declared = plan.tracks[0].track.metric(name)
    except KeyError:
        known = [m.name for m in plan.tracks[0].track.metrics]
        raise BenchError(f"--metric {name}: track {track} has no such metric{nearest(name, known)}") from None
    keys = [{c.key for c in plan.cells if c.row == r} for r in (a, b)]
    same = keys[0] & keys[1]
    values = {r: _values(plan, r, name, same) for r in (a, b)}
    for task in dict.fromkeys(c.task.name for c in plan.cells if c.key in same):
        console.print(f"  {escape(task):24} left out: the same cells, by construction")
    for task in dict.fromkeys(t for v in values.values() for t, _ in v):
        sides = [[x for (t, _), x in values[r].items() if t == task] for r in (a, b)]
        means = [f"{sum(s) / len(s):.{declared.digits}f} (n={len(s)})" if s else "no record" for s in sides]
        console.print(f"  {escape(task):24} {escape(a)} {means[0]}   {escape(b)} {means[1]}")
    of = stats.samples((c.task for c in plan.cells), plan.tracks[0].track.axis)
    seeds = {seed for v in values.values() for _, seed in v}
    values = {r: _on_every_seed(plan, r, v, seeds) for r, v in values.items()}
    unit = stats.unit_of(len(set(of.values())), len(of), len(seeds))
    if unit == "seeds":
        of = dict.fromkeys(of, "")  # all tasks are one sample, and its seeds are tested
    c = stats.compare(*stats.by_sample(values[a], values[b], of), better=declared.better, unit=unit)
    half = f" ± {c.half:.{declared.digits}f}" if c.half is not None else ""
    p = f", p = {c.p:.3g}" if c.p is not None else ""
    result = f"{c.diff:+.{declared.digits}f}{half} over {c.n} {c.unit}{p}: {c.verdict}"
    console.print(
        f"[bold]{escape(a)}[/] against [bold]{escape(b)}[/], {name}: {result}{f' ({c.why})' if c.why else ''}"
    )
    if name == plan.tracks[0].ranks_by:
        (board,) = session.boards()
        if (by := examples.paired(board, a, b)) is not None:
            console.print(f"  paired by example: {_by_example(by, declared.digits)}")
    raise typer.Exit(1 if c.verdict == "worse" else 0)


def _track_of_both(session: Session, a: str, b: str) -> list[str]:
    """The one track among those asked for that has both rows, in a list."""
    options = session.options
    tracks = options.track or [
        p.track.name for p in resolve(session.suite, session.registry, options.profile)
    ]
    both = [t for t in tracks if {a, b} <= set(session.registry.rows(t))]
    if len(both) == 1:
        return both
    if both:
        raise BenchError(f"both rows are in {' and in '.join(both)}; say which with -t TRACK")
    near = {t: [r for r in (a, b) if r not in session.registry.rows(t)] for t in tracks}
    track = min(near, key=lambda t: len(near[t]))  # the track that lacks the fewer of them
    row = near[track][0]
    raise BenchError(f"track {track} has no row {row!r}{nearest(row, session.registry.rows(track))}")


def _by_example(by: ByExample, digits: int) -> str:
    c = by.comparison
    half = f" ± {c.half:.{digits}f}" if c.half is not None else ""
    p = f", p = {c.p:.3g}" if c.p is not None else ""
    return (
        f"{c.diff:+.{digits}f}{half}, better on {c.wins} and worse on {by.worse} of {by.n} in {c.n} groups"
        f"{p}: {c.verdict} (for the networks trained here)"
    )


def _on_every_seed(
    plan: Plan, row: str, values: dict[tuple[str, int], float], seeds: set[int]
) -> dict[tuple[str, int], float]:
    """The values of a row, of a deterministic one for every seed of the other: they would be equal."""
    shown = next(c for c in plan.cells if c.row == row)
    if not shown.shown.method.deterministic or shown.plan.track.split_per_seed:
        return values
    return {(task, seed): value for (task, _), value in values.items() for seed in seeds}


def _values(plan: Plan, row: str, metric: str, without: set[str]) -> dict[tuple[str, int], float]:
    """The metric of a row's cells that have one, by (task, seed); a censored value counts as its bound."""
    out = {}
    for c in plan.cells:
        ok = c.summary and c.summary.status == "ok" and c.row == row and c.key not in without
        value = c.summary.metrics.get(metric) if c.summary and ok else None
        if value is not None:
            out[c.task.name, c.cell.seed] = float(value["bound"] if isinstance(value, dict) else value)
    return out
