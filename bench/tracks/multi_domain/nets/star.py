"""STAR's network: every layer's weights are a common matrix times one of the domain's own."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.tracks.multi_domain.nets.bodies import Body
from bench.tracks.multi_domain.nets.routing import routed


class Star(nn.Module):
    """Star topology: every layer's weights are the centre's times the domain's, element by element.

    W_d = W * (1 + V_d) and b_d = b + c_d over the layers of trunk and head, on the body's stem. The paper
    writes W * W_d; 1 + V_d from V_d = 0 starts all domains at the centre, and weight decay draws them there.

    Args:
        body: its stem is shared; its layers' sizes are the star's.
        domains: how many domains there are.
        normalise: whether there is partitioned normalisation between stem and layers.
        auxiliary: hidden units of the auxiliary network, which reads the domain's embedding beside the
            features and whose logits are added; 0: there is none.
    """

    def __init__(self, body: Body, domains: int, *, normalise: bool, auxiliary: int) -> None:
        super().__init__()
        self.stem = body.stem
        width = body.stem.width
        sizes = (width, *body.hidden, *body.tower, body.outputs)
        self.layers = nn.ModuleList(StarLinear(a, b, domains) for a, b in pairwise(sizes))
        self.norm = PartitionedNorm(width, domains) if normalise else None
        self.of_domain, self.auxiliary = None, None
        if auxiliary:
            self.of_domain = nn.Embedding(domains, auxiliary)
            self.auxiliary = nn.Sequential(
                nn.Linear(width + auxiliary, auxiliary), nn.ReLU(), nn.Linear(auxiliary, body.outputs)
            )
        self._domains = domains

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        """Logits (B, outputs) of inputs (B, ...) and their domains (B,)."""
        return routed([partial(self._one, t) for t in range(self._domains)], domain, self.stem(x))

    def _one(self, t: int, s: Tensor) -> Tensor:
        """Logits (n, outputs) of the stem's features (n, width) of rows of domain ``t``."""
        z = s if self.norm is None else self.norm(s, t)
        h = z
        for i, layer in enumerate(self.layers):
            h = layer(h if i == 0 else F.relu(h), t)
        if self.of_domain is None or self.auxiliary is None:
            return h
        e = self.of_domain.weight[t].expand(len(z), -1)
        total: Tensor = h + self.auxiliary(torch.cat([z, e], 1))
        return total

    def parameters_at_inference(self) -> int:
        """How many numbers inference needs, with each domain's weights multiplied out."""
        folded = sum(layer.centre.weight.numel() + layer.centre.bias.numel() for layer in self._layers())
        if self.norm is not None:
            folded += self.norm.weight.numel() + self.norm.bias.numel()
        return sum(p.numel() for p in self.parameters()) - folded

    def _layers(self) -> list[StarLinear]:
        return [layer for layer in self.layers if isinstance(layer, StarLinear)]


class StarLinear(nn.Module):
    """A linear layer for every domain around a common one: x (W * (1 + V_d))^T + b + c_d."""

    def __init__(self, before: int, after: int, domains: int) -> None:
        super().__init__()
        self.centre = nn.Linear(before, after)
        # A parameter a domain, not one for all: one without a row in a step has no gradient and stays.
        self.scale = nn.ParameterList(nn.Parameter(torch.zeros(after, before)) for _ in range(domains))
        self.shift = nn.ParameterList(nn.Parameter(torch.zeros(after)) for _ in range(domains))

    def forward(self, x: Tensor, t: int) -> Tensor:
        """The outputs (n, after) of rows (n, before) of domain ``t``."""
        return F.linear(x, self.centre.weight * (1 + self.scale[t]), self.centre.bias + self.shift[t])


class PartitionedNorm(nn.Module):
    """Batch norm with statistics of each domain's own: gamma * gamma_d * z + beta + beta_d.

    A step with a single row of a domain uses the statistics so far, and leaves them as they are.
    """

    mean: Tensor
    var: Tensor

    def __init__(self, width: int, domains: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.scale = nn.ParameterList(nn.Parameter(torch.ones(width)) for _ in range(domains))
        self.shift = nn.ParameterList(nn.Parameter(torch.zeros(width)) for _ in range(domains))
        self.register_buffer("mean", torch.zeros(domains, width))
        self.register_buffer("var", torch.ones(domains, width))

    def forward(self, z: Tensor, t: int) -> Tensor:
        """The rows (n, width) of domain ``t``, normalised."""
        return F.batch_norm(
            z, self.mean[t], self.var[t], self.weight * self.scale[t], self.bias + self.shift[t],
            training=self.training and len(z) > 1,
        )  # fmt: skip
