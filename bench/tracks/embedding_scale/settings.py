"""Settings of the track; the defaults are the paper's wherever the paper or its code states one.

Source: the multi-embedding paper (arXiv 2310.04400) and its released code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.contract import Task

#: The models of the paper's grid, each a row with a single embedding and a row with multi-embedding: row
#: variant -> what it sets, the module of ``nets/`` that holds the model.
MODELS: Mapping[str, Mapping[str, str]] = {
    name: {"model": name} for name in ("dnn", "ipnn", "nfwfm", "xdeepfm", "dcnv2", "finalmlp")
}


@dataclass(frozen=True, slots=True)
class Grid:
    """Which tasks there are: every data set at every scale, a multiple of the base embedding size."""

    datasets: tuple[str, ...] = ("flights",)
    scales: tuple[int, ...] = (1, 4, 10)


@dataclass(frozen=True, slots=True)
class Run:
    """How a cell is run.

    ``base_dim``: embedding size K at scale 1. ``epochs`` is the cap; training stops after ``patience`` epochs
    without a better validation AUC. ``weight_decay`` is Adam's coupled L2. ``hidden`` and ``depth``: width
    and number of linear layers of the perceptron, the output layer counted. ``rows``: at most so many
    training rows (and validation and test rows in proportion), spread evenly over time; 0 = all.
    """

    base_dim: int = 10
    batch: int = 2048
    epochs: int = 100
    patience: int = 3
    lr: float = 1e-3
    weight_decay: float = 1e-6
    hidden: int = 400
    depth: int = 3
    dropout: float = 0.2
    cross_layers: int = 4
    rows: int = 0


def too_large(task: Task, run: Run, hp: Mapping[str, Any]) -> str | None:
    """Why NFwFM is left out on Avazu from 10 times the base size on, as in the paper; None for all others."""
    if hp["model"] == "nfwfm" and task.params["dataset"] == "avazu" and task.params["scale"] >= 10:
        return "NFwFM at 10x and more on Avazu: the paper puts its embeddings at 37.6 GB, over its 24 GB GPU"
    return None
