"""How the claims of a board are written: the sentence that it begins with, and the table above its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.board.registry import DerivedTable
from bench.board.text import formatting as fmt

if TYPE_CHECKING:
    from bench.board.inference.claims import ClaimView
    from bench.board.model import Board
    from bench.stats import Contrast, Judged

HEADS = ("claim", "verdict", "difference", "p", "the paper's", "on")
#: Verdict -> the class of its sign on a page.
KINDS = {
    "shown": "shown",
    "shown, smaller than the paper's": "smaller",
    "opposite": "opposite",
    "not shown": "no",
    "not judged": "untested",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table of claims, as text; ``sub``: it says more of the claim above it.

    ``of_paper``: whether the paper states it. ``contrast`` and ``paper_value`` are for drawing.
    """

    name: str
    verdict: str
    difference: str
    p: str
    paper: str
    source: str
    on: str
    sub: bool
    of_paper: bool
    contrast: Contrast
    paper_value: float | None

    @property
    def kind(self) -> str:
        """The class of the verdict's sign; empty without a verdict."""
        return KINDS.get(self.verdict, "")


def lines(board: Board) -> list[Line]:
    """The claims in their order, each followed by its further counterparts and by its test over new tasks."""
    out: list[Line] = []
    for view in board.claims.found:
        claim, paper = view.claim, view.claim.paper
        figure = (paper.text, paper.source) if paper is not None else ("", "")
        first, *others = view.contrasts
        p = fmt.p_value(view.judged.p)
        out.append(_line(board, view, claim.name, view.judged, first, p, figure, _on(board, view)))
        for side, c in zip(claim.also, others, strict=True):
            name = f"the same over {_named(board, side)}"
            p = f"({fmt.p_value(c.p)})"
            out.append(_line(board, view, name, None, c, p, ("", ""), "", over=side))
        if view.new_tasks is not None:
            c, judged = view.new_tasks
            on = f"{view.data} data sets as the sample"
            p = fmt.p_value(judged.p)
            out.append(_line(board, view, "over new tasks", judged, c, p, ("", ""), on))
    return out


def _line(
    board: Board,
    view: ClaimView,
    name: str,
    judged: Judged | None,
    c: Contrast,
    p: str,
    figure: tuple[str, str],
    on: str,
    *,
    over: Sequence[str] = (),
) -> Line:
    paper = view.claim.paper
    return Line(
        name=name,
        verdict=judged.verdict if judged is not None else "",
        difference=_difference(board, view, c, over),
        p=p,
        paper=figure[0],
        source=figure[1],
        on=on,
        sub=name != view.claim.name,
        of_paper=view.claim.of_paper,
        contrast=c,
        paper_value=paper.value if paper is not None else None,
    )


def _on(board: Board, view: ClaimView) -> str:
    """The tasks that a claim was judged on, and for which examples it holds."""
    scope = "new examples too" if view.new_examples else "these test sets"
    if not view.tasks:
        return "no task"
    where = f"{_tasks(board, view)}; {scope}"
    reasons: dict[str, list[str]] = {}
    for task, why in view.left_out.items():
        reasons.setdefault(why, []).append(task)
    out = "; ".join(f"{', '.join(tasks)}: {why}" for why, tasks in reasons.items())
    return where + (f" (left out: {out})" if out else "") + _censored(board, view)


def _censored(board: Board, view: ClaimView) -> str:
    """How many values went into a claim as bounds; empty if none did."""
    labels = {r.row: r.label for r in board.infos}
    said = ", ".join(f"{n} of {of} of {labels[row]}" for row, (n, of) in view.censored.items())
    return f"; censored values, which count as their bounds: {said}" if said else ""


def _tasks(board: Board, view: ClaimView) -> str:
    n = len(view.tasks)
    return f"{n} tasks" if n > 1 else board.tasks[view.tasks[0]].name if n else "no task"


def _named(board: Board, rows: Sequence[str]) -> str:
    """Several rows by what their names begin with, such as ``single-wide``; one by its label."""
    labels = {r.row: r.label for r in board.infos}
    families = {r.partition("/")[0] for r in rows}
    return families.pop() if len(rows) > len(families) == 1 else " and ".join(labels[r] for r in rows)


def table(board: Board) -> DerivedTable | None:
    """The claims as a table for the terminal and the Markdown; None without claims."""
    rows = []
    for line in lines(board):
        name = f"– {line.name}" if line.sub else line.name + ("" if line.of_paper else " [ours]")
        paper = f"{line.paper} ({line.source})" if line.source else line.paper or fmt.NONE
        rows.append((name, line.verdict, line.difference, line.p, "" if line.sub else paper, line.on))
    if not rows:
        return None
    return DerivedTable("Claims", "", HEADS, rows, frozenset({0, 1, 4, 5}))


def sentence(board: Board) -> str:
    """The verdict on the first claim, such as "D-Train over separate training on 6 tasks: shown, +.021
    ±.015."; empty without claims.
    """
    if not board.claims.found:
        return ""
    view = board.claims.found[0]
    name, verdict = view.claim.name, view.judged.verdict
    if not view.tasks:
        return f"{name}: {verdict}; {view.contrasts[0].why}."
    said = [f"{name} on {_tasks(board, view)}: {verdict}", _difference(board, view, view.contrasts[0])]
    weakest = max(range(len(view.contrasts)), key=lambda k: view.contrasts[k].p or 0.0)
    if weakest and verdict == "not shown":
        side = view.claim.also[weakest - 1]
        said.append(f"{_difference(board, view, view.contrasts[weakest], side)} over {_named(board, side)}")
    why = f" ({view.contrasts[0].why})" if view.judged.p is None else ""
    return f"{', '.join(said)}{why}."


def _difference(board: Board, view: ClaimView, c: Contrast, over: Sequence[str] = ()) -> str:
    """The contrast with the rows ``over``, those of the claim by default."""
    first, second = (
        any(r in view.censored for r in side) for side in (view.claim.rows, over or view.claim.over)
    )
    sign = fmt.beyond(board.metric.better, first, second)
    return sign + fmt.difference(c, board.metric.digits, log=view.claim.scale == "log ratio")
