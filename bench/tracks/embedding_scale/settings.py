"""Settings of the track; the defaults are the paper's wherever the paper or its code states one.

Source: the multi-embedding paper (arXiv 2310.04400) and its released code.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grid:
    """Which tasks: every data set at every scale, a multiple of the base embedding size."""

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
