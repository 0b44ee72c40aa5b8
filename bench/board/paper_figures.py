"""Numbers that a paper printed, read from ``results/published/<track>.csv``, each with its source."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.contract import BenchError
from bench.errors import nearest

COLUMNS = ("row", "task", "metric", "value", "std", "source", "setting", "difference")


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperFigure:
    """One number that a paper printed.

    ``source`` says where it stands, ``setting`` under which conditions it was measured, ``difference`` how
    their protocol differs from ours (empty if it does not), and ``digits`` with how many decimals it was
    printed.
    """

    row: str
    task: str
    metric: str
    value: float
    std: float | None = None
    source: str
    setting: str = ""
    difference: str = ""
    digits: int = 4


def read_paper_figures(path: Path) -> tuple[PaperFigure, ...]:
    """The numbers of one file.

    Raises:
        BenchError: naming file and line, for a wrong column, a number that is none, or a missing source: a
            number without a source is not shown.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise BenchError(f"{path}: cannot be read: {e}") from e
    rows = csv.DictReader(text.splitlines(), strict=True)
    try:
        _check_columns(path, rows.fieldnames or [])
        return tuple(_one(path, rows.line_num, r) for r in rows)
    except csv.Error as e:
        raise BenchError(f"{path}:{rows.line_num}: not CSV: {e}") from e


def _check_columns(path: Path, found: Sequence[str]) -> None:
    for name in found:
        if name not in COLUMNS:
            raise BenchError(f"{path}:1: unknown column {name!r}{nearest(name, COLUMNS)}")
    if missing := [c for c in COLUMNS if c not in found]:
        raise BenchError(f"{path}:1: missing column {missing[0]!r}; expected {', '.join(COLUMNS)}")


def _one(path: Path, line: int, row: dict[str, str | None]) -> PaperFigure:
    cells = {k: (v or "").strip() if isinstance(v, str) or v is None else "" for k, v in row.items()}
    if None in row or any(v is None for v in row.values()):
        raise BenchError(f"{path}:{line}: expected {len(COLUMNS)} values")
    for name in ("row", "task", "metric", "source"):
        if not cells[name]:
            raise BenchError(f"{path}:{line}: {name} is empty")
    value = _number(path, line, "value", cells["value"])
    std = _number(path, line, "std", cells["std"]) if cells["std"] else None
    digits = len(cells["value"].partition(".")[2]) if "e" not in cells["value"].lower() else 6
    return PaperFigure(
        row=cells["row"], task=cells["task"], metric=cells["metric"], value=value, std=std,
        source=cells["source"], setting=cells["setting"], difference=cells["difference"], digits=digits,
    )  # fmt: skip


def _number(path: Path, line: int, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BenchError(f"{path}:{line}: {name} {text!r} is not a number")
    return value
