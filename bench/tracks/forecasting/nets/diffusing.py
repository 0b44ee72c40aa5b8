"""The conditional diffusion network that `cogdpm`, `constant` and `unguided` share, and its sampler.

It predicts the velocity of the forecast's difference from the last frame, each lead and component scaled to
unit variance. In a share of the training windows the condition is dropped, so that one network gives both the
conditional and the unconditional prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from bench.contract import Context
from bench.nn.diffusion import Diffusion, Schedule
from bench.tracks.forecasting import training
from bench.tracks.forecasting.nets.unet import Denoiser
from bench.tracks.forecasting.training import Batch, Windows

#: Of the forward process nothing could be read in the paper: a cosine, and velocities.
DIFFUSION = Diffusion(Schedule(betas="squaredcos_cap_v2", prediction="v_prediction"))
#: Chains that are sampled at a time.
_AT_ONCE = 128

#: The weight of guidance at a step: takes the last clean estimates, (B, L * C, H, W) each, the newest last,
#: and the time step; gives a number or an array that broadcasts over them.
Weight = Callable[[list[Tensor], int], "Tensor | float"]


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a chain gave for each window and member.

    ``members``: (n, M, L, C, H, W) on the scale of `scale.scaled`. ``variance``: of the last clean
    estimates, mean over members and components, (n, L, H, W), on the scale of the network.
    """

    members: np.ndarray
    variance: np.ndarray


def condition(frames: Tensor, kept: Tensor) -> Tensor:
    """Conditions (B, T * C + 1, H, W) of frames (B, T, C, H, W); all 0 where ``kept``, (B,), is 0."""
    there = torch.ones_like(frames[:, 0, :1])
    return torch.cat([frames.flatten(1, 2), there], 1) * kept[:, None, None, None]


def denoising(net: Denoiser, windows: Windows) -> training.Loss:
    """The squared error of the velocity, over cells that were observed; conditions dropped at random."""
    spread, drop = windows.spread, windows.data.recipe.assumed.condition_dropout

    def loss(batch: Batch) -> Tensor:
        x, device = batch.change / spread.to(batch.change.device), batch.change.device
        t = torch.randint(DIFFUSION.schedule.steps, (len(x),), generator=batch.generator).to(device)
        noise = torch.randn(x.shape, generator=batch.generator).to(device)
        kept = (torch.rand(len(x), generator=batch.generator) >= drop).float().to(device)
        velocity = net(DIFFUSION.noised(x, noise, t), t, condition(batch.frames, kept)).float()
        error: Tensor = (velocity - DIFFUSION.target(x, noise, t)).square() * batch.seen
        return error.sum() / batch.seen.sum().clamp(min=1)

    return loss


class Forecaster:
    """A trained network and the scales of a task: samples forecasts by any weight of guidance."""

    def __init__(self, windows: Windows, device: str) -> None:
        channels = windows.leads * windows.components
        self.windows, self.device = windows, device
        self.net = Denoiser(
            channels, windows.frames.shape[1] * windows.components, windows.data.recipe.assumed.channels
        ).to(device)

    def load(self, file: Path) -> None:
        """Take the weights that `save` wrote."""
        from safetensors.torch import load_model

        load_model(self.net, file, device=self.device)
        self.net.eval()

    def save(self, file: Path) -> None:
        """Write the weights."""
        from safetensors.torch import save_model

        save_model(self.net, str(file))

    def fit(self, ctx: Context) -> bool:
        """Train on the windows; whether the loss stayed finite."""
        assumed = self.windows.data.recipe.assumed
        loss = denoising(self.net, self.windows)
        return training.fit(self.net, loss, self.windows, ctx, steps=assumed.steps, lr=assumed.lr)

    def sample(
        self, frames: np.ndarray, *, members: int, steps: int, seed: int, weight: Weight | None, k: int = 5
    ) -> Sampled:
        """Sample an ensemble for each window by DDIM with the noise of DDPM.

        All noise is drawn on the CPU, from the seed, the window and the member alone, so that it is the same
        for any weight and device.

        Args:
            frames: (n, T, C, H, W) on the scale of `scale.scaled`, without gaps.
            members: of each window.
            steps: of the chain; must divide the schedule's.
            seed: of the noise.
            weight: of guidance; None: the conditional network alone.
            k: how many of the last clean estimates ``weight`` sees.
        """
        n, shape = len(frames), (self.windows.leads * self.windows.components, *frames.shape[3:])
        rows = np.repeat(np.arange(n), members)
        inputs = self.windows.scaled(frames)
        found, variances = [], []
        for part in np.array_split(np.arange(len(rows)), max(1, -(-len(rows) // _AT_ONCE))):
            generators = [training.seeded(seed, int(rows[i]), int(i % members)) for i in part]
            noise = torch.stack([torch.randn((steps + 1, *shape), generator=g) for g in generators], dim=1)
            x, variance = self._chain(inputs[rows[part]].to(self.device), noise, steps, weight, k)
            found.append(x.cpu() * self.windows.spread)
            variances.append(variance.cpu())
        change, variance = torch.cat(found), torch.cat(variances)
        ensemble = self.windows.forecast(change, frames[rows])
        per = (n, members, self.windows.leads, self.windows.components, *frames.shape[3:])
        return Sampled(ensemble.reshape(per), variance.reshape(per).mean(dim=(1, 3)).numpy())

    @torch.no_grad()
    def _chain(
        self, frames: Tensor, noise: Tensor, steps: int, weight: Weight | None, k: int
    ) -> tuple[Tensor, Tensor]:
        """One chain a row: its end, and the variance of its last ``k`` clean estimates."""
        scheduler = DIFFUSION.schedule.scheduler(
            DDIMScheduler, clip_sample=False, timestep_spacing="trailing"
        )
        scheduler.set_timesteps(steps)
        with_c, without = (condition(frames, frames.new_full((len(frames),), kept)) for kept in (1.0, 0.0))
        x, estimates = noise[0].to(self.device), list[Tensor]()
        for number, t in enumerate(scheduler.timesteps.tolist(), 1):
            at = torch.full((len(x),), t, device=x.device)
            velocity = self.net(x, at, with_c)
            if weight is not None:
                free = self.net(x, at, without)
                # Of the noise and of the velocity this is the same: both are linear in each other.
                velocity = free + weight(estimates, t) * (velocity - free)
            step = scheduler.step(velocity, t, x, eta=1.0, variance_noise=noise[number].to(self.device))
            x, estimates = step.prev_sample, [*estimates, step.pred_original_sample][-k:]
        return x, torch.stack(estimates).var(0, correction=0)
