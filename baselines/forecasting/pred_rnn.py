"""PredRNN: frame after frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.forecasting.data import ForecastingData


@method(
    "forecasting",
    name="PredRNN (1 member)",
    counterpart="steps",
    ref="Wang et al., PredRNN, NeurIPS 2017",
)
def pred_rnn(data: ForecastingData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """Frame after frame by two layers of cells with a memory that goes through both: one member."""
    from bench.tracks.forecasting import training
    from bench.tracks.forecasting.nets.recurrent import PredRNN
    from bench.tracks.forecasting.rows import forecasts

    def make(components: int, frames: int, leads: int) -> PredRNN:
        return PredRNN(components, leads)

    members, net = training.regressed(make, data, ctx)
    return {**forecasts.answer(data, members), "parameters": training.parameters(net)}
