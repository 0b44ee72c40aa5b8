"""The step engine: what it reports, when it stops, what a checkpoint holds, and which seconds it counts."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from bench.tracks.common import steps as engine
from bench.tracks.common.steps import Steps, Tensors, optimised


class Context:
    """As much of a cell's context as the engine touches; it remembers reports and the last checkpoint."""

    device = "cpu"

    def __init__(self, clock=None):
        self.reports, self.saved, self.clock = [], None, clock

    def report(self, **numbers):
        self.reports.append(numbers)

    def checkpoint(self, state):
        if self.clock is not None:
            self.clock.now += 1_000
        weight = state["state"][0]["tensors"][0]
        self.saved = {**state, "state": [{"tensors": [weight.clone()]}, *state["state"][1:]]}


class Clock:
    """Time that passes only when something is said to take some."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(engine, "time", SimpleNamespace(perf_counter=lambda: self.now))


def training(ctx, weight, *, total=10, every=4, losses=None, **phase):
    """Steps that subtract the batch from the weight, and the function that takes one."""
    steps = Steps(ctx=ctx, total=total, state=[Tensors([weight])], checkpoint_every=every, **phase)

    def step(batch):
        weight.sub_(batch)
        return torch.tensor(losses[steps.done] if losses else float(weight))

    return steps, step


def test_a_step_is_that_of_the_optimiser():
    weight, other = (torch.nn.Parameter(torch.tensor([2.0, -1.0])) for _ in range(2))
    mine, theirs = (torch.optim.SGD([p], lr=0.1, momentum=0.9) for p in (weight, other))
    for _ in range(3):
        value = optimised(lambda: weight.square().sum(), mine, "cpu", amp=False)
        loss = other.square().sum()
        theirs.zero_grad()
        loss.backward()
        theirs.step()
        assert value == loss
        assert not value.requires_grad
    assert torch.equal(weight, other)


def test_mixed_precision_is_of_the_loss_alone():
    a = torch.nn.Parameter(torch.ones(4, 4))
    seen = []

    def loss():
        product = a @ a
        seen.append(product.dtype)
        return product.float().sum()

    for amp in (True, False):
        optimised(loss, torch.optim.SGD([a], lr=0.1), "cpu", amp)
    assert seen == [torch.bfloat16, torch.float32]
    assert a.dtype == torch.float32


@pytest.mark.parametrize(
    ("total", "at"), [(3, [1, 2, 3]), (60, list(range(3, 61, 3))), (41, [*range(2, 41, 2), 41])]
)
def test_the_loss_is_reported_about_twenty_times_and_at_the_end(total, at):
    ctx, weight = Context(), torch.zeros(1)
    steps, step = training(ctx, weight, total=total)
    steps.run([1.0] * total, step)
    assert [r["step"] for r in ctx.reports] == at
    assert [r["loss"] for r in ctx.reports] == [-float(k) for k in at]
    assert (steps.done, steps.finite) == (total, True)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_it_at_the_next_report(bad):
    ctx, evaluated = Context(), []
    losses = [0.0] * 4 + [bad] * 56
    steps, step = training(ctx, torch.zeros(1), total=60, every=6, losses=losses)
    steps.run([1.0] * 60, step, evaluate=evaluated.append, evaluate_at=range(61))
    assert (steps.done, steps.finite) == (6, False)
    assert evaluated == [1, 2, 3, 4, 5], "what has diverged is neither evaluated nor saved"
    assert ctx.saved is None


def test_it_goes_on_from_its_checkpoint():
    ctx, weight = Context(), torch.zeros(1)
    steps, step = training(ctx, weight)
    steps.run([1.0] * 6, step)  # killed after six of ten steps
    assert (ctx.saved["step"], ctx.saved["phase"]) == (4, 0)
    weight = torch.full((1,), 99.0)
    again, step = training(ctx, weight)
    again.resume(None)
    assert again.done == 0
    again.resume(ctx.saved)
    assert (again.done, float(weight)) == (4, -4.0)
    again.run([1.0] * 6, step)
    assert (again.done, float(weight), ctx.saved["step"]) == (10, -10.0, 8)


def test_a_phase_counts_on_from_the_steps_before_it():
    ctx = Context()
    steps, step = training(ctx, torch.zeros(1), total=40, phase=2, first=10, last=17)
    steps.run([1.0] * 7, step)
    assert [r["step"] for r in ctx.reports] == [12, 14, 16, 17]
    assert steps.done == 17
    assert (ctx.saved["phase"], ctx.saved["step"]) == (2, 16)


def test_the_end_has_no_checkpoint():
    ctx = Context()
    steps, step = training(ctx, torch.zeros(1), total=8, every=4)
    steps.run([1.0] * 8, step)
    assert ctx.saved["step"] == 4


def test_seconds_are_of_steps_and_their_data_alone(monkeypatch):
    clock = Clock(monkeypatch)
    ctx = Context(clock)
    steps, step = training(ctx, torch.zeros(1))
    steps.resume({"step": 2, "state": [{"tensors": [torch.zeros(1)]}]})

    def batches():
        for _ in range(8):
            clock.now += 2
            yield 1.0

    def timed(batch):
        clock.now += 3
        return step(batch)

    def evaluate(done):
        clock.now += 100

    steps.run(batches(), timed, evaluate=evaluate, evaluate_at=[4, 5, 10])
    assert steps.seconds_per_step == 5.0
    assert steps.done == 10
    assert Steps(ctx=ctx, total=3, state=[], checkpoint_every=1).seconds_per_step == 0.0


def test_tensors_are_filled_in_place():
    a, b = torch.nn.Parameter(torch.ones(2)), torch.zeros((), dtype=torch.int64)
    tensors = Tensors([a, b])
    saved = {"tensors": [t.clone() for t in tensors.state_dict()["tensors"]]}
    with torch.no_grad():
        a.fill_(7)
        b.fill_(7)
    tensors.load_state_dict(saved)
    assert (a.tolist(), int(b)) == ([1, 1], 0)
    with pytest.raises(ValueError, match="zip"):
        tensors.load_state_dict({"tensors": saved["tensors"][:1]})
