"""Averages of a network's weights along its training: one running mean, and the laws that weight its steps.

The averages are kept in single precision whatever the network's own is. In a long run one step's share is
1e-4 or so, and what it moves the average by is far below the spacing of half-precision numbers, so there it
is mostly rounded away: after 5000 steps at CLIPood's learning rate the average lies off by a third of the way
that it should have gone (``tests/nn/test_averaging.py``).

Only parameters are averaged. Buffers (batch statistics) stay the live network's, as in the released code of
CLIPood and in SWAD, which measures them anew afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor


class RunningAverage:
    """The weighted mean of what a network's parameters were; `move` takes in what they are now."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self._live = [p.detach() for p in parameters]
        #: The average, float32, in the order of the parameters.
        self.values = [p.float().clone() for p in self._live]

    @torch.no_grad()
    def move(self, share: float) -> None:
        """``values += share * (parameters - values)``, in few kernels for all tensors together."""
        now = [p.float() for p in self._live]  # no copy of what is single precision
        torch._foreach_lerp_(self.values, now, share)

    @torch.no_grad()
    def assign(self) -> None:
        """Make the average the network's parameters."""
        torch._foreach_copy_(self._live, self.values)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """For the length of a ``with``, the network has the average for its parameters."""
        live = [p.clone() for p in self._live]
        self.assign()
        try:
            yield
        finally:
            torch._foreach_copy_(self._live, live)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to save."""
        return {"values": self.values}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        torch._foreach_copy_(self.values, state["values"])


def beta_weights(steps: int, beta: float) -> np.ndarray:
    """Weights a_0 … a_T of `BetaAverage` over T = ``steps`` steps, (T + 1,), summing to 1."""
    x = (np.arange(steps + 1) + 0.5) / (steps + 1)
    a: np.ndarray = (x * (1 - x)) ** (beta - 1)  # the density of Beta(beta, beta) but for its constant
    a /= a.sum()
    return a


class BetaAverage(RunningAverage):
    """Beta moving average of CLIPood: ``sum_t a_t theta_t / sum_t a_t``, t = 0 … T.

    ``a_t`` is the density of Beta(beta, beta) at (t + 0.5) / (T + 1); beta < 1 favours both ends, what was
    learnt before (theta_0) and now. `update` after every optimiser step; theta_0 is taken on construction.

    Source: Shu et al., CLIPood (ICML 2023).
    """

    def __init__(self, parameters: Iterable[Tensor], steps: int, beta: float) -> None:
        super().__init__(parameters)
        #: What each step counts for, (T + 1,), summing to 1.
        self.weights = beta_weights(steps, beta)
        self._shares = self.weights / np.cumsum(self.weights)
        self.step = 0

    def update(self) -> None:
        """Take in the parameters after one more step; `ValueError` after more than T."""
        if self.step + 1 >= len(self._shares):
            raise ValueError(f"this Beta average was made for {len(self._shares) - 1} steps")
        self.step += 1
        self.move(float(self._shares[self.step]))

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to save."""
        return super().state_dict() | {"step": self.step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        super().load_state_dict(state)
        self.step = int(state["step"])


class ExponentialAverage(RunningAverage):
    """Exponential moving average from theta_0 on: ``values = decay * values + (1 - decay) * theta_t``."""

    def __init__(self, parameters: Iterable[Tensor], decay: float) -> None:
        super().__init__(parameters)
        self.decay = decay

    def update(self) -> None:
        """Take in the parameters after one more step."""
        self.move(1 - self.decay)


def exponential_weights(steps: int, decay: float) -> np.ndarray:
    """Weights a_0 … a_T of `ExponentialAverage` over T = ``steps`` steps, (T + 1,), summing to 1."""
    a: np.ndarray = (1 - decay) * decay ** np.arange(steps, -1.0, -1.0)
    a[0] = decay**steps
    return a


class UniformAverage(RunningAverage):
    """The plain mean over a window of steps, empty at first; windows can be joined (SWAD)."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        super().__init__(parameters)
        self.count = 0

    def update(self) -> None:
        """Take in the parameters as they are."""
        self.count += 1
        self.move(1 / self.count)

    def assign(self) -> None:
        """Make the average the network's parameters; `ValueError` while it is empty."""
        if not self.count:
            raise ValueError("the window is empty: there is no average yet")
        super().assign()

    @torch.no_grad()
    def join(self, later: UniformAverage) -> None:
        """Become the mean over both windows."""
        if later.count:
            self.count += later.count
            torch._foreach_lerp_(self.values, later.values, later.count / self.count)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to save."""
        return super().state_dict() | {"count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        super().load_state_dict(state)
        self.count = int(state["count"])


def interpolate(a: Iterable[Tensor], b: Iterable[Tensor], alpha: float) -> list[Tensor]:
    """``(1 - alpha) a + alpha b``, tensor by tensor, in float32 (WiSE-FT: a zero-shot, b fine-tuned)."""
    return list(torch._foreach_lerp([p.detach().float() for p in a], [p.detach().float() for p in b], alpha))
