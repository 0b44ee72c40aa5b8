"""What the rows share: batches, the optimiser, the losses of a step, snapshots, and sampling.

AdamW without weight decay at one constant rate a condition, the same for every row. Pictures are sampled from
a running average of the trained weights: without, neighbouring snapshots differ by more than rows do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.contract import Context
from bench.nn.averaging import ExponentialAverage
from bench.nn.diffusion import Diffusion, Sampling, sample
from bench.nn.time_steps import draw, psi
from bench.tracks.common.steps import Stateful, Steps, Tensors, optimised
from bench.tracks.controlnet.data import Base, ControlData, Controls, Examples, Pictures
from bench.tracks.controlnet.nets.unet import Controlled, Uncontrolled, with_conditions
from bench.tracks.controlnet.settings import Recipe

#: All time steps have the same chance: the ordinary loss.
UNIFORM = psi(0.0)
#: Steps between two checkpoints.
CHECKPOINT = 500
#: Pictures that are sampled at a time.
_SAMPLED_AT_ONCE = 64

#: The weight of a squared error in the noise, by the signal-to-noise ratio (B,) at its time step.
Weight = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Batch:
    """What an optimisation step is given.

    ``target``: pictures with their conditions, on the device. ``generator``: on the CPU, of all that the step
    draws at random. ``step``: number of the step, from 0.
    """

    target: Examples
    generator: torch.Generator
    step: int = 0

    def __len__(self) -> int:
        return len(self.target.x)


Loss = Callable[[Batch], Tensor]
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What training gave: the network, with the average of its weights; see `Steps.seconds_per_step`."""

    net: nn.Module
    seconds_per_step: float


def start(data: ControlData, ctx: Context) -> Controlled:
    """The frozen base with an untrained ControlNet, on the device."""
    # In pixel space the map is as large as what is denoised, and one convolution takes it in; latents are an
    # eighth of its size, and the embedding has ControlNet's own strides.
    net = Controlled(data.base.unet(), data.channels, (16,) if data.base.pixels else None)
    return net.to(ctx.device)


def losses(
    net: nn.Module, diffusion: Diffusion, of: Examples, t: Tensor, generator: torch.Generator,
    weight: Weight | None = None,
) -> Tensor:  # fmt: skip
    """The diffusion loss of each picture at its time step, (B,).

    Args:
        net: called as `nets.unet` says.
        diffusion: of the base.
        of: pictures with their conditions, on the network's device.
        t: time steps (B,), on the CPU.
        generator: of the noise; on the CPU.
        weight: of the squared error in the noise; None: the base's own loss as it is.
    """
    noise, t = torch.randn(of.x.shape, generator=generator).to(of.x.device), t.to(of.x.device)
    weights = None if weight is None else in_own_terms(diffusion, t, weight)
    here = torch.arange(len(of.x), device=of.x.device)[:, None].expand(-1, 2)
    return diffusion.losses(with_conditions(net, of.maps, of.text), of.x, here, t, noise, weights)


def in_own_terms(diffusion: Diffusion, t: Tensor, weight: Weight) -> Tensor:
    """A weight of the squared error in the noise as one of the error in what the base predicts, (B,).

    At given noised pictures an error in the velocity v is one of sqrt(a) v in the noise, a = SNR / (1 + SNR).
    """
    snr = diffusion.snr(t)
    if diffusion.schedule.prediction == "epsilon":
        return weight(snr)
    if diffusion.schedule.prediction == "v_prediction":
        return weight(snr) * snr / (1 + snr)
    return weight(snr) * snr


def denoising(net: nn.Module, data: ControlData, weight: Weight | None = None) -> Loss:
    """The ordinary loss: the mean of `losses` over a batch, time steps uniform."""

    def loss(batch: Batch) -> Tensor:
        t = draw(UNIFORM, len(batch), batch.generator)
        return losses(net, data.base.diffusion, batch.target, t, batch.generator, weight).mean()

    return loss


def fit(net: nn.Module, loss: Loss, data: ControlData, ctx: Context, *, batch: int = 0) -> Fitted:
    """Train what can be trained, in place, for the steps of the recipe, with all of its snapshots.

    Ends when the loss is not finite. In the end the weights are the running average of them. Goes on from the
    last checkpoint of a killed cell.

    Args:
        net: on the device.
        loss: of a step's pictures, a scalar.
        data: what is trained on.
        ctx: of the cell.
        batch: pictures of the target a step; 0: the recipe's.
    """
    r = data.recipe
    parameters = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=r.lr, weight_decay=0.0, fused=True)
    average = ExponentialAverage(parameters, r.decay)

    def step(now: Batch) -> Tensor:
        value = optimised(lambda: loss(now), optimizer, ctx.device, amp=ctx.amp)
        average.update()
        return value

    def evaluate(done: int) -> None:
        with average.applied():
            ctx.snapshot(done, {"sample": sampler(net, data)})

    state: list[Stateful] = [Tensors(parameters), optimizer, average]
    steps = Steps(ctx=ctx, total=r.steps, state=state, checkpoint_every=CHECKPOINT)
    steps.resume(ctx.restore())
    batches = _batches(data, batch or r.batch, steps.done, ctx)
    steps.run(batches, step, evaluate=evaluate, evaluate_at=set(data.snapshots))
    average.assign()
    return Fitted(net, steps.seconds_per_step)


def _batches(data: ControlData, size: int, first: int, ctx: Context) -> Iterator[Batch]:
    """The batches of the steps from ``first`` on; what is random in one depends on seed and step alone."""
    rows = orders(len(data.pictures), size, data.recipe.steps, ctx.seed)
    for step in range(first, data.recipe.steps):
        random = generator(ctx.seed, step)
        yield Batch(data.pictures.batch(rows[step], random).to(ctx.device), random, step)


def orders(n: int, size: int, steps: int, seed: int) -> np.ndarray:
    """Positions (steps, size) in n pictures: all in a random order, then in another one, and so on."""
    random = np.random.default_rng([seed, n])
    rounds = -(-size * steps // n)
    order = np.concatenate([random.permutation(n) for _ in range(rounds)])
    return order[: size * steps].reshape(steps, size)


def generator(*key: int) -> torch.Generator:
    """A generator on the CPU, seeded from several numbers."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))


def chosen(which: Tensor, a: Examples, b: Examples) -> Examples:
    """Of each pair of pictures the one of ``a`` where ``which`` (B,), else the one of ``b``."""
    here = which.to(a.x.device)

    def of(left: Tensor, right: Tensor) -> Tensor:
        return torch.where(here.view(-1, *[1] * (left.ndim - 1)), left, right)

    return Examples(of(a.x, b.x), of(a.maps, b.maps), of(a.text, b.text))


def joined(a: Examples, b: Examples) -> Examples:
    """The pictures of ``a``, then those of ``b``."""
    return Examples(torch.cat([a.x, b.x]), torch.cat([a.maps, b.maps]), torch.cat([a.text, b.text]))


class Bank:
    """Batches of the pictures that the base sampled, ``n`` at each step, in random orders.

    Which ones depends on the seed and the step alone, so that a resumed training goes on where it was.
    """

    def __init__(self, pictures: Pictures, n: int, data: ControlData, ctx: Context) -> None:
        self._pictures, self._device = pictures, ctx.device
        self._rows = orders(len(pictures), n, data.recipe.steps, ctx.seed + 1)

    def __call__(self, batch: Batch) -> Examples:
        """n pictures to go with a batch."""
        return self._pictures.batch(self._rows[batch.step], batch.generator).to(self._device)


# ---------------------------------------------------------------------------------------------- the answer


def answer(net: nn.Module, data: ControlData, seconds_per_step: float | None = None) -> Answer:
    """The answer that the track expects of a trained network."""
    return {
        "sample": sampler(net, data),
        "parameters": sum(p.numel() for p in net.parameters() if p.requires_grad),
        "seconds_per_step": seconds_per_step,
    }


def sampler(net: nn.Module, data: ControlData) -> Callable[[Controls, torch.Generator], np.ndarray]:
    """Pictures (n, H, W, 3) float32 in [-1, 1] that a network samples for conditions."""

    def pictures(controls: Controls, generator: torch.Generator) -> np.ndarray:
        x = [
            sampled(net, data.base, controls[i : i + _SAMPLED_AT_ONCE], generator, data.recipe)
            for i in range(0, len(controls), _SAMPLED_AT_ONCE)
        ]
        return np.concatenate([data.base.decode(part) for part in x])

    return pictures


def unconditional(
    base: Base, n: int, seed: int, how: Recipe, device: str, at_once: int = _SAMPLED_AT_ONCE
) -> Iterator[Tensor]:
    """What the base alone samples with its default prompt, n in all, in batches (.., C, h, w)."""
    net, random = Uncontrolled(base.unet()).to(device), generator(seed, n)
    for first in range(0, n, at_once):
        size = min(at_once, n - first)
        nothing = Controls(np.zeros((size, 1, 1, 1), np.float32), (base.prompt,) * size)
        yield sampled(net, base, nothing, random, how)


def sampled(
    net: nn.Module, base: Base, controls: Controls, generator: torch.Generator, recipe: Recipe
) -> Tensor:
    """What a network samples for a batch of conditions: (n, C, h, w) float32 on the CPU.

    Args:
        net: on its device; called as `nets.unet` says.
        base: whose network it is.
        controls: conditions and prompts.
        generator: of the noise; on the CPU.
        recipe: reverse steps, and the scale of guidance away from no prompt, conditions alike.
    """
    device = next(net.parameters()).device
    maps = torch.from_numpy(np.asarray(controls.maps, np.float32)).movedim(-1, 1).to(device)
    text = base.encode((*controls.prompts, "")).to(device)
    n = len(controls)
    y = torch.arange(n, device=device)[:, None].repeat(1, 2)
    without_prompt = torch.stack([y[:, 0], torch.full_like(y[:, 0], n)], 1)
    how = Sampling(steps=recipe.chain, guidance=recipe.guidance, clip=base.pixels, batch=max(1, n))
    training = net.training
    net.eval()
    try:
        predict = with_conditions(net, maps, text)
        return sample(predict, base.diffusion, y, without_prompt, base.shape, generator, how)
    finally:
        net.train(training)
