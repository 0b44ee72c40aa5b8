"""SWAD's choice of the steps whose weights are averaged: a valley of the validation loss."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from bench.nn.averaging import UniformAverage


class LossValley:
    """The mean of the weights from where the validation loss stops falling to where it has risen.

    Call `update` after every step. The loss is evaluated every ``every`` steps; each evaluation comes with
    the mean of the weights since the one before. Only the latest evaluations stay in memory, so that it does
    not grow with the steps.

    Source: Cha et al., SWAD (NeurIPS 2021), algorithm 1.

    Args:
        parameters: whose values are averaged.
        loss: gives the validation loss of the parameters as they are.
        every: steps between two evaluations.
        begin: the valley begins at the first of ``begin`` evaluations in a row, if it is the lowest of them.
        end: the valley ends before the first of ``end`` evaluations in a row that lie above the bound.
        tolerance: the bound, over the mean loss of the ``begin`` evaluations that the valley began with.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], loss: Callable[[], float], *,
        every: int, begin: int, end: int, tolerance: float,
    ) -> None:  # fmt: skip
        self._parameters, self._loss = parameters, loss
        self._every, self._begin, self._end, self._tolerance = every, begin, end, tolerance
        self._step = self._start = 0
        self._since = UniformAverage(parameters)
        self._waiting: deque[tuple[float, UniformAverage]] = deque()
        self._valley: UniformAverage | None = None
        self._bound = float("inf")
        self._over = False

    def update(self) -> None:
        """Count the parameters as they are after one more step."""
        if self._over:
            return
        self._step += 1
        self._since.update()
        if self._step % self._every == 0:
            self._evaluated(self._loss())
            self._since = UniformAverage(self._parameters)

    def _evaluated(self, loss: float) -> None:
        """Let the valley begin, grow or end by one more evaluation."""
        self._waiting.append((loss, self._since))
        begins = self._valley is None
        if begins and not self._begun():
            return
        low = [n for n, (at, _) in enumerate(self._waiting, 1) if not at > self._bound]
        self._join(max(low, default=0))  # what waits from here on lies above the bound
        if len(self._waiting) >= self._end and not begins:
            self._join(len(self._waiting) - self._end)
            self._over = True

    def _begun(self) -> bool:
        """Whether the valley begins: the first of the last ``begin`` evaluations is the lowest."""
        if len(self._waiting) < self._begin:
            return False
        losses = [at for at, _ in self._waiting]
        if min(losses) < losses[0]:
            self._start += self._waiting.popleft()[1].count
            return False
        self._bound = max(losses[0], self._tolerance * sum(losses) / len(losses))
        self._valley = UniformAverage(self._parameters)
        return True

    def _join(self, n: int) -> None:
        """Take the first ``n`` waiting evaluations into the valley."""
        assert self._valley is not None
        for _ in range(n):
            self._valley.join(self._waiting.popleft()[1])

    def assign(self) -> None:
        """Make the valley's mean the parameters; if no valley ever began, they stay the last ones.

        In that case algorithm 1 would take the mean over all steps, and the released code that of the last
        evaluation.
        """
        if self._valley is None:
            return
        if not self._over:  # the training ended before the loss rose for good: all that waits is in it
            self._join(len(self._waiting))
            self._valley.join(self._since)
        self._valley.assign()

    def shares(self, steps: int) -> np.ndarray:
        """Shares (steps + 1,) of the weights before training and after each step in what `assign` gives."""
        a = np.zeros(steps + 1)
        if self._valley is None:
            a[-1] = 1.0
        else:
            a[self._start + 1 : self._start + 1 + self._valley.count] = 1 / self._valley.count
        return a

    def state_dict(self) -> dict[str, Any]:
        """Everything that a checkpoint has to hold."""
        return {
            "step": self._step, "start": self._start, "over": self._over, "bound": self._bound,
            "since": self._since.state_dict(),
            "waiting": [(at, w.state_dict()) for at, w in self._waiting],
            "valley": None if self._valley is None else self._valley.state_dict(),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._step, self._start = state["step"], state["start"]
        self._over, self._bound = state["over"], state["bound"]
        self._since = self._restored(state["since"])
        self._waiting = deque((at, self._restored(w)) for at, w in state["waiting"])
        self._valley = None if state["valley"] is None else self._restored(state["valley"])

    def _restored(self, state: Mapping[str, Any]) -> UniformAverage:
        average = UniformAverage(self._parameters)
        average.load_state_dict(state)
        return average
