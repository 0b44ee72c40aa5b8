"""Which rows cannot do which tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.contract import Task
from bench.tracks.ood.settings import Run

#: A training long enough for the average of CLIPood to be judged, at a rate at which fine-tuning forgets: of
#: the validation families of wild-noto at seed 0, named among all classes, it names .47 of the base classes
#: right, where zero-shot has .20, and .08 of the new classes, where zero-shot has .25 (at 1e-4 .44 and .22).
LONG: Mapping[str, Any] = {"steps": 500, "lr": 3e-4}


def long_is_asked_in_the_wild(task: Task, run: Run, hp: Mapping[str, Any]) -> str | None:
    """Why a row with a training of its own length is left out of a task, or None: it is asked in one setting.

    A cell costs eight times the others'. In the wild an average can keep both, what was learnt and the
    classes that were known before.
    """
    if hp["steps"] and task.params["setting"] != "wild":
        return "500 steps are run in the wild alone, where what the average is for can be seen"
    return None


def names_nothing_new(task: Task, run: Run, hp: Mapping[str, Any]) -> str | None:
    """Why a row with a linear head is left out of a task, or None.

    It is where the answer must name classes that training did not have.
    """
    if task.params["setting"] in ("open", "wild"):
        return "a linear head knows only the classes of its training; this setting asks for others too"
    return None
