"""DCNv2: a full-rank cross network in series with a perceptron; single, and with multi-embedding."""

from __future__ import annotations

from torch import Tensor, nn
from torch_rechub.basic.layers import MLP

from bench.tracks.embedding_scale.data import CtrData
from bench.tracks.embedding_scale.nets.layers import FieldEmbedding, SetBlock, SetCross, hidden_layers
from bench.tracks.embedding_scale.settings import Run


class Single(nn.Module):
    """One set of embeddings of size ``dim``: cross network -> perceptron. (B, N) -> logits (B,)."""

    def __init__(self, data: CtrData, dim: int, run: Run, wide: int = 1) -> None:
        super().__init__()
        self.embedding = FieldEmbedding(data.cardinalities, dim)
        width = self.embedding.width
        self.cross = SetCross(1, width, run.cross_layers)
        self.mlp = MLP(width, dims=hidden_layers(run, wide), dropout=run.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the rows x (B, N)."""
        logits: Tensor = self.mlp(self.cross(self.embedding(x))[0])
        return logits.squeeze(1)


class Multi(nn.Module):
    """M sets of size ``dim``: per set a cross network and a non-linear projection; the rest is shared.

    The projection is the perceptron's first layer, so the shared part has one layer less and the depth stays.
    """

    def __init__(self, data: CtrData, dim: int, sets: int, run: Run) -> None:
        super().__init__()
        self.embedding = FieldEmbedding(data.cardinalities, dim, sets)
        width = self.embedding.width
        self.cross = SetCross(sets, width, run.cross_layers)
        self.projection = SetBlock(sets, width, run.hidden, run.dropout)
        self.rest = MLP(run.hidden, dims=[run.hidden] * (run.depth - 2), dropout=run.dropout)

    def interact(self, e: Tensor) -> Tensor:
        """I^(m) of every set: (M, B, N K) -> (M, B, hidden)."""
        h: Tensor = self.projection(self.cross(e))
        return h

    def head(self, h: Tensor) -> Tensor:
        """F, shared: (B, hidden) -> logits (B,)."""
        logits: Tensor = self.rest(h)
        return logits.squeeze(1)
