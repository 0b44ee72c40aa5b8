"""Full fine-tuning held to the frozen model's predictions on its own pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.dit_transfer import stages

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.dit_transfer.data import TransferData
    from bench.tracks.dit_transfer.training import Batch


@method(
    "dit_transfer",
    name="Distillation",
    hp={"weight": 0.1, "share": 0.2},
    stages=stages.bank,
    ref="the variant in Diff-Tuning's released code that it never calls; Hinton et al., 2015",
)
def distillation(data: TransferData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """min over theta of E_t L(x, y, t) + w E_t |f_theta(x_t, null) - f_0(x_t, null)|^2.

    x_t are noised pictures of the bank, f_0 is the pre-trained network. Weight and share of
    a batch are Diff-Tuning's; t is uniform in both terms.
    """
    import torch

    from bench.tracks.dit_transfer import training

    theta = training.start(data, "full", ctx)
    f_0 = data.pretrained().to(ctx.device).eval()
    k = int(hp["share"] * data.recipe.batch)
    D_s = training.Bank(data.bank(ctx.stage(stages.BANK)), k, data.recipe.steps, theta, ctx.seed)
    ordinary = training.denoising(theta)

    def loss(batch: Batch) -> Tensor:
        if k == 0:
            return ordinary(batch)
        x, y = D_s(batch)
        t = training.UNIFORM.draw(k, batch.generator)[0].to(x.device)
        x_t = training.DIFFUSION.noised(x, torch.randn(x.shape, generator=batch.generator).to(x.device), t)
        with torch.no_grad():
            before = f_0(x_t, t, y)
        return ordinary(batch) + hp["weight"] * (theta(x_t, t, y) - before).float().square().mean()

    fitted = training.fit(theta, loss, data, ctx, batch=data.recipe.batch - k)
    return training.answer(data, fitted.model, fitted.seconds_per_step)
