"""Diff-Tuning of a ControlNet: time steps and pictures drawn along the chain of forgetting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.controlnet import stages

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.controlnet.data import ControlData
    from bench.tracks.controlnet.nets.unet import Controlled
    from bench.tracks.controlnet.training import Bank, Batch, Loss

#: Where the curriculum's lowest time step begins, and the share of all steps after which it is 0: assumed.
CURRICULUM = (0.8, 0.5)


@method(
    "controlnet",
    id="diff-tuning",
    name="Diff-Tuning",
    hp={"form": "drawn", "tau": 1.0, "bank_share": 0.2, "bank_weight": 0.1},
    variants={
        "no-bank": {"form": "no-bank"},
        "code": {"form": "code"},
        "power-0.5": {"tau": 0.5},
        "curriculum": {"form": "curriculum"},
    },
    stages=stages.bank,
    ref="Zhong et al., Diffusion Tuning: Transferring Diffusion Models via Chain of Forgetting, NeurIPS 2024",
)  # fmt: skip
def diff_tuning(data: ControlData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """min over theta of E_t psi(t) L(x, c, t) + E_t xi(t) L(x_s, c_s, t), psi(t) = t^tau and xi = 1 - psi.

    L is the ordinary denoising loss; x, c are pictures and conditions of the target's set X, x_s of a bank
    X_s that the base sampled, c_s what is read from them; theta is a ControlNet's.

    ``form``: "drawn" is the paper's Algorithm 1; "no-bank" draws t in proportion to psi, and from X alone;
    "code" is the law of the script that the authors published for their other network, a DiT whose condition
    is a class; "curriculum" starts near the noise, without psi. The last one and "no-bank" read no X_s.
    """
    from bench.nn.time_steps import psi
    from bench.tracks.controlnet import training

    theta, B = training.start(data, ctx), data.recipe.batch
    k = int(hp["bank_share"] * B) if hp["form"] == "code" else 0

    def bank(n: int) -> Bank:
        return training.Bank(data.bank(ctx.stage(stages.BANK)), n, data, ctx)

    loss = {
        "drawn": lambda: algorithm_1(theta, data, bank(B), psi(hp["tau"])),
        "no-bank": lambda: no_bank(theta, data, psi(hp["tau"])),
        "code": lambda: released(theta, data, bank(k), hp["tau"], hp["bank_weight"]),
        "curriculum": lambda: curriculum(theta, data),
    }[hp["form"]]()
    fitted = training.fit(theta, loss, data, ctx, batch=B - k)
    return training.answer(theta, data, fitted.seconds_per_step)


def algorithm_1(theta: Controlled, data: ControlData, X_s: Bank, psi: Tensor) -> Loss:
    """Draw t uniformly, then the picture from X with probability psi(t), else from X_s; L as it is."""
    import torch

    from bench.nn.time_steps import draw
    from bench.tracks.controlnet import training

    def loss(batch: Batch) -> Tensor:
        t = draw(training.UNIFORM, len(batch), batch.generator)
        adapts = torch.rand(len(t), generator=batch.generator) < psi[t]
        of = training.chosen(adapts, batch.target, X_s(batch))
        return training.losses(theta, data.base.diffusion, of, t, batch.generator).mean()

    return loss


def no_bank(theta: Controlled, data: ControlData, psi: Tensor) -> Loss:
    """The first term alone: t in proportion to psi, which is the same objective up to a constant."""
    from bench.nn.time_steps import draw
    from bench.tracks.controlnet import training

    def loss(batch: Batch) -> Tensor:
        t = draw(psi, len(batch), batch.generator)
        return training.losses(theta, data.base.diffusion, batch.target, t, batch.generator).mean()

    return loss


def released(theta: Controlled, data: ControlData, X_s: Bank, s: float, w: float) -> Loss:
    """A fifth of a batch of X_s with P(t) ~ (T - t)^s and w = 0.1, the rest of X with P(t) ~ (t + 1)^s."""
    import torch

    from bench.nn.time_steps import draw, psi
    from bench.tracks.controlnet import training

    def loss(batch: Batch) -> Tensor:
        t, of_bank = draw(psi(s), len(batch), batch.generator), X_s(batch)
        t_s = draw(psi(s).flip(0), len(of_bank.x), batch.generator)
        of = training.joined(batch.target, of_bank)
        L = training.losses(theta, data.base.diffusion, of, torch.cat([t, t_s]), batch.generator)
        return L[: len(t)].mean() + w * L[len(t) :].mean()

    return loss


def curriculum(theta: Controlled, data: ControlData) -> Loss:
    """t uniform from a lowest step on that falls evenly from .8 T to 0 over half of the training."""
    from bench.nn.time_steps import draw
    from bench.tracks.controlnet import training

    start, share = CURRICULUM

    def loss(batch: Batch) -> Tensor:
        left = max(0.0, 1 - batch.step / (share * data.recipe.steps))
        law = training.UNIFORM.clone()
        law[: int(start * left * len(law))] = 0
        t = draw(law, len(batch), batch.generator)
        return training.losses(theta, data.base.diffusion, batch.target, t, batch.generator).mean()

    return loss
