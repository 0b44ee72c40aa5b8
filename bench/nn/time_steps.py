"""Laws by which training draws time steps: the two of Diff-Tuning, and the uniform one.

Time step 0 is the data's side, T - 1 the noise's. What a pre-trained network knows carries over to a target
the better the nearer a time step is to the data (the "chain of forgetting"). So the network is trained to
retain it there (xi, falling) and to adapt on the other side (psi, rising).

Source: Zhong et al., Diff-Tuning (NeurIPS 2024), and its released code, which draws time steps by these
laws in place of multiplying the loss.

Imports torch: import it inside functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

By = Literal["sampling", "weighting"]


@dataclass(frozen=True, slots=True)
class TimeLaw:
    """``P(t = i) ~ (i + 1)^power`` if rising, ``(T - i)^power`` if falling, i = 0 … T - 1.

    ``power`` 0 is uniform. ``by``: ``sampling`` draws time steps so; ``weighting`` draws them uniformly and
    weights each loss by ``T P(t)``, which is 1 on average: the same in expectation, not in variance.
    """

    power: float
    rising: bool
    steps: int = 1000
    by: By = "sampling"

    @property
    def probabilities(self) -> Tensor:
        """(T,) float64, summing to 1."""
        i = torch.arange(1, self.steps + 1, dtype=torch.float64)
        p = i**self.power
        p /= p.sum()
        return p if self.rising else p.flip(0)

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Time steps (n,) int64, and what the loss at each is multiplied by, (n,) float32; on the CPU."""
        p = self.probabilities
        if self.by == "sampling":
            return torch.multinomial(p, n, replacement=True, generator=generator), torch.ones(n)
        t = torch.randint(self.steps, (n,), generator=generator)
        return t, (self.steps * p[t]).float()


def psi(power: float = 1.0, steps: int = 1000, by: By = "sampling") -> TimeLaw:
    """Diff-Tuning's law for the target's pictures: rises towards the noise."""
    return TimeLaw(power, rising=True, steps=steps, by=by)


def xi(power: float = 1.0, steps: int = 1000, by: By = "sampling") -> TimeLaw:
    """Diff-Tuning's law for the bank's pictures: falls towards the noise."""
    return TimeLaw(power, rising=False, steps=steps, by=by)
