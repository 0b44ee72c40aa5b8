"""What the rows share: batches, the optimiser, the losses of a step, and sampling from what was trained.

AdamW without weight decay, under autocast to bfloat16. The rate and the average of the weights from which
pictures are sampled are the recipe's, the same for every row. What is trained is chosen by
`bench.tracks.dit_transfer.nets.tuning`, what is minimised by the loss that a row hands to `fit`: two choices
that know nothing of each other.

Source: the released code of Diff-Tuning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from bench.contract import Context
from bench.nn.averaging import ExponentialAverage, UniformAverage
from bench.nn.diffusion import Diffusion, Predict, Sampling, drop_labels, relay, sample
from bench.nn.time_steps import draw, psi
from bench.tracks.common.steps import Stateful, Steps, Tensors, optimised
from bench.tracks.dit_transfer.data import ModelInputs, TransferData
from bench.tracks.dit_transfer.nets import tuning
from bench.tracks.dit_transfer.nets.dit import DiT
from bench.tracks.dit_transfer.settings import Recipe

#: All time steps have the same chance: the ordinary loss.
UNIFORM = psi(0.0)
#: Steps between two checkpoints.
CHECKPOINT = 1_000
#: Pictures that are sampled at a time.
_SAMPLED_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Batch:
    """What an optimisation step is given.

    ``x``: pictures (B, C, H, W). ``y``: their labels (B,) int64, some of them replaced by the null label.
    ``generator``: on the CPU, of all that the step draws at random. ``step``: number of the step, from 0.
    """

    x: Tensor
    y: Tensor
    generator: torch.Generator
    step: int = 0


@dataclass(frozen=True, slots=True)
class Fitted:
    """What training gave.

    ``model``: the network that was trained, with the average of its weights if the recipe has one.
    ``seconds_per_step``: see `Steps.seconds_per_step`.
    """

    model: DiT
    seconds_per_step: float


Loss = Callable[[Batch], Tensor]


def start(data: TransferData, trains: str, ctx: Context, **settings: Any) -> DiT:
    """The pre-trained network on the device; what ``trains`` (`tuning.TUNINGS`) says can be trained."""
    model = data.pretrained().to(ctx.device)
    tuning.tune(model, trains, **settings)
    if ctx.run.compiled:
        model.net.compile()  # in place: parameters keep their names
    return model


#: DiT's forward process, of the laptop's network too.
DIFFUSION = Diffusion()

#: The weight of a squared error, by the signal-to-noise ratio (B,) at its time step.
Weight = Callable[[Tensor], Tensor]


def losses(
    model: Predict, x: Tensor, y: Tensor, t: Tensor, generator: torch.Generator, weight: Weight | None = None
) -> Tensor:
    """The diffusion loss L(x, y, t) of each picture at its time step, (B,).

    Args:
        model: the network.
        x: pictures (B, C, H, W).
        y: labels (B,).
        t: time steps (B,), on the CPU.
        generator: of the noise; on the CPU.
        weight: of the squared error, not of the variational bound; None: 1.
    """
    noise, t = torch.randn(x.shape, generator=generator).to(x.device), t.to(x.device)
    weights = None if weight is None else weight(DIFFUSION.snr(t))
    return DIFFUSION.losses(model, x, y, t, noise, weights)


def denoising(model: Predict, weight: Weight | None = None) -> Loss:
    """The ordinary loss: the mean of `losses` over a batch, time steps uniform."""

    def loss(batch: Batch) -> Tensor:
        t = draw(UNIFORM, len(batch.x), batch.generator)
        return losses(model, batch.x, batch.y, t, batch.generator, weight).mean()

    return loss


class Average:
    """The average of the weights from which a recipe samples, over the optimisation steps as they are taken.

    ``last-third``: the plain mean over the last third of all steps; before these there is none, and the
    weights are taken as they are. ``ema``: an exponential moving average from the pre-trained weights on.
    ``none``: always the weights as they are.
    """

    def __init__(self, parameters: list[Tensor], recipe: Recipe) -> None:
        self._first = 0
        self._mean: UniformAverage | ExponentialAverage | None = None
        if recipe.average == "last-third":
            self._first = recipe.steps - max(1, recipe.steps // 3)
            self._mean = UniformAverage(parameters)
        elif recipe.average == "ema":
            self._mean = ExponentialAverage(parameters, recipe.decay)
        #: What a checkpoint has to hold of it.
        self.state: list[Stateful] = [] if self._mean is None else [self._mean]

    def _begun(self, done: int) -> UniformAverage | ExponentialAverage | None:
        return self._mean if done > self._first else None

    def update(self, done: int) -> None:
        """Take in the weights after ``done`` steps."""
        if mean := self._begun(done):
            mean.update()

    def applied(self, done: int) -> AbstractContextManager[None]:
        """For the length of a ``with`` after ``done`` steps, the network has the average for its weights."""
        mean = self._begun(done)
        return mean.applied() if mean else nullcontext()

    def assign(self, done: int) -> None:
        """Make the average after ``done`` steps the network's weights."""
        if mean := self._begun(done):
            mean.assign()


def fit(
    model: DiT,
    loss: Loss,
    data: TransferData,
    ctx: Context,
    *,
    batch: int = 0,
    snapshots: int = 0,
    answer: Callable[[DiT], Mapping[str, Any]] | None = None,
) -> Fitted:
    """Train what can be trained, in place, for the steps of the recipe; stops when the loss is not finite.

    In the end the weights are the recipe's average of them. Goes on from the last checkpoint of a killed
    cell.

    Args:
        model: on the device, tuned (`start`).
        loss: of a step's pictures, a scalar.
        data: what is trained on.
        ctx: of the cell.
        batch: pictures of the target a step; 0: the recipe's.
        snapshots: number of snapshots during training, evenly spaced, the last one at the end.
        answer: takes the network as it is at a snapshot and gives the answer that is scored.
    """
    r = data.recipe
    parameters = list(tuning.trained(model).values())
    all_trained = len(parameters) == len(model.weights())
    lr = r.lr if all_trained else r.small_lr
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0, fused=True)
    rate = LambdaLR(optimizer, lambda done: rate_factor(r.schedule, done, r.steps))
    average = Average([*parameters], r)

    def step(now: Batch) -> Tensor:
        value = optimised(lambda: loss(now), optimizer, ctx.device, amp=True)
        rate.step()
        average.update(now.step + 1)
        return value

    def evaluate(done: int) -> None:
        if answer is not None:
            with average.applied(done):
                ctx.snapshot(done, answer(model))

    state: list[Stateful] = [Tensors(parameters), optimizer, rate, *average.state]
    steps = Steps(ctx=ctx, total=r.steps, state=state, checkpoint_every=CHECKPOINT)
    steps.resume(ctx.restore())
    at = {round(r.steps * k / snapshots) for k in range(1, snapshots + 1)}
    batches = _batches(model, data, batch or r.batch, steps.done, ctx)
    steps.run(batches, step, evaluate=evaluate, evaluate_at=at)
    average.assign(steps.done)
    return Fitted(model, steps.seconds_per_step)


def rate_factor(schedule: str, done: int, steps: int) -> float:
    """What the learning rate is multiplied by after ``done`` of so many ``steps``: 1, or a falling cosine."""
    return 1.0 if schedule == "constant" else 0.5 * (1 + math.cos(math.pi * done / max(1, steps)))


def _batches(model: DiT, data: TransferData, size: int, first: int, ctx: Context) -> Iterator[Batch]:
    """The batches of the steps from ``first`` on; what is random in one depends on seed and step alone."""
    order = endless(len(data.x), ctx.seed)
    rows = np.fromiter(order, np.int64, size * data.recipe.steps).reshape(-1, size)
    for step in range(first, data.recipe.steps):
        random = generator(ctx.seed, step)
        x = data.x.batch(rows[step], random).to(ctx.device)
        y = torch.from_numpy(data.y[rows[step]]).to(ctx.device)
        yield Batch(x, drop_labels(y, model.null, data.recipe.drop, random), random, step)


def generator(*key: int) -> torch.Generator:
    """A generator on the CPU, seeded from several numbers."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))


def endless(n: int, seed: int) -> Iterator[int]:
    """0 … n - 1 in a random order, then in another one, and so on."""
    random = np.random.default_rng([seed, n])
    while True:
        yield from random.permutation(n).tolist()


class Bank:
    """Batches of the pictures that the pre-trained network sampled, as pictures without a label.

    ``n`` of them at each of so many ``steps``, on the device of ``model``, in random orders. Which ones
    depends on the seed and the step alone, so that a resumed training goes on where it was.
    """

    def __init__(self, pictures: ModelInputs, n: int, steps: int, model: DiT, seed: int) -> None:
        self._pictures, self._n, self._null = pictures, n, model.null
        order = endless(len(pictures), seed + 1)
        self._rows = np.fromiter(order, np.int64, n * steps).reshape(steps, n)
        self._device = model.labels.weight.device

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Pictures (n, C, H, W) and null labels (n,) to go with a batch."""
        x = self._pictures.batch(self._rows[batch.step], batch.generator).to(self._device)
        return x, torch.full((self._n,), self._null, device=self._device)


def answer(
    data: TransferData, model: DiT, seconds_per_step: float | None = None, *, before: DiT | None = None
) -> dict[str, Any]:
    """The answer that the track expects.

    Args:
        data: what was trained on.
        model: to sample from.
        seconds_per_step: of training; None if there was none.
        before: the pre-trained network with the target's label table, if the answer is to offer a relay: what
            becomes of pictures when the pre-trained network takes over at some time step.
    """

    def sampler(predict: Predict) -> Callable[[np.ndarray, torch.Generator], np.ndarray]:
        r = data.recipe

        def pictures(labels: np.ndarray, generator: torch.Generator) -> np.ndarray:
            x = sampled(predict, model, labels, generator, chain=r.chain, guidance=r.guidance)
            if not torch.isfinite(x).all():
                return np.full(x.shape, np.nan, np.float32)  # as bytes they would be ordinary pictures
            return data.decode(x)

        return pictures

    found: dict[str, Any] = {
        "sample": sampler(model),
        "parameters": sum(p.numel() for p in tuning.trained(model).values()),
        "seconds_per_step": seconds_per_step,
    }
    if before is not None:
        found["relay"] = lambda switch, labels, generator: sampler(relay(model, before, switch))(
            labels, generator
        )
    return found


def sampled(
    predict: Predict,
    model: DiT,
    labels: np.ndarray,
    generator: torch.Generator,
    *,
    chain: int,
    guidance: float,
) -> Tensor:
    """What a network samples for labels (n,): (n, C, H, W) float32 on the CPU. Banks are sampled so too.

    Args:
        predict: what predicts at a time step: the network, or a relay of it.
        model: the network, on its device.
        labels: (n,) int64, rows of its label table.
        generator: of the noise; on the CPU.
        chain: reverse steps.
        guidance: see `Recipe`; of latents only the first three channels are guided (DiT's released code).
    """
    device = model.labels.weight.device
    latent = model.config.channels == 4
    how = Sampling(
        steps=chain, guidance=guidance, clip=not latent, guided_channels=3 if latent else None,
        batch=_SAMPLED_AT_ONCE,
    )  # fmt: skip
    training = model.training
    model.eval()
    with torch.autocast(device.type, torch.bfloat16):
        y = torch.from_numpy(np.asarray(labels, np.int64)).to(device)
        out = sample(predict, DIFFUSION, y, model.null, model.shape, generator, how)
    model.train(training)
    return out
