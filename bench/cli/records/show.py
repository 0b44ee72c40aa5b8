"""`bench show KEY`: everything that one record says."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from bench.cli.console import console, duration, escape
from bench.cli.options import Options, takes
from bench.cli.records.why import KeyArgument
from bench.cli.session import open_store, records_of_all_profiles
from bench.contract import BenchError, Record


@takes("published", "fresh", "store")
def command(
    options: Options,
    key: KeyArgument,
    as_json: Annotated[bool, typer.Option("--json", help="The record as JSON.")] = False,
    history: Annotated[
        bool, typer.Option("--history", help="All its records, the oldest first, a line each.")
    ] = False,
) -> None:
    """Show one cell: what it was, how it ended, its numbers, its curve, where it ran, its last log lines."""
    own = open_store(options)
    opened = records_of_all_profiles(own, options)
    key = opened.match(key)
    record = opened.read(key)
    if record is None:
        raise BenchError(f"the record of {key} was not one: {'; '.join(opened.problems[-1:])}")
    if history:
        console.print(_history(own.history(key) or [record], record))
        return
    if as_json:
        typer.echo(json.dumps(asdict(record), indent=1, default=list))
        return
    for table in tables(record):
        console.print(table)
    if record.log:
        console.print("[bold]last log lines[/]")
        for line in record.log:
            console.print("  " + escape(line), soft_wrap=True)


def tables(record: Record) -> list[Table]:
    """The tables that show a record: what it is, metrics, costs, its error and its curve."""
    c = record.cell
    words = (c.get("track"), c.get("task", c.get("stage")), c.get("row", "stage"), f"seed {c.get('seed', 0)}")
    head = " · ".join(map(str, words))
    status = record.status + (f": {record.reason}" if record.reason else "")
    facts = {
        "cell": head, "key": record.key, "status": status, "attempts": record.attempts, "ended": record.ended,
        "marks": ", ".join(record.marks), "hp": _pairs(c.get("hp", {})), "run": _pairs(c.get("run", {})),
        "limits": _pairs(record.limits), "where": _pairs(record.where),
        "code": " ".join(str(record.provenance.get(k, "")) for k in ("commit", "data")).strip(),
        "definitions": str(record.provenance.get("code", "")),
        "recipe": _pairs((record.provenance.get("ran_with") or {}).get("recipe", {})),
    }  # fmt: skip
    costs = {
        k: duration(v) if k.endswith("_s") else v for k, v in record.cost.items() if not isinstance(v, dict)
    }
    out = [_table("", facts), _table("metrics", dict(record.metrics)), _table("cost", costs)]
    if record.error.get("type"):
        lines = "\n".join(record.error.get("last_lines", ()))
        out.append(
            _table("error", {"": f"{record.error.get('type')}: {record.error.get('message')}\n{lines}"})
        )
    if record.curve:
        curve = Table(title="curve", title_justify="left", box=None, pad_edge=False)
        for name in record.curve[-1]:
            curve.add_column(name, justify="right")
        for point in record.curve[-12:]:
            values = [point.get(n) for n in record.curve[-1]]  # None: it was not finite
            curve.add_row(*("–" if v is None else f"{v:.5g}" for v in values))
        out.append(curve)
    return out


def _history(records: list[Record], counts: Record) -> Table:
    """All records of one key, a line each. ``counts`` is the one that boards show."""
    table = Table(box=None, pad_edge=False)
    for name in ("", "generation", "ended", "status", "metrics", "hardware"):
        table.add_column(name)
    for r in records:
        numbers = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in r.metrics.items()}
        words = (str(r.generation), r.ended, r.status, _pairs(numbers), str(r.where.get("label", "")))
        table.add_row("counts" if r == counts else "", *map(escape, words))
    return table


def _pairs(values: Any) -> str:
    return ", ".join(f"{k}={v}" for k, v in dict(values).items())


def _table(title: str, values: dict[str, Any]) -> Table:
    table = Table(title=title or None, title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in values.items():
        if value not in ("", None):
            table.add_row(name, escape(f"{value:.6g}" if isinstance(value, float) else str(value)))
    return table
