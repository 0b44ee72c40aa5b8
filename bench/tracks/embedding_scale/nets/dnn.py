"""DNN: concatenated embeddings into a perceptron; single, and with multi-embedding."""

from __future__ import annotations

from torch import Tensor, nn
from torch_rechub.basic.layers import MLP

from bench.tracks.embedding_scale.data import CtrData
from bench.tracks.embedding_scale.nets.layers import FieldEmbedding, SetBlock, hidden_layers
from bench.tracks.embedding_scale.settings import Run


class Single(nn.Module):
    """One set of embeddings of size ``dim``: concatenation -> perceptron. (B, N) -> logits (B,)."""

    def __init__(self, data: CtrData, dim: int, run: Run, wide: int = 1) -> None:
        super().__init__()
        self.embedding = FieldEmbedding(data.cardinalities, dim)
        self.mlp = MLP(self.embedding.width, dims=hidden_layers(run, wide), dropout=run.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the rows x (B, N)."""
        logits: Tensor = self.mlp(self.embedding(x)[0])
        return logits.squeeze(1)


class Multi(nn.Module):
    """M sets of size ``dim``: per set the perceptron's first layer; the rest of it is shared.

    The first layer is linear with its own non-linearity, so no further projection is needed.
    """

    def __init__(self, data: CtrData, dim: int, sets: int, run: Run) -> None:
        super().__init__()
        self.embedding = FieldEmbedding(data.cardinalities, dim, sets)
        self.first = SetBlock(sets, self.embedding.width, run.hidden, run.dropout)
        self.rest = MLP(run.hidden, dims=[run.hidden] * (run.depth - 2), dropout=run.dropout)

    def interact(self, e: Tensor) -> Tensor:
        """I^(m) of every set: (M, B, N K) -> (M, B, hidden)."""
        h: Tensor = self.first(e)
        return h

    def head(self, h: Tensor) -> Tensor:
        """F, shared: (B, hidden) -> logits (B,)."""
        logits: Tensor = self.rest(h)
        return logits.squeeze(1)
