"""What rows that move fields take and which tasks they can do; light, since planning asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench import packages
from bench.contract import Task
from bench.tracks.forecasting import settings


def pysteps_missing(task: Task, run: settings.Run) -> str | None:
    """Which package has to be installed to find the motion of fields and the command that helps, or None."""
    return packages.missing("motion of fields", {"pysteps": (), "opencv-python-headless": ()}, "radar")


def only_rain(task: Task, run: settings.Run, hp: Mapping[str, Any]) -> str | None:
    """Why a row that models rain by cascades cannot do a task, or None."""
    own = task.params.get("rain", False)
    if own or (not task.brought and settings.RECIPES[task.params["dataset"]].transform == "log-rain"):
        return None
    return "its cascade models rain, and this task has none"
