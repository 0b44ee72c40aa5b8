"""ControlNet with P2: the error in the noise with less weight at steps with little noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.controlnet.data import ControlData


@method(
    "controlnet",
    name="P2",
    hp={"gamma": 0.5, "k": 1.0},
    ref="Choi et al., Perception Prioritized Training of Diffusion Models, CVPR 2022",
)
def p2(data: ControlData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """min over theta of E_t (k + SNR(t))^-gamma |error in the noise|^2, whatever the base predicts.

    Against a loss of the noise that moves weight to noisy steps. Against one of the velocity, such as that of
    the laptop's bases, it takes weight off them: an error in the velocity is a small one in the noise there.
    """
    from bench.nn import diffusion
    from bench.tracks.controlnet import training

    theta = training.start(data, ctx)
    loss = training.denoising(theta, data, weight=lambda snr: diffusion.p2(snr, hp["gamma"], hp["k"]))
    fitted = training.fit(theta, loss, data, ctx)
    return training.answer(theta, data, fitted.seconds_per_step)
