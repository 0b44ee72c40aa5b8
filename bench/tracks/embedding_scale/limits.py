"""Which rows cannot do which tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.contract import Task
from bench.tracks.embedding_scale.settings import Run


def too_large(task: Task, run: Run, hp: Mapping[str, Any]) -> str | None:
    """Why NFwFM is left out on Avazu from 10 times the base size on, as in the paper; None for all others."""
    if hp["model"] == "nfwfm" and task.params["dataset"] == "avazu" and task.params["scale"] >= 10:
        return "NFwFM at 10x and more on Avazu: the paper puts its embeddings at 37.6 GB, over its 24 GB GPU"
    return None
