"""What the script of a page reads: cells and whole records as JSON inside the page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.contract import STATUSES, Record

if TYPE_CHECKING:
    from bench.board.model import Board
    from bench.board.spec import Slot

_LOG_LINES = 12
_CHARS = 400
_ITEMS = 40


@dataclass(slots=True)
class Embedded:
    """What the script of a page reads, board by board: every cell, with the whole record of as many as there
    is ``room`` for. Blocks that many records share (packages, settings) are embedded once.
    """

    room: int
    boards: list[dict[str, Any]] = field(default_factory=list)
    shared: list[Any] = field(default_factory=list)
    left_out: int = 0
    _seen: dict[str, int] = field(default_factory=dict)

    def add(self, board: Board) -> None:
        """Add every cell of a board; of those with a whole record, cells that are not ok come first."""
        number = {r.info.row: i for i, r in enumerate(board.every_row)}
        place = {t.name: i for i, t in enumerate(board.tasks)}
        chosen = self._choose(board)
        cells: dict[str, list[dict[str, Any]]] = {}
        for s in sorted(board.slots, key=lambda s: (s.status == "ok", s.seed)):
            entry = self._slot(s)
            if s.key in chosen and (record := board.record(s.key)) is not None:
                entry["detail"] = self._detail(record)
            cells.setdefault(f"{number[s.row]},{place[s.task]}", []).append(entry)
        self.boards.append({
            "rows": [r.info.label for r in board.every_row], "tasks": [t.name for t in board.tasks],
            "cells": cells,
            "metrics": {m.name: [m.unit, m.digits] for m in board.spec.track.metrics},
        })  # fmt: skip

    def _choose(self, board: Board) -> set[str]:
        if not board.has_records:
            return set()
        recorded = [s for s in board.slots if s.status in STATUSES]
        recorded.sort(key=lambda s: s.status == "ok")
        keys = list(dict.fromkeys(s.key for s in recorded))
        chosen = set(keys[: self.room])
        self.room -= len(chosen)
        self.left_out += len(keys) - len(chosen)
        return chosen

    def _slot(self, s: Slot) -> dict[str, Any]:
        full = {
            "seed": s.seed, "key": s.key, "status": s.status, "metrics": s.metrics, "cost": s.cost,
            "hardware": s.hardware, "reason": s.reason, "stale": s.stale, "marks": s.marks,
            "alias": s.alias_of,
        }  # fmt: skip
        return {k: _plain(v) for k, v in full.items() if v or k == "seed"}

    def _detail(self, r: Record) -> dict[str, Any]:
        error = {k: v for k, v in r.error.items() if k != "last_lines"}
        lines = [str(x)[:_CHARS] for x in r.error.get("last_lines", ())][-_LOG_LINES:]
        found: dict[str, Any] = {
            "error": _plain(error), "lines": lines, "log": [str(x)[:_CHARS] for x in r.log][-_LOG_LINES:],
            "started": r.started, "ended": r.ended, "attempts": r.attempts if r.attempts > 1 else 0,
        }  # fmt: skip
        hp = r.cell.get("hp", {})
        blocks = {"hp": hp, "run": r.cell.get("run", {}), "limits": r.limits, "where": r.where}
        for name, block in {**blocks, "provenance": r.provenance}.items():
            if block:
                found[name] = self._share(_plain(block))
        return {
            k: v for k, v in found.items() if v or (isinstance(v, int) and k in blocks | {"provenance": 0})
        }

    def _share(self, block: Any) -> int:
        key = json.dumps(block, sort_keys=True)
        if key not in self._seen:
            self._seen[key] = len(self.shared)
            self.shared.append(block)
        return self._seen[key]

    def script(self) -> str:
        """JSON that can stand inside a ``script`` element: no ``<``, ``>`` or ``&`` is left in it."""
        out = json.dumps(
            {"boards": self.boards, "shared": self.shared}, separators=(",", ":"), allow_nan=False
        )
        return out.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plain(value: Any, depth: int = 0) -> Any:
    """A value that JSON can hold, cut to a size that a panel can show."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping) and depth < 4:
        items = list(value.items())
        out = {str(k)[:_CHARS]: _plain(v, depth + 1) for k, v in items[:_ITEMS]}
        return {**out, "…": f"{len(items) - _ITEMS} more"} if len(items) > _ITEMS else out
    if isinstance(value, list | tuple) and depth < 4:
        return [_plain(v, depth + 1) for v in value[:_ITEMS]]
    return str(value)[:_CHARS]
