"""What the rows that align domains add: a discriminator of domains behind gradient reversal."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

#: Numbers of an outer product up to which CDAN uses it whole, as its paper does.
LARGEST = 4_096


class _Reversal(torch.autograd.Function):
    """The identity, whose gradient is multiplied by ``-strength``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reversed_gradient(x: Tensor, strength: float) -> Tensor:
    """``x`` itself; on the way back its gradient is multiplied by ``-strength`` (Ganin et al., 2016)."""
    out: Tensor = _Reversal.apply(x, strength)
    return out


def ramp(progress: float) -> float:
    """2 / (1 + exp(-10 p)) - 1, which goes from 0 to 1 as the training does (Ganin et al., 2016)."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


def discriminator(width: int, domains: int, hidden: int) -> nn.Sequential:
    """A network with one hidden layer that gives logits (B, domains) of features (B, width)."""
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, domains))


class Multilinear(nn.Module):
    """Features f (B, W) and class probabilities g (B, C) combined by their outer product (B, W C).

    Beyond `LARGEST` numbers it is CDAN's randomised form: (R_f f) * (R_g g) / sqrt(size), with fixed standard
    normal matrices. ``width``: of the result.
    """

    of_features: Tensor
    of_classes: Tensor

    def __init__(self, features: int, classes: int, *, size: int = 1_024) -> None:
        super().__init__()
        self.randomised = features * classes > LARGEST
        self.width = size if self.randomised else features * classes
        if self.randomised:
            self.register_buffer("of_features", torch.randn(features, size))
            self.register_buffer("of_classes", torch.randn(classes, size))

    def forward(self, f: Tensor, g: Tensor) -> Tensor:
        """The combination (B, width) of f (B, W) and g (B, C)."""
        if self.randomised:
            return (f @ self.of_features) * (g @ self.of_classes) / math.sqrt(self.width)
        return torch.einsum("bw,bc->bwc", f, g).flatten(1)
