"""The track `forecasting` on fields of the user's own: what is other than on ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.contract import Inputs, Task
from bench.data.brought.entries import Entry, Section
from bench.tracks.common.sources import Source
from bench.tracks.forecasting import settings
from bench.tracks.forecasting.sources import brought
from bench.tracks.forecasting.track import Forecasting

if TYPE_CHECKING:
    from bench.tracks.forecasting.data import ForecastingData, Splits, Truth


class BroughtForecasting(Forecasting):
    """See `Forecasting`; the fields are the user's own."""

    def source(self, task: Task) -> Source[Splits]:
        """See `SourcedTrack.source`."""
        return brought

    def recipe(self, task: Task, run: settings.Run) -> Mapping[str, Any]:
        """What the task asks, and how networks are trained on it."""
        return asdict(brought.recipe(task, run))

    def load(self, task: Task, run: settings.Run, inputs: Inputs) -> ForecastingData:
        """The windows of all splits, without what followed the test windows."""
        return brought.given(task, run, inputs)

    def truth(self, task: Task, run: settings.Run, inputs: Inputs) -> Truth:
        """What followed, read anew so that no method shares memory with it."""
        import numpy as np

        from bench.tracks.forecasting import scoring
        from bench.tracks.forecasting.data import Truth

        splits, recipe = brought.splits(task, run, inputs), brought.recipe(task, run)
        test, val = splits.test, splits.val
        return Truth(
            test=test.windows.targets, val=val.windows.targets,
            last=test.windows.inputs.isel(time=-1, drop=True),
            lagged=scoring.lagged(test, recipe.transform), val_lagged=scoring.lagged(val, recipe.transform),
            groups=np.array([f"{task.name}: {g}" for g in test.groups.tolist()]), weights=None,
            val_weights=None, members=run.members, recipe=recipe,
        )  # fmt: skip


def section(entry: Entry) -> Section | None:
    """What a suite says of these data; None if they are no fields."""
    if entry.kind != "fields":
        return None
    return Section(
        ranks_by="crpss", grid={"tasks": (entry.name,)},
        rows=("persistence", "lagged", "climatology", "cogdpm", "cogdpm/constant"),
        small={"members": 4, "steps": 6, "batch": 8, "sampling_steps": 8},
    )  # fmt: skip


TRACK = BroughtForecasting()
