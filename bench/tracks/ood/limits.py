"""Which rows cannot do which tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.contract import Task
from bench.tracks.ood.settings import Run


def names_nothing_new(task: Task, run: Run, hp: Mapping[str, Any]) -> str | None:
    """Why a row with a linear head is left out of a task, or None.

    It is where the answer must name classes that training did not have.
    """
    if task.params["setting"] in ("open", "wild"):
        return "a linear head knows only the classes of its training; this setting asks for others too"
    return None
