"""Diffusion: noising, what a network is trained on, and a sampler; whatever network predicts.

A network is anything called with noised pictures (B, C, H, W), time steps (B,) and conditions (B, …) that
gives (B, C, H, W), or (B, 2C, H, W) if it also gives the variances of its reverse steps. Pictures are in
[-1, 1], latents scaled to unit variance.

Imports torch and diffusers (seconds): import it inside functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How much noise a step adds, and what the network predicts; the defaults are DiT's."""

    steps: int = 1000
    betas: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    first: float = 1e-4
    last: float = 0.02
    prediction: Literal["epsilon", "v_prediction", "sample"] = "epsilon"

    def scheduler(self, kind: Callable[..., Any], **settings: Any) -> Any:
        """A scheduler of diffusers with these betas."""
        return kind(
            num_train_timesteps=self.steps,
            beta_schedule=self.betas,
            beta_start=self.first,
            beta_end=self.last,
            prediction_type=self.prediction,
            **settings,
        )


DIT_SCHEDULE = Schedule()


class Diffusion:
    """The forward process of a schedule, and the loss of a network at each of its steps."""

    def __init__(self, schedule: Schedule = DIT_SCHEDULE) -> None:
        self.schedule = schedule
        self._scheduler = schedule.scheduler(DDPMScheduler)
        beta = self._scheduler.betas.double()
        #: Share of the signal's variance that is left at step t, (T,) float64.
        self.alphas = torch.cumprod(1 - beta, 0)
        before = torch.cat([torch.ones(1, dtype=torch.float64), self.alphas[:-1]])
        # q(x_{t-1} | x_t, x_0): its mean's two factors and its variance, of which the first would be 0.
        self._mean = torch.stack([before.sqrt() * beta, (1 - beta).sqrt() * (1 - before)]) / (1 - self.alphas)
        variance = beta * (1 - before) / (1 - self.alphas)
        variance[0] = variance[1]
        self._log_variances = torch.stack([variance, beta]).log()

    def noised(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """``sqrt(a_t) x + sqrt(1 - a_t) noise``: pictures and noise (B, C, H, W), time steps (B,)."""
        out: Tensor = self._scheduler.add_noise(x, noise, t)
        return out

    def target(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network is to predict of pictures, noise and time steps, (B, C, H, W)."""
        if self.schedule.prediction == "epsilon":
            return noise
        if self.schedule.prediction == "sample":
            return x
        velocity: Tensor = self._scheduler.get_velocity(x, noise, t)
        return velocity

    def snr(self, t: Tensor) -> Tensor:
        """Signal-to-noise ratio ``a_t / (1 - a_t)`` of time steps (B,), float32."""
        a = self.alphas.to(t.device)[t]
        return (a / (1 - a)).float()

    def losses(
        self, predict: Predict, x: Tensor, y: Tensor, t: Tensor, noise: Tensor, weight: Tensor | None = None
    ) -> Tensor:
        """The loss of each picture, (B,) float32: the mean squared error of what is predicted.

        With learned variances the variational bound is added, with a mean that has no gradient (DiT's hybrid
        loss, in which the bound is not scaled down).

        Args:
            predict: the network.
            x: pictures (B, C, H, W).
            y: conditions (B, …), already dropped where they should be.
            t: time steps (B,).
            noise: (B, C, H, W).
            weight: of each squared error, (B,); None: 1. The bound has no weight, as in the code of P2,
                Min-SNR and Diff-Tuning.
        """
        noised = self.noised(x, noise, t)
        out = predict(noised, t, y).float()
        mean = out[:, : x.shape[1]]
        loss = (mean - self.target(x, noise, t)).square().flatten(1).mean(1)
        if weight is not None:
            loss = loss * weight
        if out.shape[1] == 2 * x.shape[1]:
            loss = loss + self.bound(mean.detach(), out[:, x.shape[1] :], x, noised, t)
        return loss

    def bound(self, predicted: Tensor, share: Tensor, x: Tensor, noised: Tensor, t: Tensor) -> Tensor:
        """The variational bound's term of step t in bits a dimension, (B,).

        Args:
            predicted: what the network predicts, (B, C, H, W).
            share: -1 for the posterior's variance, 1 for the step's beta, between them in the logarithm.
            x: pictures.
            noised: pictures at step t.
            t: time steps (B,).

        Source: Nichol and Dhariwal, Improved DDPM (ICML 2021), equations 13 to 15.
        """
        mean = self._posterior(x, noised, t)
        guess = self._posterior(self._clean(predicted, noised, t), noised, t)
        least, most = (_per_picture(v, t, x) for v in self._log_variances)
        log_variance = least + (share + 1) / 2 * (most - least)
        kl = 0.5 * (
            log_variance - least + (least - log_variance).exp() - 1
            + (mean - guess).square() * (-log_variance).exp()
        )  # fmt: skip
        nats = torch.where(_wide(t == 0, x), _bin_nats(x, guess, (0.5 * log_variance).exp()), kl)
        return nats.flatten(1).mean(1) / math.log(2)

    def _posterior(self, x: Tensor, noised: Tensor, t: Tensor) -> Tensor:
        clean, at = (_per_picture(v, t, x) for v in self._mean)
        return clean * x + at * noised

    def _clean(self, predicted: Tensor, noised: Tensor, t: Tensor) -> Tensor:
        """The picture that a prediction stands for."""
        signal, noise = (_per_picture(v.sqrt(), t, noised) for v in (self.alphas, 1 - self.alphas))
        if self.schedule.prediction == "epsilon":
            return (noised - noise * predicted) / signal
        if self.schedule.prediction == "sample":
            return predicted
        return signal * noised - noise * predicted


def _per_picture(values: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """(T,) at time steps (B,), as float32 that broadcasts over (B, C, H, W)."""
    return _wide(values.to(t.device)[t].float(), like)


def _wide(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.ndim - 1))


def _bin_nats(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Minus the log-probability of a value in [-1, 1] in its bin of 1 / 255 on both sides; ends are open."""
    high, low = ((x + d - mean) / deviation for d in (1 / 255, -1 / 255))
    p: Tensor = torch.special.ndtr(torch.where(x > 0.999, torch.inf, high))
    p = p - torch.special.ndtr(torch.where(x < -0.999, -torch.inf, low))
    return -p.clamp(min=1e-12).log()


def drop_labels(y: Tensor, null: int, share: float, generator: torch.Generator) -> Tensor:
    """Labels (B,), a share of them, drawn on the CPU, replaced by the null label, once for all blocks."""
    dropped = torch.rand(len(y), generator=generator) < share
    return torch.where(dropped.to(y.device), null, y)


def min_snr(snr: Tensor, gamma: float = 5.0, *, divided: bool = True) -> Tensor:
    """Min-SNR's weight of the error in the noise: ``min(snr, gamma) / snr`` (Hang et al., ICCV 2023).

    Not ``divided``: ``min(snr, gamma)``, as Diff-Tuning's released code has it, which is the paper's weight
    of the error in the picture.
    """
    least = snr.clamp(max=gamma)
    return least / snr if divided else least


def p2(snr: Tensor, gamma: float = 0.5, k: float = 1.0) -> Tensor:
    """P2's weight of the error in the noise: ``1 / (k + snr)^gamma`` (Choi et al., CVPR 2022)."""
    return (k + snr) ** -gamma


# ------------------------------------------------------------------------------------------------- sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How pictures are sampled: DDIM without added noise, with classifier-free guidance.

    ``steps``: must divide the schedule's, spaced from its last down. ``guidance``: 1 is none.
    ``guided_channels``: how many of the first channels it moves; None: all; DiT's released code moves 3 of 4
    latent channels. ``clip``: whether a predicted picture is cut to [-1, 1] (in pixel space; never latents).
    ``batch``: pictures at a time; with guidance the network sees twice as many.
    """

    steps: int = 20
    guidance: float = 1.5
    guided_channels: int | None = None
    clip: bool = True
    batch: int = 128


def sample(
    predict: Predict,
    diffusion: Diffusion,
    y: Tensor,
    null: int | Tensor,
    shape: tuple[int, int, int],
    generator: torch.Generator,
    how: Sampling | None = None,
) -> Tensor:
    """Sample one picture for each condition.

    All noise is drawn first, on the CPU and for all pictures together, so that it is the same for any
    network, device and batch size.

    Args:
        predict: the network, in evaluation mode and on the device of ``y``.
        diffusion: it was trained with.
        y: conditions (n, …), on the network's device.
        null: the condition of a picture without one; a tensor broadcasts over (n, …).
        shape: (C, H, W) of a picture.
        generator: on the CPU; moved on by n pictures.
        how: steps, guidance, clipping; None: the defaults.

    Returns:
        (n, C, H, W) float32, on the CPU.

    Raises:
        ValueError: a generator on another device, or a number of steps that does not divide the schedule's
            (diffusers then jumps from a step to another than the one it goes on from).
    """
    how = how or Sampling()
    if generator.device.type != "cpu":
        raise ValueError("the generator must be on the CPU, so that any device draws the same noise")
    if diffusion.schedule.steps % how.steps:
        raise ValueError(f"{how.steps} steps do not divide the schedule's {diffusion.schedule.steps}")
    noise = torch.randn((len(y), *shape), generator=generator)
    chunks = zip(torch.split(noise, how.batch), torch.split(y, how.batch), strict=True)
    with torch.no_grad():
        parts = [
            _denoised(predict, diffusion.schedule, x.to(c.device), c, null, how).cpu()
            for x, c in chunks
            if len(c)  # of no conditions there is one empty chunk
        ]
    return torch.cat(parts) if parts else noise


def _denoised(
    predict: Predict, schedule: Schedule, x: Tensor, y: Tensor, null: int | Tensor, how: Sampling
) -> Tensor:
    # As it comes the scheduler starts below the last step, and goes on from the noise as it was predicted
    # although the picture that it belongs to was cut.
    scheduler = schedule.scheduler(DDIMScheduler, clip_sample=how.clip, timestep_spacing="trailing")
    scheduler.set_timesteps(how.steps)
    for t in scheduler.timesteps.tolist():
        out = guided(predict, x, torch.full((len(x),), t, device=x.device), y, null, how)
        x = scheduler.step(out, t, x, use_clipped_model_output=how.clip, return_dict=False)[0]
    return x


def guided(predict: Predict, x: Tensor, t: Tensor, y: Tensor, null: int | Tensor, how: Sampling) -> Tensor:
    """``f(null) + w (f(y) - f(null))`` of what the network predicts, (B, C, H, W) float32; no variances."""
    channels = x.shape[1]
    if how.guidance == 1:
        return predict(x, t, y)[:, :channels].float()
    none = torch.as_tensor(null, dtype=y.dtype, device=y.device).expand_as(y)
    both = predict(torch.cat([x, x]), torch.cat([t, t]), torch.cat([y, none]))[:, :channels].float()
    with_y, without = both.chunk(2)
    moved = without + how.guidance * (with_y - without)
    if how.guided_channels is None:
        return moved
    return torch.cat([moved[:, : how.guided_channels], with_y[:, how.guided_channels :]], dim=1)


def relay(noisy: Predict, clean: Predict, switch: int) -> Predict:
    """Two networks on one reverse chain: ``noisy`` at steps of ``switch`` and more, ``clean`` below it.

    For samplers, where all pictures of a batch are at one time step.
    """

    def predict(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return (noisy if int(t[0]) >= switch else clean)(x, t, y)

    return predict


def to_pictures(x: Tensor) -> np.ndarray:
    """(n, 3, H, W) in [-1, 1] -> (n, H, W, 3) uint8; what lies outside is cut."""
    pictures: np.ndarray = ((x.clamp(-1, 1) + 1) * 127.5).round().byte().movedim(1, -1).cpu().numpy()
    return pictures


def from_pictures(pictures: np.ndarray) -> Tensor:
    """(n, H, W, 3) uint8 -> (n, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.array(pictures)).movedim(-1, 1).float() / 127.5 - 1
