"""The base as it is, which sees no condition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.controlnet.data import ControlData


@method("controlnet", name="Frozen base", deterministic=True)
def frozen(data: ControlData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """The base with its pre-trained weights theta_0, of which none is trained: what a condition that is not
    seen agrees by chance. One look at the end, since all looks would be the same.
    """
    from bench.tracks.controlnet import training
    from bench.tracks.controlnet.nets.unet import Uncontrolled

    theta_0 = Uncontrolled(data.base.unet().requires_grad_(False)).to(ctx.device)
    ctx.snapshot(data.snapshots[-1], {"sample": training.sampler(theta_0, data)})
    return training.answer(theta_0, data)
