"""xDeepFM: compressed interaction network beside a perceptron; single, and with multi-embedding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_rechub.basic.layers import CIN, MLP

from bench.tracks.embedding_scale.data import CtrData
from bench.tracks.embedding_scale.nets.layers import FieldEmbedding, SetBlock, SetLinear
from bench.tracks.embedding_scale.settings import Run

#: Feature maps of the interaction network's layers, in the paper.
CIN_SIZES = (16, 16)


class SetCIN(nn.Module):
    """M compressed interaction networks, one a set: (M, B, N K) -> (M, B, sum of sizes).

    Layer l has the maps X^l_h = ReLU(b_h + sum_{i, j} w_hij X^0_i * X^{l-1}_j), (K,) each, all of them handed
    on (no split); the output is every map's sum over K. What torch-rechub's CIN computes before its last
    linear layer, which here has to follow the mean over sets; the same starting distribution.
    """

    def __init__(self, sets: int, fields: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.fields = fields
        before = (fields, *sizes[:-1])
        self.layers = nn.ModuleList(
            SetLinear(sets, fields * last, size) for last, size in zip(before, sizes, strict=True)
        )

    def forward(self, e: Tensor) -> Tensor:
        """The maps of all layers, first layer first."""
        x0 = e.view(*e.shape[:2], self.fields, -1).transpose(-1, -2)  # (M, B, K, N)
        x, sums = x0, []
        for layer in self.layers:
            products = (x0.unsqueeze(-1) * x.unsqueeze(-2)).flatten(-2)  # (M, B, K, N * last)
            x = F.relu(layer(products.flatten(1, 2))).view(*x0.shape[:3], -1)
            sums.append(x.sum(2))
        return torch.cat(sums, dim=-1)


class Single(nn.Module):
    """One set of embeddings of size ``dim``: perceptron + interaction network. (B, N) -> logits (B,).

    No linear term.
    """

    def __init__(self, data: CtrData, dim: int, run: Run) -> None:
        super().__init__()
        self.embedding = FieldEmbedding(data.cardinalities, dim)
        self.mlp = MLP(self.embedding.width, dims=[run.hidden] * (run.depth - 1), dropout=run.dropout)
        self.cin = CIN(len(data.cardinalities), CIN_SIZES, split_half=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the rows x (B, N)."""
        e = self.embedding(x)[0]
        logits: Tensor = self.mlp(e) + self.cin(e.view(*x.shape, -1))
        return logits.squeeze(1)


class Multi(nn.Module):
    """M sets of size ``dim``: per set an interaction network and the perceptron's first layer.

    Both are averaged over the sets; one linear layer over the maps and the rest of the perceptron are shared,
    and added. ReLU in the interaction network is its non-linearity, so it needs no further projection.
    """

    def __init__(self, data: CtrData, dim: int, sets: int, run: Run) -> None:
        super().__init__()
        self.embedding = FieldEmbedding(data.cardinalities, dim, sets)
        self.first = SetBlock(sets, self.embedding.width, run.hidden, run.dropout)
        self.cin = SetCIN(sets, len(data.cardinalities), CIN_SIZES)
        self.rest = MLP(run.hidden, dims=[run.hidden] * (run.depth - 2), dropout=run.dropout)
        self.maps = nn.Linear(sum(CIN_SIZES), 1)

    def interact(self, e: Tensor) -> Tensor:
        """I^(m) of every set, its two branches side by side: (M, B, N K) -> (M, B, hidden + maps)."""
        return torch.cat([self.first(e), self.cin(e)], dim=-1)

    def head(self, h: Tensor) -> Tensor:
        """F, shared: (B, hidden + maps) -> logits (B,)."""
        maps = self.maps.in_features
        logits: Tensor = self.rest(h[:, :-maps]) + self.maps(h[:, -maps:])
        return logits.squeeze(1)
