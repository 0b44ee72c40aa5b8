"""Networks of shared features with a head for each domain, and networks that share nothing.

A network takes inputs (B, ...) and their domains (B,) int64 and gives logits (B, outputs). A row goes only
through what its own domain needs.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from bench.tracks.multi_domain.nets.bodies import Body
from bench.tracks.multi_domain.nets.experts import Experts
from bench.tracks.multi_domain.nets.routing import copies, routed


class MultiHead(nn.Module):
    """h_d(psi(x, d)): shared features, and one head for each domain or a single one for all.

    ``psi``: gives features (B, W) of inputs (B, ...) and domains (B,).
    """

    def __init__(self, psi: nn.Module, heads: Iterable[nn.Module]) -> None:
        super().__init__()
        self.psi, self.heads = psi, nn.ModuleList(heads)

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        """Logits (B, outputs) of inputs (B, ...) and their domains (B,)."""
        return self.classify(self.psi(x, domain), domain)

    def classify(self, features: Tensor, domain: Tensor) -> Tensor:
        """Logits (B, outputs) of features (B, W) and domains (B,)."""
        return routed(self.heads, domain, features)

    def split(self, domains: int) -> None:
        """Go from one head for all domains to one for each, a copy of it.

        The gates are split in the same way, if psi has some.
        """
        (root,) = self.heads
        self.heads = copies(root, domains)
        if isinstance(self.psi, Experts):
            self.psi.split(domains)


class Plain(nn.Module):
    """The features psi(x) = trunk(stem(x)), whatever the domain."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        """Features (B, W) of inputs (B, ...) and their domains (B,)."""
        features: Tensor = self.body(x)
        return features


class Separate(nn.Module):
    """A whole network for each domain, with nothing in common."""

    def __init__(self, bodies: Iterable[Body]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(nn.Sequential(b, b.head()) for b in bodies)

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        """Logits (B, outputs) of inputs (B, ...) and their domains (B,)."""
        return routed(self.networks, domain, x)
