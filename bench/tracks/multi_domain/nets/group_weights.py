"""The weights of the domains in GroupDRO."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GroupWeights(nn.Module):
    """GroupDRO's distribution q over domains, which moves to those with the largest loss.

    It moves by exponentiated gradients, q_d <- q_d exp(eta L_d). ``step``: eta.
    """

    q: Tensor

    def __init__(self, domains: int, step: float) -> None:
        super().__init__()
        self.step = step
        self.register_buffer("q", torch.full((domains,), 1 / domains))

    def forward(self, losses: Tensor, domain: Tensor) -> Tensor:
        """The loss sum_d q_d L_d, a scalar, after q has moved.

        A domain without a row keeps its part of q but for the normalisation; the sum is over the other
        domains, with their parts of q scaled to add up to 1.

        Args:
            losses: (B,) of the rows.
            domain: (B,) of the rows.
        """
        n = torch.bincount(domain, minlength=len(self.q))
        mean = torch.zeros_like(self.q).index_add(0, domain, losses) / n.clamp(min=1)
        with torch.no_grad():
            self.q *= torch.exp(self.step * mean)  # a domain without a row: times 1
            self.q /= self.q.sum()
        q = self.q * (n > 0)
        return (q / q.sum() * mean).sum()
