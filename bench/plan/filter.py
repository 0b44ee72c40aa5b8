"""Which rows and cells a command is about: the options ``-m`` and ``-k``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from bench.contract import BenchError, Task
from bench.errors import nearest
from bench.registry import near_rows, selects
from bench.suite import TrackPlan


class Filter:
    """Which cells ``-m`` and ``-k`` select: the patterns of rows, and conditions on task, seed and the tasks'
    parameters.

    A condition is ``name=pattern``; of several values one has to match (``scale=1|4``), and of several
    conditions all (``dataset=flights,scale=4``). Without a name it is a part of the task's name
    (``icons|earth``).
    """

    def __init__(self, rows: Sequence[str] = (), expression: str = "") -> None:
        self.rows, self.expression = tuple(rows), expression
        self.terms: list[tuple[str, list[str]]] = []
        if expression and not expression.strip(", \t"):
            raise BenchError(f"-k {expression!r}: no condition; expected such as scale=1|4,seed=0")
        for part in filter(None, (p.strip() for p in expression.split(","))):
            name, eq, values = part.partition("=")
            if eq:
                self.terms.append((name.strip(), [v.strip() for v in values.split("|")]))
            else:
                self.terms.append(("task", [f"*{word.strip()}*" for word in part.split("|")]))

    def check_rows(self, rows: Sequence[str], left_out: Sequence[str] = ()) -> None:
        """Raise `BenchError` for a pattern that selects none of ``rows``.

        Args:
            rows: the rows there are.
            left_out: rows that are declared, but that the profile does not run.
        """
        for pattern in self.rows:
            if any(selects(pattern, r) for r in rows):
                continue
            if hits := [r for r in left_out if selects(pattern, r)]:
                raise BenchError(
                    f"-m {pattern}: {', '.join(hits)} is declared, but the suite's `rows` leave it out here; "
                    f"there is {', '.join(rows) or 'none'}"
                )
            raise BenchError(f"-m {pattern}: no row matches{near_rows(pattern, rows)}")

    def check_cells(self, tasks: Sequence[Task], seeds: Iterable[int], profile: str) -> None:
        """Raise `BenchError` for a name that no task of the profile knows, and for a value that no task or
        seed of it has.
        """
        values: dict[str, dict[str, None]] = {"task": {}, "seed": dict.fromkeys(map(str, seeds))}
        for task in tasks:
            for name, value in {**task.params, "task": task.name}.items():
                values.setdefault(name, {})[str(value)] = None
        for name, patterns in self.terms:
            if name not in values:
                known = nearest(name, values)
                raise BenchError(f"-k {self.expression}: no task has a {name!r} to select by{known}")
            for pattern in patterns:
                if not any(fnmatchcase(v, pattern) for v in values[name]):
                    near = nearest(pattern.strip("*"), values[name])
                    where = f" (in the profile {profile})"
                    raise BenchError(f"-k {self.expression}: no {name} is {pattern!r}{near}{where}")

    def nothing(self, chosen: Sequence[TrackPlan]) -> str:
        """What to say if each part of the filter selects something, and no cell all of them."""
        parts = [*(f"-m {r}" for r in self.rows), *([f"-k {self.expression}"] if self.expression else [])]
        on = {t for p in chosen for t in p.ablation_tasks if any(map(self.row, p.ablations))}
        only = f"; ablations run on {', '.join(sorted(on))} alone" if on else ""
        return f"no cell is selected by {' and '.join(parts)} together{only}"

    def row(self, row: str) -> bool:
        """Whether a row is selected."""
        return not self.rows or any(selects(p, row) for p in self.rows)

    def cell(self, task: Task, seed: int) -> bool:
        """Whether the cells of that task and seed are selected."""
        values = {**task.params, "task": task.name, "seed": seed}
        return all(any(fnmatchcase(str(values.get(n)), p) for p in patterns) for n, patterns in self.terms)
