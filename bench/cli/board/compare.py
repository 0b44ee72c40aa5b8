"""`bench compare A B`: two rows compared, with a verdict and an exit code."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.console import console, escape
from bench.cli.options import Options, takes
from bench.cli.session import Session
from bench.contract import BenchError, Better
from bench.errors import nearest
from bench.suite import resolve

if TYPE_CHECKING:
    from bench.board.model import Board
    from bench.stats import Contrast


@takes("profile", "track", "filter", "published", "fresh", "store", "suite", "plugin")
def command(
    options: Options,
    a: Annotated[str, typer.Argument(help="A row.")],
    b: Annotated[str, typer.Argument(help="The row that it is compared with.")],
    metric: Annotated[
        str | None, typer.Option("--metric", help="The metric to compare (default: the one that ranks).")
    ] = None,
) -> None:
    """Compare two rows over the tasks that both have, as a board does.

    The exit code is 1 if A is worse than B, and 0 if it is better or cannot be told apart from it.
    """
    session = Session.open(options)
    (track,) = holding = _track_of_both(session, a, b)
    (board,) = replace(session, options=replace(options, track=holding, method=[a, b])).boards()
    name = metric or board.spec.ranks_by
    try:
        declared = board.spec.track.metric(name)
    except KeyError:
        known = [m.name for m in board.spec.track.metrics]
        raise BenchError(f"--metric {name}: track {track} has no such metric{nearest(name, known)}") from None
    tasks = _tasks(board, a, b, name)
    if not tasks:
        console.print(
            f"[bold]{escape(a)}[/] against [bold]{escape(b)}[/], {name}: no task to compare them on"
        )
        return
    c, scope = _contrast(board, a, b, tasks, name)
    verdict = _verdict(c, declared.better)
    half = f" ± {c.half:.{declared.digits}f}" if c.half is not None else ""
    p = f", p = {c.p:.3g}" if c.p is not None and c.se is not None else ""
    result = f"{c.diff:+.{declared.digits}f}{half} over {scope}{p}: {verdict}"
    why = f" ({c.why})" if c.why else ""
    console.print(f"[bold]{escape(a)}[/] against [bold]{escape(b)}[/], {name}: {result}{why}")
    raise typer.Exit(1 if verdict == "worse" else 0)


def _tasks(board: Board, a: str, b: str, metric: str) -> list[int]:
    """The tasks that both rows have, but those where both are the same cells. Prints the means on each."""
    digits, found = board.spec.track.metric(metric).digits, []
    for t, task in enumerate(board.tasks):
        if board.arrays.same_cells((board.arrays.row_index[a], board.arrays.row_index[b]), t):
            console.print(f"  {escape(task.name):24} left out: the same cells, by construction")
            continue
        both = [board.estimate(r, task.name, metric) for r in (a, b)]
        means = [f"{e.mean:.{digits}f} (n={e.n})" if e is not None else "no record" for e in both]
        console.print(f"  {escape(task.name):24} {escape(a)} {means[0]}   {escape(b)} {means[1]}")
        if None not in both:
            found.append(t)
    return found


def _contrast(board: Board, a: str, b: str, tasks: list[int], metric: str) -> tuple[Contrast, str]:
    """A minus B by the function that the board's own statements are made of, and what it holds for."""
    from bench import stats

    rows = [board.arrays.row_index[r] for r in (a, b)]
    left, right = board.row_means.together(rows, tasks, metric=metric)
    examples = board.row_means.have_units(rows, tasks, metric)
    scope = "new examples too" if examples else "these test sets"
    n = len(tasks)
    return stats.contrast([(1, left), (-1, right)]), f"{n} task{'s' * (n > 1)}, {scope}"


def _verdict(c: Contrast, better: Better) -> str:
    from bench import stats

    if c.p is None:
        return "not judged"
    if c.p >= 1 - stats.LEVEL:
        return "no difference shown"
    if better == "neither":
        return "different"
    return "better" if (c.diff > 0) == (better == "higher") else "worse"


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
