"""Settings of the track; the defaults are the paper's wherever the paper or its code states one.

Source: the multi-embedding paper (arXiv 2310.04400) and its released code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bench.contract import Space, Task
from bench.declared import AboveZero, AtLeastZero, Count, LessThanOne, Positive

#: The models of the paper's grid, each a row with a single embedding and a row with multi-embedding: row
#: variant -> what it sets, the module of ``nets/`` that holds the model.
MODELS: Mapping[str, Mapping[str, str]] = {
    name: {"model": name} for name in ("dnn", "ipnn", "nfwfm", "xdeepfm", "dcnv2", "finalmlp")
}


#: What a search varies of the training that every network has. The ranges are assumed: the paper trains all
#: models in one way, Adam with 1e-3, 1e-6 and .2. These span a decade (of the decay two) to both sides of it,
#: and all of the dropout that keeps more than it drops.
TRAINING: Mapping[str, Space] = {
    "lr": Space(low=1e-4, high=1e-2, log=True),
    "weight_decay": Space(low=1e-8, high=1e-4, log=True),
    "dropout": Space(low=0.0, high=0.5),
}


@dataclass(frozen=True, slots=True)
class Grid:
    """Which tasks there are: every data set at every scale, a multiple of the base embedding size."""

    datasets: tuple[str, ...] = ("flights",)
    scales: tuple[Positive, ...] = (1, 4, 10)


@dataclass(frozen=True, slots=True)
class Run:
    """How a cell is run.

    ``base_dim``: embedding size K at scale 1. ``epochs`` is the cap. ``evaluations``: how often an epoch
    looks at the validation AUC; training stops after ``patience`` looks in a row without a better one, and
    the weights of the best look are used. ``weight_decay`` is Adam's coupled L2. ``hidden`` and ``depth``:
    width and number of linear layers of the perceptron, the output layer counted; a width of 0 stands for
    the one of `width`. ``rows``: at most so many training rows (and validation and test rows in proportion),
    spread evenly over the data set's order; 0 = all.
    """

    base_dim: Positive = 10
    batch: Positive = 2048
    epochs: Positive = 100
    evaluations: Positive = 1
    patience: Positive = 3
    lr: AboveZero = 1e-3
    weight_decay: AtLeastZero = 1e-6
    hidden: Count = 0
    depth: Positive = 3
    dropout: LessThanOne = 0.2
    cross_layers: Positive = 4
    rows: Count = 0


#: Hidden units of the paper's perceptrons.
PAPER_WIDTH = 400
#: What a grid on two cores can afford at every size.
LAPTOP_WIDTH = 64
#: Data set -> model -> hidden units, where they are not the paper's.
#: At 64 units, part of what multi-embedding gains may be that its sets have more units together. So
#: `single-wide` stands beside every model, and DNN runs at the paper's width on the data sets where an effect
#: is expected. DCNv2 and FinalMLP would take too long as wide (``bench.yaml`` has the times).
WIDTHS: Mapping[str, Mapping[str, int]] = {
    "insteval": dict.fromkeys(MODELS, LAPTOP_WIDTH),
    **{
        name: dict.fromkeys(MODELS, LAPTOP_WIDTH) | {"dnn": PAPER_WIDTH}
        for name in ("planted", "flights-day")
    },
}


def width(dataset: str, model: str, run: Run) -> int:
    """Hidden units of a model on a data set: the run's, or those of `WIDTHS`, or the paper's."""
    return run.hidden or WIDTHS.get(dataset, {}).get(model, PAPER_WIDTH)


def with_width(run: Run, dataset: str, model: str) -> Run:
    """The run settings with the hidden units of a model on a data set."""
    return replace(run, hidden=width(dataset, model, run))


def single_at_one_set(task: Task, hp: Mapping[str, Any]) -> str | None:
    """The row that is the same cell at the base size, where there is one set: that of a single embedding."""
    return f"single/{hp['model']}" if task.params["scale"] == 1 else None


def too_large(task: Task, run: Run, hp: Mapping[str, Any]) -> str | None:
    """Why NFwFM is left out on Avazu from 10 times the base size on, as in the paper; None for all others."""
    if hp["model"] == "nfwfm" and task.params["dataset"] == "avazu" and task.params["scale"] >= 10:
        return "NFwFM at 10x and more on Avazu: the paper puts its embeddings at 37.6 GB, over its 24 GB GPU"
    return None
