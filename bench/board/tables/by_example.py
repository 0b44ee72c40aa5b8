"""Each row against the reference, paired by test example, where records have scores by example."""

from __future__ import annotations

from bench import stats
from bench.board import examples
from bench.board.model import Board
from bench.board.registry import DerivedTable, table
from bench.board.text import formatting as fmt


@table("by-example", order=30)
def paired_by_example(board: Board) -> DerivedTable | None:
    """The difference over test examples, its test, and what difference such test sets could show."""
    title = f"Paired by example: {board.metric.name} against {board.spec.track.reference}"
    if examples.too_many_cells(board) and examples.has_scores(board):
        return DerivedTable(title, f"left out: more than {examples.MAX_CELLS:,} cells", (), ())
    digits, rows = board.metric.digits, []
    for b in examples.against_reference(board):
        c, least = b.comparison, stats.detectable_like(b.comparison)
        rows.append((
            b.info.label, fmt.signed(c, digits), f"{c.wins}/{b.worse}", f"{b.n} in {c.n}", str(b.tasks),
            fmt.p_value(b.adjusted), "–" if least is None else fmt.half(least, digits),
        ))  # fmt: skip
    heads = ("row", "difference", "better/worse", "examples in groups", "tasks", "p", "detectable")
    note = (
        "mean over the tasks both have, seeds averaged: test examples are the sample, so this holds for the "
        "networks trained here, on examples like these; those of one group (see the track) count as one; p "
        "Holm-corrected over this table; detectable: found in 80 % of such test sets by one test at 5 %"
    )
    return DerivedTable(title, note, heads, rows) if rows else None
