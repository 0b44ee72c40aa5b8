"""What searching gained and took: each row by default, by its best draw on validation, and by the oracle."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

from bench import stats
from bench.board.model import Board
from bench.board.registry import DerivedTable, table
from bench.board.search import SAMPLERS, Curve, Rule, Searched, choose, curve, seconds
from bench.board.text import formatting as fmt
from bench.stats import Contrast

#: Numbers of draws between the default and all of them that get a column.
_BETWEEN = (2, 5, 10)
#: Chosen draws of a row that are spelled out.
_MOST = 3


@table("search", order=55)
def search(board: Board) -> DerivedTable | None:
    """The rows that were searched, over the tasks and seeds that all of them were searched on."""
    found = board.spec.search
    if found is None:
        return None
    between = [k for k in _BETWEEN if k < found.draws]
    best = f"best of {found.draws}"
    heads = ("row", "default", *(f"best of {k}" for k in between), best, "oracle", "failed", "time", "chosen")
    rows = []
    for row in found.slots:
        line = curve(found, row, board.metric)
        slots = [s for of in found.slots[row].values() for s in of]
        rows.append((
            board.infos[board.arrays.row_index[row]].label,
            _mean(board, found, row, "default"),
            *(_range(board, line, k) for k in between),
            _mean(board, found, row, "validation"),
            _mean(board, found, row, "oracle"),
            str(sum(s.status != "ok" for s in slots)),
            _time(found, row),
            _chosen(board, found, row),
        ))  # fmt: skip
    return DerivedTable("Search", _note(board, found), heads, rows, frozenset({0, len(heads) - 1}))


def _note(board: Board, found: Searched) -> str:
    tasks = len({task for task, _ in found.places})
    ranges = (
        "; best of fewer: the mean over the orders in which draws may come, the default first, and the range "
        "of 95 % of them"
        if found.sampler != "tpe"
        else ""
    )
    of = f"{tasks} task{'s' * (tasks != 1)} and {len(found.places)} pairs of task and seed"
    return (
        f"{found.draws} draws of each row by {SAMPLERS[found.sampler]}, the first of them its default, on "
        f"{of}; {board.metric.name} on test, ± over seeds{ranges}; best: chosen on validation, each seed for "
        "itself; oracle: chosen on the test data, an upper bound and no result; failed: cells without a "
        "number; time: of all cells of the draws"
    )


def under(board: Board, row: str, rule: Rule) -> Contrast | None:
    """The mean on test of a searched row by a rule, with its interval over seeds; None where every draw of
    some task failed.
    """
    found = board.spec.search
    assert found is not None
    by_data: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    tasks: dict[str, set[str]] = defaultdict(set)
    for (task, seed), slots in found.slots[row].items():
        data = board.arrays.data[board.arrays.task_index[task]]
        tasks[data].add(task)
        value = stats.split_value(slots[choose(slots, rule, board.metric)].metrics.get(board.metric.name))[0]
        if not math.isnan(value):
            by_data[data][seed].append(value)
    values = {
        data: [sum(of) / len(of) for of in by_data[data].values() if len(of) == len(tasks[data])]
        for data in tasks
    }
    if not all(values.values()):
        return None
    every = sum(map(len, tasks.values()))
    exact = board.infos[board.arrays.row_index[row]].deterministic
    mean = stats.row_mean(values, {data: len(of) / every for data, of in tasks.items()}, exact=exact)
    return stats.contrast([(1, mean)])


def _mean(board: Board, found: Searched, row: str, rule: Rule) -> str:
    c = under(board, row, rule)
    if c is None:
        return fmt.NONE
    tail = f" ±{fmt.half(c.half, board.metric.digits)}" if c.half is not None else ""
    return fmt.number(c.diff, board.metric.digits) + tail


def _range(board: Board, line: Curve, k: int) -> str:
    if math.isnan(line.mean[k - 1]):
        return fmt.NONE
    mean, low, high = (
        fmt.number(float(x[k - 1]), board.metric.digits) for x in (line.mean, line.low, line.high)
    )
    return mean if low == high else f"{mean} ({low} to {high})"


def _time(found: Searched, row: str) -> str:
    took = {label: s for label, s in seconds(found, row).items() if s}
    words = [f"{s / 3600:.2f} h" if s >= 360 else f"{s:.1f} s" for s in took.values()]
    named = [f"{w} on {label}" for w, label in zip(words, took, strict=True)]
    return "; ".join(named if len(took) > 1 else words) or fmt.NONE


def _chosen(board: Board, found: Searched, row: str) -> str:
    """Which draws validation chose, and on how many of the tasks and seeds."""
    counted: Counter[str] = Counter()
    for (task, _), slots in found.slots[row].items():
        i = choose(slots, "validation", board.metric)
        own = slots[i].alias_of or row  # where its cell is another row's, so is its draw
        counted[str(found.draw(own, task, i)) or "default"] += 1
    words = [f"{values} ({n})" for values, n in counted.most_common(_MOST)]
    more = len(counted) - _MOST
    return "; ".join(words) + (f"; and {more} more" if more > 0 else "")
