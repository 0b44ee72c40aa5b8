"""U-Net: the network that the diffusion rows have, without noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.forecasting.data import ForecastingData


@method(
    "forecasting",
    name="U-Net (1 member)",
    counterpart="steps",
    ref="Ronneberger et al., U-Net, MICCAI 2015",
)
def unet(data: ForecastingData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """y = x_T + U(x_1, ..., x_T), all leads at once: one member, the mean absolute error minimised."""
    from bench.tracks.forecasting import training
    from bench.tracks.forecasting.nets.unet import Regressor
    from bench.tracks.forecasting.rows import forecasts

    def make(components: int, frames: int, leads: int) -> Regressor:
        return Regressor(leads * components, frames * components, data.recipe.assumed.channels)

    members, net = training.regressed(make, data, ctx)
    return {**forecasts.answer(data, members), "parameters": training.parameters(net)}
