"""FinalMLP: two perceptrons, fused by a bilinear form; single, and with multi-embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_rechub.basic.layers import MLP

from bench.tracks.embedding_scale.data import CtrData
from bench.tracks.embedding_scale.nets.layers import FieldEmbedding, SetBlock
from bench.tracks.embedding_scale.settings import Run


class Fusion(nn.Module):
    """w_a . a + b_a + w_b . b + b_b + a W b of two streams' outputs a and b, (B, hidden) each -> (B,).

    W is full (one head) and starts at zero, as in the paper's code.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(hidden, 1), nn.Linear(hidden, 1)
        self.weight = nn.Parameter(torch.zeros(hidden, hidden))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Logits (B,)."""
        linear: Tensor = self.a(a) + self.b(b)
        return linear.squeeze(1) + (a @ self.weight * b).sum(1)


class Single(nn.Module):
    """One set of embeddings of size ``dim``: two perceptrons over all of it -> fusion.

    (B, N) -> logits (B,). Without the gates that select features for each stream: the paper's code leaves
    them out. ``wide``: how many times as many hidden units each layer has; of `Multi`, both are per set.
    """

    def __init__(self, data: CtrData, dim: int, run: Run, wide: int = 1) -> None:
        super().__init__()
        self.embedding = FieldEmbedding(data.cardinalities, dim)
        hidden = wide * run.hidden
        width, dims = self.embedding.width, [hidden] * (run.depth - 1)
        self.a = MLP(width, output_layer=False, dims=dims, dropout=run.dropout)
        self.b = MLP(width, output_layer=False, dims=dims, dropout=run.dropout)
        self.fusion = Fusion(hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the rows x (B, N)."""
        e = self.embedding(x)[0]
        logits: Tensor = self.fusion(self.a(e), self.b(e))
        return logits


class Multi(nn.Module):
    """M sets of size ``dim``: per set both perceptrons; each is averaged over the sets, the fusion is shared.

    The perceptrons are not linear, so no further projection is needed.
    """

    def __init__(self, data: CtrData, dim: int, sets: int, run: Run) -> None:
        super().__init__()
        self.embedding = FieldEmbedding(data.cardinalities, dim, sets)
        self.a = _stream(sets, self.embedding.width, run)
        self.b = _stream(sets, self.embedding.width, run)
        self.fusion = Fusion(run.hidden)

    def interact(self, e: Tensor) -> Tensor:
        """I^(m) of every set, its two streams side by side: (M, B, N K) -> (M, B, 2 hidden)."""
        return torch.cat([self.a(e), self.b(e)], dim=-1)

    def head(self, h: Tensor) -> Tensor:
        """F, shared: (B, 2 hidden) -> logits (B,)."""
        logits: Tensor = self.fusion(*h.chunk(2, dim=1))
        return logits


def _stream(sets: int, width: int, run: Run) -> nn.Sequential:
    """The hidden layers of M perceptrons, (M, B, width) -> (M, B, hidden)."""
    inputs = [width, *[run.hidden] * (run.depth - 2)]
    return nn.Sequential(*(SetBlock(sets, n, run.hidden, run.dropout) for n in inputs))
