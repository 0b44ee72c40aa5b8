"""The moving blobs as a method is given them, also as if rain, a context to answer in; hand-made fields."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import xarray as xr

from bench.contract import Task
from bench.engine.context import RunContext, RunInputs
from bench.tracks.forecasting.data import Windows
from bench.tracks.forecasting.settings import Run
from bench.tracks.forecasting.track import TRACK

TASK = Task(name="blobs", params={"dataset": "blobs"}, data="blobs")
RUN = Run(members=3, steps=3, batch=4, sampling_steps=4, windows=3)
INPUTS = RunInputs(None, "cpu")


def blobs():
    """What a method is given."""
    return TRACK.load(TASK, RUN, INPUTS)


def targets():
    """What followed the test windows."""
    return TRACK.truth(TASK, RUN, INPUTS).test


def as_rain(field):
    """Some of the brightness as mm/h, the rest dry."""
    return (field * 8 * (field > 0.3)).assign_attrs(units="mm/h")


def rain():
    """The blobs as rain."""
    data = blobs()
    train, val = (Windows(as_rain(w.inputs), as_rain(w.targets)) for w in (data.train, data.val))
    return dataclasses.replace(
        data, units="mm/h", transform="log-rain", train=train, val=val, test=as_rain(data.test),
        wide=as_rain(data.wide), val_wide=as_rain(data.val_wide),
        recipe=dataclasses.replace(data.recipe, transform="log-rain"),
    )  # fmt: skip


def context(folder, *, seed=0, stages=None):
    """A context as the engine gives it."""
    return RunContext(
        seed=TASK.stream(seed), device="cpu", amp=False, workdir=folder, run=RUN, scorer=None,
        log=logging.getLogger("toy"), stages=stages or {},
    )  # fmt: skip


def members(target, values):
    """Members (m, ...) in front of the shape of a target (window, lead, component, y, x)."""
    return xr.DataArray(
        np.moveaxis(values, 0, 1), dims=("window", "member", *target.dims[1:]), coords=target.coords
    )


def field(values):
    """A hand-made field (y, x) as one window of one lead, without components."""
    values = np.asarray(values, float)
    return xr.DataArray(
        values[None, None], dims=("window", "lead", "y", "x"), coords={"window": ["w"], "lead": [1]}
    )


def five(values):
    """The same with one component, as a target is."""
    return field(values).expand_dims(component=["c"], axis=2)
