"""Layers that several networks share: one folded embedding table, and blocks that hold M sets at once.

Everything of M sets has the set in front, (M, B, ...): one batched product replaces M small ones. A module
of M sets holds the same numbers as M modules of one, and starts from the same distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.tracks.embedding_scale.settings import Run


def hidden_layers(run: Run, wide: int) -> list[int]:
    """Hidden units of a perceptron's layers; ``wide``: how many times as many as ``run.hidden`` in the first.

    With multi-embedding the first layer is per set and the others are shared, so ``wide`` sets have as many.
    """
    return [wide * run.hidden] + [run.hidden] * (run.depth - 2)


class FieldEmbedding(nn.Module):
    """N fields' tables E_i^(m), (D_i, K), of M sets, held as one weight (sum D_i, M K) with one lookup.

    Each set is drawn Xavier-uniform over its own (sum D_i, K), as the paper's code draws its single table.
    """

    offsets: Tensor

    def __init__(self, cardinalities: Sequence[int], dim: int, sets: int = 1) -> None:
        super().__init__()
        self.cardinalities, self.dim, self.sets = tuple(cardinalities), dim, sets
        total = sum(cardinalities)
        bound = math.sqrt(6 / (total + dim))
        self.weight = nn.Parameter(torch.empty(total, sets * dim).uniform_(-bound, bound))
        starts = torch.tensor([0, *cardinalities[:-1]]).cumsum(0)
        self.register_buffer("offsets", starts, persistent=False)

    @property
    def width(self) -> int:
        """N K, the length of one set's concatenated embeddings."""
        return len(self.cardinalities) * self.dim

    def forward(self, x: Tensor) -> Tensor:
        """Indices (B, N) -> (M, B, N K): e_1^(m) ... e_N^(m) side by side."""
        e = F.embedding(x + self.offsets, self.weight)
        e = e.view(len(x), len(self.cardinalities), self.sets, self.dim).permute(2, 0, 1, 3)
        return e.reshape(self.sets, len(x), self.width)

    def tables(self) -> list[list[Tensor]]:
        """For each field, for each set: the table (D_i, K)."""
        rows_of_sets = self.weight.detach().view(-1, self.sets, self.dim)
        by_field = torch.split(rows_of_sets, list(self.cardinalities))
        return [[rows[:, m] for m in range(self.sets)] for rows in by_field]


class SetLinear(nn.Module):
    """M linear layers, each applied to its own set: (M, B, in) -> (M, B, out). Initialised as nn.Linear."""

    def __init__(self, sets: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(sets, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(sets, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """x_m W_m + b_m."""
        return torch.baddbmm(self.bias, x, self.weight)


class SetBlock(nn.Module):
    """The perceptron layer, one a set: Linear, batch norm, ReLU, dropout; (M, B, in) -> (M, B, out)."""

    def __init__(self, sets: int, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.linear = SetLinear(sets, inputs, outputs)
        self.norm = nn.BatchNorm1d(sets * outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Sets are normalised apart: each of the M * out units over the batch."""
        z = self.linear(x)
        sets, batch, outputs = z.shape
        z = self.norm(z.transpose(0, 1).reshape(batch, sets * outputs))
        out: Tensor = self.dropout(F.relu(z))
        return out.view(batch, sets, outputs).transpose(0, 1)


class SetCross(nn.Module):
    """M full-rank cross networks of DCNv2, one a set: x_{l+1} = x_0 * (x_l W_l + b_l) + x_l. Keeps (M, B, d).

    W_l is drawn Xavier-uniform and b_l is zero, as in the paper's code. torch-rechub's CrossNetV2 computes
    x_0 * (x_l W_l) + b_l + x_l, with the bias outside the product: another network, so it is not used here.
    """

    def __init__(self, sets: int, width: int, layers: int) -> None:
        super().__init__()
        bound = math.sqrt(6 / (2 * width))
        self.weight = nn.Parameter(torch.empty(layers, sets, width, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(layers, sets, 1, width))

    def forward(self, x0: Tensor) -> Tensor:
        """The last layer's output."""
        x = x0
        for w, b in zip(self.weight, self.bias, strict=True):
            x = torch.addcmul(x, x0, torch.baddbmm(b, x, w))
        return x
