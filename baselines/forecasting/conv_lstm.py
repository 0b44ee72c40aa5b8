"""ConvLSTM: frame after frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.forecasting.data import ForecastingData


@method(
    "forecasting",
    name="ConvLSTM (1 member)",
    counterpart="steps",
    ref="Shi et al., Convolutional LSTM Network, NeurIPS 2015",
)
def conv_lstm(data: ForecastingData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """Frame after frame by two layers of convolutional LSTM cells, then on its own forecasts: one member."""
    from bench.tracks.forecasting import training
    from bench.tracks.forecasting.nets.recurrent import ConvLSTM
    from bench.tracks.forecasting.rows import forecasts

    def make(components: int, frames: int, leads: int) -> ConvLSTM:
        return ConvLSTM(components, leads)

    members, net = training.regressed(make, data, ctx)
    return {**forecasts.answer(data, members), "parameters": training.parameters(net)}
