"""How networks of the track are trained: the same batches and one optimiser for every row.

Steps and rate are those of the recipe: one pair for the diffusion network, one for the networks that give one
forecast, both from the same windows of validation.

AdamW whose rate falls along a cosine to 0. A network sees frames of mean 0 and deviation 1 by component, and
predicts what comes less the last frame. Cells that were not observed have the last value that was, and count
for nothing in the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.contract import Context
from bench.tracks.common.steps import Steps, optimised
from bench.tracks.forecasting.data import ForecastingData
from bench.tracks.forecasting.rows.forecasts import Training, filled, stacked

#: Steps between two checkpoints.
CHECKPOINT = 250
#: Windows in one forward pass without gradients.
EVAL_BATCH = 64


@dataclass(frozen=True, slots=True)
class Batch:
    """The windows of one step, on the scale of networks.

    ``frames``: (B, T, C, H, W). ``change``: the targets less the last frame, (B, L * C, H, W), 0 where
    ``seen``, of the same shape, is 0. ``generator``: on the CPU, of all that the step draws.
    """

    frames: Tensor
    change: Tensor
    seen: Tensor
    generator: torch.Generator


Loss = Callable[[Batch], Tensor]


class Windows:
    """The training windows on the scale of networks, and the way back from there."""

    def __init__(self, data: ForecastingData) -> None:
        self.data, self.known = data, Training.of(data)
        mean, deviation = (v[None, None, :, None, None] for v in (self.known.mean, self.known.deviation))
        self._mean, self._deviation = mean, deviation
        frames = filled(self.known.inputs, data.transform)
        change = (self.known.targets - frames[:, -1:]) / deviation
        self.frames = self.scaled(frames)
        self.change = torch.from_numpy(np.nan_to_num(change, nan=0.0)).flatten(1, 2)
        self.seen = torch.from_numpy(np.isfinite(change).astype(np.float32)).flatten(1, 2)
        #: Root mean square of each of the L * C channels of ``change``, (L * C, 1, 1).
        self.spread = torch.from_numpy(self.known.change / self.known.deviation).reshape(-1, 1, 1)
        self.leads, self.components = change.shape[1:3]

    def scaled(self, frames: np.ndarray) -> Tensor:
        """Observed frames (n, T, C, H, W) without gaps, as networks see them."""
        return torch.from_numpy(((frames - self._mean) / self._deviation).astype(np.float32))

    def forecast(self, change: Tensor, frames: np.ndarray) -> np.ndarray:
        """What a network predicted, (n, L * C, H, W), as forecasts (n, L, C, H, W) from observed frames."""
        found = (
            change.float().cpu().numpy().reshape(len(change), self.leads, self.components, *frames.shape[3:])
        )
        out: np.ndarray = frames[:, -1:] + found * self._deviation
        return out

    def batches(self, ctx: Context, size: int, steps: range) -> Iterator[Batch]:
        """The batches of these steps; what one holds depends on the seed and the step alone."""
        for step in steps:
            generator = seeded(ctx.seed, step)
            rows = torch.randint(len(self.frames), (size,), generator=generator)
            frames, change, seen = (v[rows].to(ctx.device) for v in (self.frames, self.change, self.seen))
            yield Batch(frames, change, seen, generator)


def seeded(*key: int) -> torch.Generator:
    """A generator on the CPU, seeded from several numbers."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))


def fit(net: nn.Module, loss: Loss, windows: Windows, ctx: Context, *, steps: int, lr: float) -> bool:
    """Train ``net`` in place for so many steps; a killed cell goes on from its last checkpoint.

    Returns:
        whether the last reported loss was finite.
    """
    net.to(ctx.device).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=0.0, fused=True)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    engine = Steps(ctx=ctx, total=steps, state=[net, optimizer, rate], checkpoint_every=CHECKPOINT)
    engine.resume(ctx.restore())

    def step(batch: Batch) -> Tensor:
        value = optimised(lambda: loss(batch), optimizer, ctx.device, ctx.amp)
        rate.step()
        return value

    batch = windows.data.recipe.assumed.batch
    engine.run(windows.batches(ctx, batch, range(engine.done, steps)), step)
    net.eval()
    return engine.finite


def regression(net: nn.Module) -> Loss:
    """The mean absolute error, of which the CRPS of one forecast without members is made."""

    def loss(batch: Batch) -> Tensor:
        error: Tensor = (net(batch.frames).float() - batch.change).abs() * batch.seen
        return error.sum() / batch.seen.sum().clamp(min=1)

    return loss


def regressed(
    make: Callable[[int, int, int], nn.Module], data: ForecastingData, ctx: Context
) -> tuple[Callable[[np.ndarray], np.ndarray], nn.Module]:
    """Train a network by `regression`; what forecasts with it (n, 1, L, C, H, W), and the network itself.

    Args:
        make: takes the numbers of components, input frames and leads, and makes a network of frames.
        data: of the task.
        ctx: of the cell.
    """
    windows = Windows(data)
    net = make(windows.components, windows.frames.shape[1], windows.leads)
    assumed = data.recipe.assumed
    fit(
        net, regression(net), windows, ctx, steps=assumed.regression_steps, lr=assumed.regression_lr
    )  # fmt: skip

    @torch.no_grad()
    def members(frames: np.ndarray) -> np.ndarray:
        parts = torch.split(windows.scaled(frames), EVAL_BATCH)
        change = torch.cat([net(part.to(ctx.device)).float().cpu() for part in parts])
        return stacked([windows.forecast(change, frames)])

    return members, net


def parameters(net: Any) -> int:
    """How many numbers a network has."""
    return sum(p.numel() for p in net.parameters())
