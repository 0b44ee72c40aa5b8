"""IPNN: inner products of the fields' embeddings into a perceptron; single, and with multi-embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_rechub.basic.layers import MLP

from bench.tracks.embedding_scale.data import CtrData
from bench.tracks.embedding_scale.nets.layers import FieldEmbedding, SetBlock, hidden_layers
from bench.tracks.embedding_scale.settings import Run


class InnerProducts(nn.Module):
    """<e_i, e_j> of every two fields i < j, each set by itself: (M, B, N K) -> (M, B, N (N - 1) / 2).

    torch-rechub has no such layer: its FM adds the products up, its bilinear layer weighs them.
    """

    pairs: Tensor

    def __init__(self, fields: int) -> None:
        super().__init__()
        self.fields = fields
        i, j = torch.triu_indices(fields, fields, 1)
        # One flat index into the Gram matrix: its backward is an index_add, much cheaper than that of [i, j].
        self.register_buffer("pairs", i * fields + j, persistent=False)

    @property
    def width(self) -> int:
        """N (N - 1) / 2."""
        return len(self.pairs)

    def forward(self, e: Tensor) -> Tensor:
        """Ordered (0, 1), (0, 2), ..., (N - 2, N - 1)."""
        fields = e.view(*e.shape[:2], self.fields, -1)
        gram = fields @ fields.transpose(-1, -2)
        return gram.flatten(-2).index_select(-1, self.pairs)


class Single(nn.Module):
    """One set of embeddings of size ``dim``: raw embeddings and inner products, side by side -> perceptron.

    (B, N) -> logits (B,). No linear term.
    """

    def __init__(self, data: CtrData, dim: int, run: Run, wide: int = 1) -> None:
        super().__init__()
        self.embedding = FieldEmbedding(data.cardinalities, dim)
        self.products = InnerProducts(len(data.cardinalities))
        width = self.embedding.width + self.products.width
        self.mlp = MLP(width, dims=hidden_layers(run, wide), dropout=run.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the rows x (B, N)."""
        e = self.embedding(x)
        logits: Tensor = self.mlp(torch.cat([e, self.products(e)], dim=-1)[0])
        return logits.squeeze(1)


class Multi(nn.Module):
    """M sets of size ``dim``: per set the inner products and a non-linear projection; the rest is shared.

    The raw embeddings do not enter, unlike in the single form: at one set this is not the same network.
    """

    def __init__(self, data: CtrData, dim: int, sets: int, run: Run) -> None:
        super().__init__()
        self.embedding = FieldEmbedding(data.cardinalities, dim, sets)
        self.products = InnerProducts(len(data.cardinalities))
        self.projection = SetBlock(sets, self.products.width, run.hidden, run.dropout)
        self.rest = MLP(run.hidden, dims=[run.hidden] * (run.depth - 2), dropout=run.dropout)

    def interact(self, e: Tensor) -> Tensor:
        """I^(m) of every set: (M, B, N K) -> (M, B, hidden)."""
        h: Tensor = self.projection(self.products(e))
        return h

    def head(self, h: Tensor) -> Tensor:
        """F, shared: (B, hidden) -> logits (B,)."""
        logits: Tensor = self.rest(h)
        return logits.squeeze(1)
