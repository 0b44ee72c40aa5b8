"""Records as a flat table, one row a cell, for analyses that a board does not offer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contract import BenchError, Record
from bench.plan import Plan
from bench.store.committed.layers import Layered, committed_records, home, results_folder
from bench.store.records import Store
from bench.store.summaries import Readable, RecordSummary

if TYPE_CHECKING:
    import pandas as pd

#: The columns in their order; a name that ends with a dot stands for all that start with it, in the order in
#: which they come up.
ORDER = (
    "key", "track", "task", "task.", "row", "method", "role", "seed", "hp.", "run.", "status", "reason",
    "metric.", "series.", "cost.", "hardware", "layer", "commit", "started", "ended", "attempts", "marks",
    "stale",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One cell: what was declared, what became of it (None: nothing yet), and ``more`` columns of a plan."""

    key: str
    cell: Mapping[str, Any]
    summary: RecordSummary | None
    record: Record | None
    more: Mapping[str, Any] = field(default_factory=dict)


def load(store: str | Path | None = None, profile: str | None = None, published: bool = True) -> pd.DataFrame:
    """The records of a store and the published ones under it, one row a cell; a cell's own record goes before
    the published one.

    Columns: ``key, track, task, row, method, seed``; ``hp.<name>``; ``run.<name>`` (settings that differ from
    the track's defaults); ``status``, ``reason``; ``metric.<name>``, and ``metric.<name>.censored`` where a
    value is but a bound; ``cost.<name>``; ``hardware``, ``layer`` (``own`` or ``published``), ``commit``,
    ``started``, ``ended``, ``attempts``, ``marks``. What only a plan knows (the tasks' parameters, roles,
    what is stale, cells that have no record) is in what `bench export` writes.

    Args:
        store: a folder or an fsspec URL (default: ``results/store``, as on the command line).
        profile: whose published records lie under it (default: those of every profile).
        published: whether they do at all.

    Raises:
        BenchError: what is there is no store.
    """
    opened = Store.open(store or home() / "results/store")
    under = committed_records(results_folder(), profile) if published else None
    records: Readable = opened if under is None else Layered(opened, under)
    found = [h for h in records.summaries().values() if h.kind == "cell"]
    found.sort(key=lambda h: (h.track, h.task, h.row, h.seed, h.key))
    return frame(Line(h.key, h.cell, h, records.read(h.key)) for h in found)


def planned(plan: Plan, records: Readable, *, series: bool = False) -> pd.DataFrame:
    """Every cell of a plan as `load` has them, each once, also those without a record (``new``, ``blocked``);
    with the tasks' parameters as ``task.<name>``, the row's role, and whether the record is stale.

    Args:
        plan: the cells.
        records: what the plan was made against.
        series: also ``series.<name>``: what the track records beside its metrics, as JSON.
    """
    lines = []
    for c in {c.key: c for c in plan.cells}.values():
        role = {"role": c.found.role, "stale": bool(c.causes)}
        params = {f"task.{k}": v for k, v in c.task.params.items()}
        waiting = (
            {} if c.summary is not None else {"status": "skipped" if c.skip else c.state, "reason": c.reason}
        )
        record = records.read(c.key) if c.summary is not None else None
        lines.append(Line(c.key, c.cell.declared(), c.summary, record, {**params, **role, **waiting}))
    return frame(lines, series=series)


def frame(lines: Iterable[Line], *, series: bool = False) -> pd.DataFrame:
    """Cells as a table with the columns of `ORDER`."""
    import pandas as pd

    rows = [_row(line, series) for line in lines]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = sorted(names, key=_place)
    return pd.DataFrame({name: _column([row.get(name) for row in rows]) for name in columns}, columns=columns)


def _place(name: str) -> tuple[int, str]:
    """Where a column stands: by its kind; of a kind, a metric beside whether it is censored."""
    kind = name if name in ORDER else name.partition(".")[0] + "."
    return ORDER.index(kind), name


def _row(line: Line, series: bool) -> dict[str, Any]:
    cell, summary, record = line.cell, line.summary, line.record
    row: dict[str, Any] = {
        "key": line.key, "track": cell["track"], "task": cell["task"], "row": cell["row"],
        "method": str(cell["row"]).partition("/")[0], "seed": cell["seed"],
        **_flat("hp", cell.get("hp") or {}), **_flat("run", cell.get("run") or {}),
    }  # fmt: skip
    if summary is not None:
        row |= {
            "status": summary.status, "reason": summary.error or summary.reason, **_metrics(summary.metrics),
            **_flat("cost", summary.cost), "hardware": summary.hardware, "layer": summary.layer or "own",
            "commit": summary.commit, "ended": summary.ended, "attempts": summary.attempts,
            "marks": "; ".join(summary.marks),
        }  # fmt: skip
    if record is not None:
        row["started"] = record.started
        if series:
            row |= {f"series.{k}": json.dumps(v) for k, v in record.series.items()}
    return row | dict(line.more)


def _flat(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``prefix.a.b``."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        inner = isinstance(value, Mapping)
        out |= _flat(f"{prefix}.{name}", value) if inner else {f"{prefix}.{name}": value}
    return out


def _metrics(values: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in values.items():
        censored = isinstance(value, Mapping)
        out[f"metric.{name}"] = value["bound"] if censored else value
        if censored:
            out[f"metric.{name}.censored"] = True
    return out


def _column(values: list[Any]) -> Any:
    """Values as a column of one type, so that every format can hold it: numbers stay numbers; what is of
    several types, or no scalar, becomes JSON.
    """
    import pandas as pd

    there = [v for v in values if v is not None]
    types = {type(v) for v in there}
    for dtype, of in _DTYPES:
        if types <= of:
            return pd.array(values, dtype=dtype)
    return pd.array([v if v is None or isinstance(v, str) else json.dumps(v) for v in values], dtype="string")


_DTYPES: tuple[tuple[Any, set[type]], ...] = (
    ("boolean", {bool}), ("Int64", {int}), ("float64", {int, float}), ("string", {str}),
)  # fmt: skip


def write(table: pd.DataFrame, path: Path, kind: str) -> None:
    """Write a table as ``csv`` or ``parquet``.

    Raises:
        BenchError: parquet is asked for and pyarrow is not installed, or the file cannot be written.
    """
    from importlib.util import find_spec

    if kind == "parquet" and find_spec("pyarrow") is None:
        raise BenchError(
            "--format parquet needs pyarrow, which is not installed: pip install 'gridbench[paper]'"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "parquet":
            table.to_parquet(path, index=False, engine="pyarrow")
        else:
            table.to_csv(path, index=False)
    except OSError as error:
        raise BenchError(f"--out {path}: {error.strerror or error}") from error
