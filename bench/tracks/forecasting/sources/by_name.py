"""Which source a task of the track has, and what a method is given of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.contract import Inputs, Task
from bench.tracks.common.sources import Source
from bench.tracks.forecasting import settings

if TYPE_CHECKING:
    from bench.tracks.forecasting.data import ForecastingData, Splits


def source_of(dataset: str) -> Source[Splits]:
    """The source of a task's data, imported now: a plan of other tasks does not pay for it."""
    if dataset == "blobs":
        from bench.tracks.forecasting.sources import blobs

        return blobs
    if dataset in ("digits", "turbulence"):
        from bench.tracks.forecasting.sources import generated

        return generated
    if dataset in ("storm", "wind"):
        from bench.tracks.forecasting.sources import winds

        return winds
    if dataset in settings.PAPER:
        from bench.tracks.forecasting.sources import paper

        return paper
    from bench.tracks.forecasting.sources import radar

    return radar


def given(task: Task, run: settings.Run, inputs: Inputs) -> ForecastingData:
    """The windows of all splits, without what followed the test windows: what a method is given."""
    from bench.tracks.forecasting.data import ForecastingData

    splits = source_of(task.params["dataset"]).splits(task, run, inputs)
    recipe = settings.recipe(task.params["dataset"], run)
    test = splits.test.windows
    return ForecastingData(
        name=task.name, units=test.inputs.attrs["units"], transform=recipe.transform,
        train=splits.train.windows, val=splits.val.windows, test=test.inputs,
        wide=splits.test.wide, val_wide=splits.val.wide, margin=recipe.margin, val_weights=splits.val.weights,
        leads=test.targets["lead"], members=run.members, recipe=recipe,
    )  # fmt: skip
