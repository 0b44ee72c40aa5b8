"""What the rows share: batches, the optimiser, the losses of a step, and drawing from what was trained.

AdamW without weight decay at a constant rate, bf16 autocast. What is trained is chosen by `bench.tracks.dit_transfer.nets.tuning`,
what is minimised by the loss that a row hands to `fit`: two choices that know nothing of each other.

Source: the released code of Diff-Tuning (sheet §3).
"""

from __future__ import annotations

import time
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
from bench.tracks.dit_transfer.data import Examples, TransferData
from bench.tracks.dit_transfer.nets import tuning
from bench.tracks.dit_transfer.nets.dit import DiT

#: Time steps drawn alike: the ordinary loss.
UNIFORM = TimeLaw(0.0, rising=True)
#: Steps between two checkpoints.
CHECKPOINT = 1_000
#: Pictures that are drawn at a time.
_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures ``x`` (B, C, H, W) and labels ``y`` (B,), some dropped, of a ``step`` (from 0), and where to
    draw from.
    """

    x: Tensor
    y: Tensor
    draw: torch.Generator
    step: int = 0


@dataclass(frozen=True, slots=True)
class Fitted:
    """The network to draw from (the moving average, if there is one), and seconds a training step."""

    model: DiT
    seconds: float


Loss = Callable[[Batch], Tensor]


def start(data: TransferData, trains: str, ctx: Context, **settings: Any) -> DiT:
    """The pre-trained network on the device; what ``trains`` (`tuning.TUNINGS`) says can be trained."""
    model = data.pretrained().to(ctx.device)
    tuning.tune(model, trains, **settings)
    if ctx.run.compiled:
        model.net.compile()  # in place: parameters keep their names
    return model


def losses(
    model: Predict, parts: Sequence[tuple[Tensor, Tensor, TimeLaw]], draw: torch.Generator
) -> list[Tensor]:
    """The diffusion losses of several sets of pictures in one pass: of each set (B,), weighted by its law.

    Args:
        model: the network.
        parts: pictures (B, C, H, W), labels (B,) and the law by which their time steps are drawn.
        draw: on the CPU.
    """
    x = torch.cat([x for x, _, _ in parts])
    y = torch.cat([y for _, y, _ in parts])
    t, weight = zip(*(law.draw(len(x), draw) for x, _, law in parts), strict=True)
    noise = torch.randn(x.shape, generator=draw).to(x.device)
    each = DIFFUSION.losses(model, x, y, torch.cat(t).to(x.device), noise) * torch.cat(weight).to(x.device)
    return list(torch.split(each, [len(x) for x, _, _ in parts]))


#: DiT's forward process, of the laptop's network too.
DIFFUSION = Diffusion()


def denoising(model: Predict, weight: Callable[[Tensor], Tensor] | None = None) -> Loss:
    """The mean of a batch's diffusion losses, t uniform; ``weight``: of a loss, by the SNR at its step."""

    def loss(batch: Batch) -> Tensor:
        t, _ = UNIFORM.draw(len(batch.x), batch.draw)
        t, noise = t.to(batch.x.device), torch.randn(batch.x.shape, generator=batch.draw).to(batch.x.device)
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
    looks: int = 0,
    answer: Callable[[DiT], Mapping[str, Any]] | None = None,
) -> Fitted:
    """Train what can be trained, in place, for the steps of the recipe; stops when the loss is not finite.

    Goes on from the last checkpoint of a killed cell.

    Args:
        model: on the device, tuned (`start`).
        loss: of a step's pictures.
        data: what is trained on.
        ctx: of the cell.
        batch: pictures of the target a step; 0: the recipe's.
        looks: snapshots on the way, evenly spaced, the last one at the end.
        answer: the network as it is then -> what a look scores.
    """
    r = data.recipe
    parameters = list(tuning.trained(model).values())
    every = len(parameters) == len(model.weights())
    optimiser = torch.optim.AdamW(parameters, lr=r.lr if every else r.small_lr, weight_decay=0.0, fused=True)
    law: Any = get_ema_multi_avg_fn
    average = AveragedModel(model, multi_avg_fn=law(r.average)) if r.average else None
    drawn = model if average is None else cast(DiT, average.module)
    first = _resumed(parameters, optimiser, average, ctx)
    at = {round(r.steps * k / looks) for k in range(1, looks + 1)}
    begun, paused, done = time.perf_counter(), 0.0, 0
    for step, now in enumerate(_batches(model, data, batch or r.batch, first, ctx), first + 1):
        with torch.autocast(torch.device(ctx.device).type, torch.bfloat16):
            value = loss(now)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(value)
        optimiser.step()
        done += 1
        if average is not None:
            average.update_parameters(model)
        if step % max(1, r.steps // 20) == 0 or step == r.steps:
            ctx.report(step=step, loss=float(value.detach()))
            if not torch.isfinite(value):
                break
        pause = time.perf_counter()
        if step in at and answer is not None:
            ctx.snapshot(step, answer(drawn))
        if step % CHECKPOINT == 0 and step < r.steps:
            _keep(step, parameters, optimiser, average, ctx)
        paused += time.perf_counter() - pause
    return Fitted(drawn, (time.perf_counter() - begun - paused) / max(1, done))


def _keep(
    step: int, parameters: Sequence[Tensor], optimiser: Any, average: AveragedModel | None, ctx: Context
) -> None:
    kept = {"step": step, "parameters": [p.detach() for p in parameters], "optimiser": optimiser.state_dict()}
    if average is not None:
        kept["average"] = [p.detach() for p in average.parameters()]
        kept["averaged"] = int(average.n_averaged)
    ctx.checkpoint(kept)


@torch.no_grad()
def _resumed(
    parameters: Sequence[Tensor], optimiser: Any, average: AveragedModel | None, ctx: Context
) -> int:
    """Steps done before."""
    state = ctx.restore()
    if state is None:
        return 0
    for p, value in zip(parameters, state["parameters"], strict=True):
        p.copy_(value)
    optimiser.load_state_dict(state["optimiser"])
    if average is not None:
        for p, value in zip(average.parameters(), state["average"], strict=True):
            p.copy_(value)
        average.n_averaged.fill_(state["averaged"])
    return int(state["step"])


def _batches(model: DiT, data: TransferData, size: int, first: int, ctx: Context) -> Iterator[Batch]:
    """The steps' batches from ``first`` on; a step's randomness is of the seed and its number alone."""
    order = endless(len(data.x), ctx.seed)
    rows = np.fromiter(order, np.int64, size * data.recipe.steps).reshape(-1, size)
    for step in range(first, data.recipe.steps):
        draw = generator(ctx.seed, step)
        x = data.x.batch(rows[step], draw).to(ctx.device)
        y = torch.from_numpy(data.y[rows[step]]).to(ctx.device)
        yield Batch(x, drop_labels(y, model.null, data.recipe.drop, draw), draw, step)


def generator(*key: int) -> torch.Generator:
    """A generator on the CPU, seeded from several numbers."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))


def endless(n: int, seed: int) -> Iterator[int]:
    """0 … n - 1 in a random order, then in another one, and so on."""
    random = np.random.default_rng([seed, n])
    while True:
        yield from random.permutation(n).tolist()


class Bank:
    """What the pre-trained network drew, gone through in random orders, as pictures without a label.

    ``n`` of them at each of so many ``steps``, on the device of ``model``. Which ones is of the seed and the
    step alone, so that a resumed training goes on where it was.
    """

    def __init__(self, pictures: Examples, n: int, steps: int, model: DiT, seed: int) -> None:
        self._pictures, self._n, self._null = pictures, n, model.null
        order = endless(len(pictures), seed + 1)
        self._rows = np.fromiter(order, np.int64, n * steps).reshape(steps, n)
        self._device = model.labels.weight.device

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Pictures (n, C, H, W) and null labels (n,) to go with a batch."""
        x = self._pictures.batch(self._rows[batch.step], batch.draw).to(self._device)
        return x, torch.full((self._n,), self._null, device=self._device)


def answer(
    data: TransferData, model: DiT, seconds: float | None = None, *, before: DiT | None = None
) -> dict[str, Any]:
    """What the track asks for.

    Args:
        data: what was trained on.
        model: to draw from.
        seconds: of a training step.
        before: the pre-trained network with the target's label table, if the answer is to say what becomes of
            pictures when it takes over at some time step.
    """

    def drawing(predict: Predict) -> Callable[[np.ndarray, torch.Generator], np.ndarray]:
        r = data.recipe

        def shown(labels: np.ndarray, draw: torch.Generator) -> np.ndarray:
            x = drawn(predict, model, labels, draw, chain=r.chain, guidance=r.guidance)
            if not torch.isfinite(x).all():
                return np.full(x.shape, np.nan, np.float32)  # as bytes they would be ordinary pictures
            return data.decode(x)

        return shown

    found: dict[str, Any] = {
        "sample": drawing(model),
        "parameters": sum(p.numel() for p in tuning.trained(model).values()),
        "seconds_per_step": seconds,
    }
    if before is not None:
        found["relay"] = lambda switch, labels, draw: drawing(relay(model, before, switch))(labels, draw)
    return found


def drawn(
    predict: Predict, model: DiT, labels: np.ndarray, draw: torch.Generator, *, chain: int, guidance: float
) -> Tensor:
    """What a network draws for labels (n,): (n, C, H, W) float32 on the CPU. The banks are drawn so too.

    Args:
        predict: what predicts at a step: the network, or a relay of it.
        model: the network, on its device.
        labels: (n,) of its table.
        draw: of the noise.
        chain: reverse steps.
        guidance: as of `Recipe`; of latents the first three channels alone are moved (DiT's released code).
    """
    device = model.labels.weight.device
    latent = model.config.channels == 4
    how = Sampling(
        steps=chain, guidance=guidance, clip=not latent, guided_channels=3 if latent else None,
        batch=_AT_ONCE,
    )  # fmt: skip
    training = model.training
    model.eval()
    with torch.autocast(device.type, torch.bfloat16):
        y = torch.from_numpy(np.asarray(labels, np.int64)).to(device)
        out = sample(predict, DIFFUSION, y, model.null, model.shape, draw, how)
    model.train(training)
    return out
