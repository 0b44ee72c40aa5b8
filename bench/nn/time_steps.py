"""The laws by which Diff-Tuning draws time steps, and whether a picture is the target's or the bank's.

Time step 0 is the data's side, T - 1 the noise's. What a pre-trained network knows carries over to a target
the better the nearer a time step is to the data (the "chain of forgetting"). So the network is trained to
retain it there (xi, falling) and to adapt on the other side (psi, rising).

Source: Zhong et al., Diff-Tuning (NeurIPS 2024), section 3.2 and Algorithm 1.

Imports torch: import it inside functions.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Time steps of the schedule of DiT.
STEPS = 1000


def psi(tau: float = 1.0, steps: int = STEPS) -> Tensor:
    """``psi(t) = t^tau`` at t = 1/T, 2/T, … 1, (T,) float64: 1 at the noise; ``tau`` 0 is 1 everywhere."""
    return (torch.arange(1, steps + 1, dtype=torch.float64) / steps) ** tau


def draw(weights: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Time steps (n,) int64 on the CPU, in proportion to ``weights`` (T,)."""
    return torch.multinomial(weights, n, replacement=True, generator=generator)
