"""What the rows share: batches, the optimiser, the losses of a step, and sampling from what was trained.

AdamW without weight decay at a constant learning rate, under autocast to bfloat16. What is trained is chosen
by `bench.tracks.dit_transfer.nets.tuning`, what is minimised by the loss that a row hands to `fit`: two
choices that know nothing of each other.

Source: the released code of Diff-Tuning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bench.contract import Context
from bench.nn.diffusion import Diffusion, Predict, Sampling, drop_labels, relay, sample
from bench.nn.time_steps import TimeLaw
from bench.tracks.common.steps import Stateful, Steps, Tensors, optimised
from bench.tracks.dit_transfer.data import ModelInputs, TransferData
from bench.tracks.dit_transfer.nets import tuning
from bench.tracks.dit_transfer.nets.dit import DiT

#: All time steps have the same chance: the ordinary loss.
UNIFORM = TimeLaw(0.0, rising=True)
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

    ``model``: the network to sample from: the trained one, or the moving average of its weights if the recipe
    has one. ``seconds_per_step``: see `Steps.seconds_per_step`.
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


def losses(
    model: Predict, parts: Sequence[tuple[Tensor, Tensor, TimeLaw]], generator: torch.Generator
) -> list[Tensor]:
    """The diffusion losses of several sets of pictures in one pass: of each set (B,), weighted by its law.

    Args:
        model: the network.
        parts: pictures (B, C, H, W), labels (B,) and the law by which their time steps are drawn.
        generator: of the time steps and the noise; on the CPU.
    """
    x = torch.cat([x for x, _, _ in parts])
    y = torch.cat([y for _, y, _ in parts])
    t, weight = zip(*(law.draw(len(x), generator) for x, _, law in parts), strict=True)
    noise = torch.randn(x.shape, generator=generator).to(x.device)
    each = DIFFUSION.losses(model, x, y, torch.cat(t).to(x.device), noise) * torch.cat(weight).to(x.device)
    return list(torch.split(each, [len(x) for x, _, _ in parts]))


#: DiT's forward process, of the laptop's network too.
DIFFUSION = Diffusion()


def denoising(model: Predict, weight: Callable[[Tensor], Tensor] | None = None) -> Loss:
    """The mean of a batch's diffusion losses, their time steps uniform.

    Args:
        model: the network.
        weight: of each loss, by the signal-to-noise ratio (B,) at its time step; None: 1.
    """

    def loss(batch: Batch) -> Tensor:
        t, _ = UNIFORM.draw(len(batch.x), batch.generator)
        noise = torch.randn(batch.x.shape, generator=batch.generator).to(batch.x.device)
        t = t.to(batch.x.device)
        each = DIFFUSION.losses(model, batch.x, batch.y, t, noise)
        return (each if weight is None else each * weight(DIFFUSION.snr(t))).mean()

    return loss


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

    Goes on from the last checkpoint of a killed cell.

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
    law: Any = get_ema_multi_avg_fn
    average = AveragedModel(model, multi_avg_fn=law(r.average)) if r.average else None
    state: list[Stateful] = [Tensors(parameters), optimizer]
    if average is not None:
        state.append(Tensors([*average.parameters(), average.n_averaged]))
    sampled_from = model if average is None else cast(DiT, average.module)

    def step(now: Batch) -> Tensor:
        value = optimised(lambda: loss(now), optimizer, ctx.device, amp=True)
        if average is not None:
            average.update_parameters(model)
        return value

    def evaluate(step: int) -> None:
        if answer is not None:
            ctx.snapshot(step, answer(sampled_from))

    steps = Steps(ctx=ctx, total=r.steps, state=state, checkpoint_every=CHECKPOINT)
    steps.resume(ctx.restore())
    at = {round(r.steps * k / snapshots) for k in range(1, snapshots + 1)}
    batches = _batches(model, data, batch or r.batch, steps.done, ctx)
    steps.run(batches, step, evaluate=evaluate, evaluate_at=at)
    return Fitted(sampled_from, steps.seconds_per_step)


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
