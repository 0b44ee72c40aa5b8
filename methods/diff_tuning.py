"""Diff-Tuning: a pre-trained diffusion model tuned along the chain of forgetting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.dit_transfer import stages

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.dit_transfer.data import TransferData
    from bench.tracks.dit_transfer.training import Batch

#: Exponents in the launch scripts of the released code; 1 is the default.
POWERS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.05, 1.1, 1.3, 1.5)


@method(
    "dit_transfer",
    name="Diff-Tuning",
    hp={
        "trains": "full", "bank_weight": 0.1, "bank_share": 0.2, "power": 1.0, "bank_power": None,
        "by": "sampling", "looks": 0,
    },
    variants={
        "difffit": {"trains": "difffit"},
        "lora": {"trains": "lora"},
        "no-bank": {"bank_weight": 0.0, "bank_share": 0.0},
        "no-reconsolidation": {"power": 0.0, "bank_power": 1.0},
        "weighting": {"by": "weighting"},
        **{f"power-{s:g}": {"power": s} for s in POWERS},
        "looks": {"looks": 3},
    },
    stages=stages.bank,
    ref="Zhong et al., Diffusion Tuning: Transferring Diffusion Models via Chain of Forgetting, NeurIPS 2024",
)  # fmt: skip
def diff_tuning(data: TransferData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """min over theta of E_t psi(t) L(x, y, t) + w E_t xi(t) L(x_s, null, t), psi rising in t and xi falling.

    L is the ordinary denoising loss; x, y are the target's, x_s a bank that the pre-trained network sampled.
    The first term reconsolidates near the noise, where little carries over; the second retains what does,
    near the data. psi(t) ~ (t + 1)^s and xi(t) ~ (T - t)^s, s = ``power``, by drawing t so (or, with ``by``
    "weighting", by weighting the loss). w = ``bank_weight``; x_s is ``bank_share`` of a batch.

    ``trains``: which of the network's parameters theta is, a name of `tuning.TUNINGS`; the loss is the same.
    """
    from bench.nn.time_steps import psi, xi
    from bench.tracks.dit_transfer import training

    theta = training.start(data, hp["trains"], ctx)
    s, s_bank, w = hp["power"], hp["bank_power"], hp["bank_weight"]
    rising, falling = psi(s, by=hp["by"]), xi(s if s_bank is None else s_bank, by=hp["by"])
    k = int(hp["bank_share"] * data.recipe.batch)
    D_s = training.Bank(data.bank(ctx.stage(stages.BANK)), k, data.recipe.steps, theta, ctx.seed)

    def loss(batch: Batch) -> Tensor:
        target = (batch.x, batch.y, rising)
        if k == 0:
            return training.losses(theta, [target], batch.generator)[0].mean()
        L_target, L_bank = training.losses(theta, [target, (*D_s(batch), falling)], batch.generator)
        return L_target.mean() + w * L_bank.mean()

    fitted = training.fit(
        theta, loss, data, ctx, batch=data.recipe.batch - k, snapshots=hp["looks"],
        answer=lambda model: training.answer(data, model),
    )  # fmt: skip
    return training.answer(data, fitted.model, fitted.seconds_per_step)
