"""Full fine-tuning: all weights, the ordinary loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.dit_transfer.data import TransferData
    from bench.tracks.dit_transfer.nets.dit import DiT


@method(
    "dit_transfer",
    name="Full fine-tuning",
    hp={"looks": 0, "relay": False},
    variants={"looks": {"looks": 3, "relay": True}},
    ref="Peebles and Xie, Scalable Diffusion Models with Transformers, ICCV 2023: its loss",
)
def full(data: TransferData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """min over theta of E_t L(x, y, t), t uniform.

    With ``relay`` it also answers what becomes of a picture when the pre-trained network samples the last
    part of the reverse chain, at time steps below a switch.
    """
    from bench.tracks.dit_transfer import training

    theta = training.start(data, "full", ctx)
    before = data.pretrained().to(ctx.device).eval() if hp["relay"] else None

    def answer(model: DiT) -> dict[str, Any]:
        return training.answer(data, model)

    fitted = training.fit(theta, training.denoising(theta), data, ctx, snapshots=hp["looks"], answer=answer)
    return training.answer(data, fitted.model, fitted.seconds_per_step, before=before)
