"""NFwFM: field-weighted pooling of products into a perceptron; single, and with multi-embedding.

The neural factorisation machine with its pooling replaced by that of the field-weighted one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_rechub.basic.layers import MLP

from bench.tracks.embedding_scale.data import CtrData
from bench.tracks.embedding_scale.nets.layers import FieldEmbedding, SetBlock, hidden_layers
from bench.tracks.embedding_scale.settings import Run

#: How many times the other networks' embedding size this one has: in the paper 50 at the base, against 10.
DIM_FACTOR = 5


class FieldWeightedPool(nn.Module):
    """sum_{i, j} w_ij e_i * e_j of each set, normed over the batch and dropped out: (M, B, N K) -> (M, B, K).

    The N x N weights of a set are free: both orders of a pair and i = j count, as in the paper's code, and
    are drawn from N(0, 1). torch-rechub's FM has no weights, so it is not used here.
    """

    def __init__(self, sets: int, fields: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.fields = fields
        self.weight = nn.Parameter(torch.randn(sets, fields, fields))
        self.norm = nn.BatchNorm1d(sets * dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, e: Tensor) -> Tensor:
        """One product a set, sum_i e_i * (sum_j w_ij e_j), in place of one a pair."""
        fields = e.view(*e.shape[:2], self.fields, -1)
        pooled = (fields * torch.einsum("mij,mbjk->mbik", self.weight, fields)).sum(2)
        sets, batch, dim = pooled.shape
        z = self.norm(pooled.transpose(0, 1).reshape(batch, sets * dim))
        out: Tensor = self.dropout(z)
        return out.view(batch, sets, dim).transpose(0, 1)


class Single(nn.Module):
    """One set of embeddings of size `DIM_FACTOR` * ``dim``: weighted pooling -> perceptron.

    (B, N) -> logits (B,). No linear term.
    """

    def __init__(self, data: CtrData, dim: int, run: Run, wide: int = 1) -> None:
        super().__init__()
        dim *= DIM_FACTOR
        self.embedding = FieldEmbedding(data.cardinalities, dim)
        self.pool = FieldWeightedPool(1, len(data.cardinalities), dim, run.dropout)
        self.mlp = MLP(dim, dims=hidden_layers(run, wide), dropout=run.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the rows x (B, N)."""
        logits: Tensor = self.mlp(self.pool(self.embedding(x))[0])
        return logits.squeeze(1)


class Multi(nn.Module):
    """M sets of size `DIM_FACTOR` * ``dim``: per set the pooling, its norm and a non-linear projection.

    The rest of the perceptron is shared.
    """

    def __init__(self, data: CtrData, dim: int, sets: int, run: Run) -> None:
        super().__init__()
        dim *= DIM_FACTOR
        self.embedding = FieldEmbedding(data.cardinalities, dim, sets)
        self.pool = FieldWeightedPool(sets, len(data.cardinalities), dim, run.dropout)
        self.projection = SetBlock(sets, dim, run.hidden, run.dropout)
        self.rest = MLP(run.hidden, dims=[run.hidden] * (run.depth - 2), dropout=run.dropout)

    def interact(self, e: Tensor) -> Tensor:
        """I^(m) of every set: (M, B, N K) -> (M, B, hidden)."""
        h: Tensor = self.projection(self.pool(e))
        return h

    def head(self, h: Tensor) -> Tensor:
        """F, shared: (B, hidden) -> logits (B,)."""
        logits: Tensor = self.rest(h)
        return logits.squeeze(1)
