"""DCNv2 with multi-embedding and one interaction for all sets: an ablation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_rechub.basic.layers import MLP

from bench.tracks.embedding_scale.data import CtrData
from bench.tracks.embedding_scale.nets.layers import FieldEmbedding, SetCross, SetLinear
from bench.tracks.embedding_scale.settings import Run


class Multi(nn.Module):
    """M sets of size ``dim`` through one cross network and one projection; otherwise as `dcnv2.Multi`."""

    def __init__(self, data: CtrData, dim: int, sets: int, run: Run) -> None:
        super().__init__()
        self.embedding = FieldEmbedding(data.cardinalities, dim, sets)
        width = self.embedding.width
        self.cross = SetCross(1, width, run.cross_layers)
        self.projection = SharedBlock(sets, width, run.hidden, run.dropout)
        self.rest = MLP(run.hidden, dims=[run.hidden] * (run.depth - 2), dropout=run.dropout)

    def interact(self, e: Tensor) -> Tensor:
        """I of every set: (M, B, N K) -> (M, B, hidden)."""
        # The cross network sees no other row, so all sets are one long batch to it.
        crossed = self.cross(e.flatten(0, 1)[None])
        h: Tensor = self.projection(crossed.view(e.shape))
        return h

    def head(self, h: Tensor) -> Tensor:
        """F, shared: (B, hidden) -> logits (B,)."""
        logits: Tensor = self.rest(h)
        return logits.squeeze(1)


class SharedBlock(nn.Module):
    """A `SetBlock` whose M sets have the same parameters; each is normalised by statistics of its own."""

    def __init__(self, sets: int, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.linear = SetLinear(1, inputs, outputs)
        self.norm = nn.BatchNorm1d(sets * outputs, affine=False)
        self.weight = nn.Parameter(torch.ones(outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Linear, batch norm, ReLU, dropout: (M, B, in) -> (M, B, out)."""
        sets, batch, _ = x.shape
        z = self.linear(x.flatten(0, 1)[None]).view(sets, batch, -1)
        z = self.norm(z.transpose(0, 1).reshape(batch, -1)).view(batch, sets, -1)
        out: Tensor = self.dropout(F.relu(z * self.weight + self.bias))
        return out.transpose(0, 1)
