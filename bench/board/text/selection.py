"""What the header says of the rule that chose hyper-parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.board.search import SAMPLERS
from bench.board.text.statistics import Note

if TYPE_CHECKING:
    from bench.board.model import Board


def selection(board: Board) -> Note:
    """The rule, and which draws it chose among."""
    rule, found = board.spec.selection, board.spec.search
    if rule == "default" or found is None:
        text = f"hyper-parameters by the rule “{rule}”, for every row alike."
        return Note("selection", f"selection {rule}", text)
    where = "validation" if rule == "validation" else "the test data"
    name = f"best of {found.draws} by validation" if rule == "validation" else f"oracle of {found.draws}"
    words = [
        f"{name}: for each row, task and seed the draw of {found.draws} with the best {board.metric.name} on "
        f"{where} ({SAMPLERS[found.sampler]}; the first draw is the row's default)",
        f"On the {len(found.places)} pairs of task and seed that were searched",
        "A row without a search space stands as it is; costs are those of the chosen cells, and the table "
        "“Search” has what all draws took",
    ]
    if found.unsearched:
        words.append(f"Left out, since they have a search space and no search: {', '.join(found.unsearched)}")
    if rule == "oracle":
        words.append("An upper bound on what choosing could gain and no result: no letter or interval holds")
    return Note("selection", f"selection {name}", f"{'. '.join(words)}.")


def oracle(board: Board) -> str:
    """Instead of a verdict, where draws were chosen on the test data; "" by every other rule."""
    if board.spec.selection != "oracle":
        return ""
    return (
        "Hyper-parameters were chosen on the test data (oracle): an upper bound on what a search could gain, "
        "no result, and so without a verdict."
    )
