"""Diff-Tuning without a bank: held to the frozen model's predictions on the target's own pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.dit_transfer.data import TransferData
    from bench.tracks.dit_transfer.training import Batch


@method(
    "dit_transfer",
    name="Distillation",
    hp={"weight": 0.05, "tau": 1.0},
    ref="Zhong et al., Diff-Tuning, NeurIPS 2024, appendix C; Hinton et al., 2015",
)
def distillation(data: TransferData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """min over theta of E_t psi(t) L(x, y, t) + w E_t xi(t) |f_theta(x_t, null, t) - f_0(x_t, null, t)|^2.

    psi, xi and the pictures x are Diff-Tuning's; f_0 is the pre-trained network, which knows no label of the
    target. The paper's batch is 24, for memory, here that of all rows; that both terms are weighted, not
    drawn, on the same pictures, is our reading.
    """
    import torch

    from bench.nn.time_steps import draw, psi
    from bench.tracks.dit_transfer import training

    theta = training.start(data, "full", ctx)
    f_0 = data.pretrained().to(ctx.device).eval()
    rising = psi(hp["tau"])

    def loss(batch: Batch) -> Tensor:
        t = draw(training.UNIFORM, len(batch.x), batch.generator)
        adaptation = training.losses(theta, batch.x, batch.y, t, batch.generator)
        noise = torch.randn(batch.x.shape, generator=batch.generator).to(batch.x.device)
        at, factor = t.to(batch.x.device), rising[t].to(batch.x)
        x_t, null = training.DIFFUSION.noised(batch.x, noise, at), torch.full_like(batch.y, theta.null)
        with torch.no_grad():
            before = f_0(x_t, at, null)
        apart = (theta(x_t, at, null) - before)[:, : x_t.shape[1]]  # of the noise, not of its variances
        retention = apart.float().square().flatten(1).mean(1)
        return (factor * adaptation + hp["weight"] * (1 - factor) * retention).mean()

    fitted = training.fit(theta, loss, data, ctx)
    return training.answer(data, fitted.model, fitted.seconds_per_step)
