"""Diff-Tuning: a pre-trained diffusion model tuned along the chain of forgetting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.dit_transfer import stages

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.dit_transfer.data import TransferData
    from bench.tracks.dit_transfer.nets.dit import DiT
    from bench.tracks.dit_transfer.training import Bank, Batch, Loss, Weight

#: Exponents of psi in the paper beside 1 (Stanford Cars); its 0 is full fine-tuning.
TAUS = (0.3, 0.5, 0.7, 1.5)
#: Exponents in the launch scripts of the released code, whose default is 1.
POWERS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.05, 1.1, 1.3, 1.5)
RELEASED: Mapping[str, Any] = {"form": "released"}


@method(
    "dit_transfer",
    name="Diff-Tuning",
    hp={
        "form": "drawn", "trains": "full", "tau": 1.0, "tau_bank": None, "psi": "power", "weight": None,
        "bank_share": 0.2, "bank_weight": 0.1, "looks": 0,
    },
    variants={
        "difffit": {"trains": "difffit"},
        "lora": {"trains": "lora"},
        "released": RELEASED,
        "released-difffit": {**RELEASED, "trains": "difffit"},
        "no-bank": {"tau_bank": 0.0},
        "no-reconsolidation": {"tau": 0.0, "tau_bank": 1.0},
        "weighting": {"form": "weighted"},
        "min-snr": {"weight": "min-snr"},
        "p2": {"weight": "p2"},
        "psi-snr": {"psi": "snr"},
        **{f"tau-{tau:g}": {"tau": tau} for tau in TAUS},
        **{f"released-power-{s:g}": {**RELEASED, "tau": s} for s in POWERS},
        "looks": {"looks": 3},
    },
    stages=stages.bank,
    ref="Zhong et al., Diffusion Tuning: Transferring Diffusion Models via Chain of Forgetting, NeurIPS 2024",
)  # fmt: skip
def diff_tuning(data: TransferData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """min over theta of E_t psi(t) L(x, y, t) + E_t xi(t) L(x_s, null, t), psi rising in t and xi = 1 - psi.

    L is the ordinary denoising loss; x, y are of the target's set X, x_s of a bank X_s that the pre-trained
    network sampled. The first term reconsolidates near the noise, where little carries over; the second
    retains what does, near the data. psi(t) = t^tau, t in (0, 1], or, with ``psi`` "snr", 1 / (1 + SNR(t)).

    ``form``: "drawn" is Algorithm 1, "weighted" multiplies the loss instead, and "released" is the script
    that the authors published. ``tau_bank``: of 1 - xi, where it is not tau: 0 takes the bank away, and
    ``tau`` 0 the reconsolidation. ``trains``: which of the network's parameters theta is (`tuning.TUNINGS`).
    ``weight``: of the squared error, by the name of P2 or Min-SNR.
    """
    from bench.nn import diffusion
    from bench.nn.time_steps import psi
    from bench.tracks.dit_transfer import training

    theta, B, tau = training.start(data, hp["trains"], ctx), data.recipe.batch, hp["tau"]
    weight: Weight | None = {None: None, "min-snr": diffusion.min_snr, "p2": diffusion.p2}[hp["weight"]]
    k = int(hp["bank_share"] * B) if hp["form"] == "released" else B
    X_s = training.Bank(data.bank(ctx.stage(stages.BANK)), k, data.recipe.steps, theta, ctx.seed)

    rising = psi(tau) if hp["psi"] == "power" else 1 - training.DIFFUSION.alphas
    falling = 1 - (rising if hp["tau_bank"] is None else psi(hp["tau_bank"]))
    loss = {
        "drawn": lambda: algorithm_1(theta, X_s, rising, falling, weight),
        "weighted": lambda: weighted(theta, X_s, rising, falling, weight),
        "released": lambda: released(theta, X_s, tau, hp["bank_weight"]),
    }[hp["form"]]()
    fitted = training.fit(
        theta, loss, data, ctx, batch=B - k if hp["form"] == "released" else B, snapshots=hp["looks"],
        answer=lambda model: training.answer(data, model),
    )  # fmt: skip
    return training.answer(data, fitted.model, fitted.seconds_per_step)


def algorithm_1(theta: DiT, X_s: Bank, psi: Tensor, xi: Tensor, weight: Weight | None) -> Loss:
    """Draw t uniformly, then the picture from X with probability psi(t), else from X_s; L without a factor.

    An ablation's psi + xi is not 1 everywhere: then t is drawn in proportion to it, and the picture from X
    with probability psi / (psi + xi), which is the same objective up to a constant.
    """
    import torch

    from bench.nn.time_steps import draw
    from bench.tracks.dit_transfer import training

    def loss(batch: Batch) -> Tensor:
        t = draw(psi + xi, len(batch.x), batch.generator)
        adapts = torch.rand(len(t), generator=batch.generator) < (psi / (psi + xi))[t]
        adapts = adapts.to(batch.x.device)
        x_s, null = X_s(batch)
        x, y = torch.where(adapts[:, None, None, None], batch.x, x_s), torch.where(adapts, batch.y, null)
        return training.losses(theta, x, y, t, batch.generator, weight).mean()

    return loss


def weighted(theta: DiT, X_s: Bank, psi: Tensor, xi: Tensor, weight: Weight | None) -> Loss:
    """The two terms as they are written: half of a batch from X with weight psi(t), half from X_s with xi(t).

    The paper found it unstable.
    """
    import torch

    from bench.nn.time_steps import draw
    from bench.tracks.dit_transfer import training

    def loss(batch: Batch) -> Tensor:
        t, half = draw(training.UNIFORM, len(batch.x), batch.generator), len(batch.x) // 2
        x_s, null = X_s(batch)
        x, y = torch.cat([batch.x[:half], x_s[half:]]), torch.cat([batch.y[:half], null[half:]])
        L = training.losses(theta, x, y, t, batch.generator, weight)
        factor = torch.cat([psi[t[:half]], xi[t[half:]]]).to(L)
        return (factor * L)[:half].mean() + (factor * L)[half:].mean()

    return loss


def released(theta: DiT, X_s: Bank, s: float, w: float) -> Loss:
    """The released script: 26 of X with P(t) ~ (t + 1)^s, 6 of X_s with (T - t)^s and w = 0.1."""
    import torch

    from bench.nn.time_steps import draw, psi
    from bench.tracks.dit_transfer import training

    def loss(batch: Batch) -> Tensor:
        x_s, null = X_s(batch)
        k = len(x_s)
        t = draw(psi(s), len(batch.x), batch.generator)
        t_s = draw(psi(s).flip(0), k, batch.generator)
        x, y = torch.cat([batch.x, x_s]), torch.cat([batch.y, null])
        L = training.losses(theta, x, y, torch.cat([t, t_s]), batch.generator)
        return L[: len(t)].mean() + w * L[len(t) :].mean()

    return loss
