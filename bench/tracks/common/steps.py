"""The step engine: what happens around the optimisation steps of a training, whatever is trained.

It goes on from a checkpoint, reports the loss, stops when the loss is not finite, writes checkpoints, and
measures the time that a step takes. What a step does, and in which phases or epochs there are steps, is the
track's.

Imports torch: import it inside functions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from bench.contract import Context

Batch = TypeVar("Batch")


class Stateful(Protocol):
    """What a checkpoint can hold: an optimiser, a schedule of learning rates, a network, `Tensors`."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that has to be saved."""

    def load_state_dict(self, state: Any) -> Any:
        """Go on from what was saved."""


class Tensors:
    """Tensors by their order, such as those parameters of a network that are trained."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._tensors = list(tensors)

    def state_dict(self) -> dict[str, Any]:
        """The tensors themselves, not copies."""
        return {"tensors": [t.detach() for t in self._tensors]}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Fill the tensors in place."""
        for tensor, value in zip(self._tensors, state["tensors"], strict=True):
            tensor.copy_(value)


def optimised(loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer, device: str, amp: bool) -> Tensor:
    """Take one optimisation step, and give its loss.

    Args:
        loss: computes the loss, a scalar; ``amp``: under autocast to bfloat16 on the ``device``.
        optimizer: of the parameters that the step changes.
    """
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=amp):
        value = loss()
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(value)
    optimizer.step()
    return value.detach()


@dataclass(slots=True, kw_only=True)
class Steps:
    """The optimisation steps of a training, or of one phase of it.

    ``ctx``: of the cell. ``total``: number of steps of the whole training, which reports its loss about 20
    times. ``state``: what a step changes and a checkpoint holds. ``checkpoint_every``: steps between
    two checkpoints. ``phase``: number of the phase, from 0. ``first``, ``last``: number of steps done before
    the phase and after it; the defaults are those of a training in one phase. ``done``: number of steps done
    so far. ``finite``: whether the last reported loss was.
    """

    ctx: Context
    total: int
    state: Sequence[Stateful]
    checkpoint_every: int
    phase: int = 0
    first: int = 0
    last: int | None = None
    done: int = field(init=False)
    finite: bool = field(default=True, init=False)
    _taken: int = field(default=0, init=False)
    _seconds: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.done = self.first

    @property
    def _end(self) -> int:
        return self.total if self.last is None else self.last

    @property
    def seconds_per_step(self) -> float:
        """Wall seconds per optimisation step since the cell was last started.

        The loading of data is counted; snapshots, evaluation and checkpoints are not. What a method itself
        computes after a step, such as a validation loss by which it chooses weights, is part of the step.
        """
        return self._seconds / max(1, self._taken)

    def resume(self, checkpoint: Mapping[str, Any] | None) -> None:
        """Go on from a checkpoint that `Context.restore` gave, unless it is None."""
        if checkpoint is not None:
            self.done = int(checkpoint["step"])
            for part, saved in zip(self.state, checkpoint["state"], strict=True):
                part.load_state_dict(saved)

    def run(
        self,
        batches: Iterable[Batch],
        step: Callable[[Batch], Tensor],
        *,
        evaluate: Callable[[int], None] | None = None,
        evaluate_at: Collection[int] = (),
    ) -> None:
        """Take the steps that are left. A reported loss that is not finite ends the training.

        Args:
            batches: of the steps after the first ``done`` ones.
            step: takes one optimisation step, and gives its loss, a scalar.
            evaluate: called, off the clock, with the number of steps done where that is in ``evaluate_at``.
        """
        started = time.perf_counter()
        for batch in batches:
            loss = step(batch)
            self.done += 1
            self._taken += 1
            if self.done % max(1, self.total // 20) == 0 or self.done == self._end:
                self.ctx.report(step=self.done, loss=float(loss))
                self.finite = bool(torch.isfinite(loss))
                if not self.finite:
                    break
            evaluates = evaluate is not None and self.done in evaluate_at
            saves = self.done % self.checkpoint_every == 0 and self.done < self._end
            if evaluates or saves:
                self._add_time(started)
                if evaluate is not None and evaluates:
                    evaluate(self.done)
                if saves:
                    self._checkpoint()
                started = time.perf_counter()
        self._add_time(started)

    def _add_time(self, started: float) -> None:
        if torch.device(self.ctx.device).type == "cuda":
            torch.cuda.synchronize()  # a step is over when the device has done it
        self._seconds += time.perf_counter() - started

    def _checkpoint(self) -> None:
        saved = [part.state_dict() for part in self.state]
        self.ctx.checkpoint({"phase": self.phase, "step": self.done, "state": saved})
