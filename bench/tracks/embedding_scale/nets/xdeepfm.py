"""xDeepFM: compressed interaction network beside a perceptron; single, and with multi-embedding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_rechub.basic.layers import MLP

from bench.tracks.embedding_scale.data import CtrData
from bench.tracks.embedding_scale.nets.layers import FieldEmbedding, SetBlock, hidden_layers
from bench.tracks.embedding_scale.settings import Run

#: Feature maps of the interaction network's layers, in the paper.
CIN_SIZES = (16, 16)


class SetCIN(nn.Module):
    """M compressed interaction networks, one a set: (M, B, N K) -> (M, B, sum of sizes).

    Layer l has the maps X^l_h = ReLU(b_h + sum_{i, j} w_hij X^0_i * X^{l-1}_j), (K,) each, all of them handed
    on (no split); the output is every map's sum over K.

    torch-rechub's CIN has the same numbers from the same distribution, but ends in its linear layer, which
    here has to follow the mean over sets. The field is kept in front, so that every product runs along B * K
    contiguous numbers.
    """

    def __init__(self, sets: int, fields: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.fields = fields
        self.weight, self.bias = nn.ParameterList(), nn.ParameterList()
        for before, size in zip((fields, *sizes[:-1]), sizes, strict=True):
            bound = 1 / math.sqrt(fields * before)
            self.weight.append(nn.Parameter(torch.empty(sets, size, fields * before).uniform_(-bound, bound)))
            self.bias.append(nn.Parameter(torch.empty(sets, size, 1).uniform_(-bound, bound)))

    def forward(self, e: Tensor) -> Tensor:
        """The maps of all layers, first layer first."""
        sets, batch, _ = e.shape
        x0 = e.view(sets, batch, self.fields, -1).transpose(1, 2).reshape(sets, self.fields, -1)
        x, sums = x0, []
        for w, b in zip(self.weight, self.bias, strict=True):
            products = (x0.unsqueeze(2) * x.unsqueeze(1)).flatten(1, 2)  # (M, N * before, B * K)
            x = F.relu(torch.baddbmm(b, w, products))
            sums.append(x.view(sets, len(w[0]), batch, -1).sum(3).transpose(1, 2))
        return torch.cat(sums, dim=-1)


class Single(nn.Module):
    """One set of embeddings of size ``dim``: perceptron + interaction network. (B, N) -> logits (B,).

    No linear term.
    """

    def __init__(self, data: CtrData, dim: int, run: Run, wide: int = 1) -> None:
        super().__init__()
        self.embedding = FieldEmbedding(data.cardinalities, dim)
        self.mlp = MLP(self.embedding.width, dims=hidden_layers(run, wide), dropout=run.dropout)
        self.cin = SetCIN(1, len(data.cardinalities), CIN_SIZES)
        self.maps = nn.Linear(sum(CIN_SIZES), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the rows x (B, N)."""
        e = self.embedding(x)
        logits: Tensor = self.mlp(e[0]) + self.maps(self.cin(e)[0])
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
