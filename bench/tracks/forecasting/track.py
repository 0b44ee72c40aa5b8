"""The track `forecasting`: the next fields of rain or wind, as an ensemble, from the last few.

Paper: Chen et al., CogDPM: Diffusion Probabilistic Models via Cognitive Predictive Coding (ICML 2024).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench import packages
from bench.contract import Claim, Inputs, Metric, Score, Snapshot, Task
from bench.data.fields.radar_layouts import COMMIT
from bench.tracks.common.names import check_names
from bench.tracks.common.sources import Source, SourcedTrack
from bench.tracks.forecasting import settings
from bench.tracks.forecasting.sources.by_name import given, source_of

if TYPE_CHECKING:
    from bench.tracks.forecasting.data import ForecastingData, Splits, Truth

_ASSUMED = (
    "no number of the paper could be sourced: its data are replaced, and every size, step, rate and constant"
    " of the guidance is this suite's"
)
_COPY = f"from pySTEPS/pysteps-data as of its commit {COMMIT}"
_NOTES: Mapping[str, str] = {
    "digits": "two handwritten digits that bounce; the digits of test windows occur in no other split",
    "turbulence": "generated: a two-dimensional flow, not an observation",
    "storm": "one storm of 1996 of which three windows are tested, one after another: its interval says"
    " little, and no claim is about it. A window is shown what the one before is asked for, and each"
    " is forecast from its own inputs alone. Weights of guidance are set on a single window. Part of"
    " every window was not observed, so it has no spectrum. Figures of other windows of this storm"
    " cannot be held against these",
    "wind": "monthly anomalies, which are hardly predictable: a floor for linear rows, no study of precision",
    "rain": f"MRMS (NOAA, public domain), one hour over the United States, {_COPY}; split by longitude."
    " One window a place is tested, the middle one of those that are covered and wet, 48 in 13 blocks of"
    " 128 cells. With the first or the last one instead persistence errs by a tenth more, so that"
    " figures of other choices, also earlier ones of this project, cannot be held against these",
    "radar": f"KNMI (CC BY 4.0), one day over the Netherlands, {_COPY}; its last third is held out whole."
    " Four places that share no cell, eight windows, all in one area of rain: its interval is of four"
    " pieces that may go with each other, and no claim is about it",
    "uk-radar": "the curated set of DGMR, windows weighted by one over the probability of their crop; the"
    " fractions skill score and the table of maps count them alike",
    "era5-wind": "the user's years and region; which the paper took was not found",
    "moving-mnist": "one file split by sequence: digits of test windows may occur in training",
    "turbulent-flow": "one run, split by time",
}  # fmt: skip


#: Tasks that claims are about. Not storm and radar: each is one storm, of which three windows that follow
#: each other, and four places beside each other, are tested. The interval of so few pieces, which may go with
#: each other besides, is not to be trusted; in a mean over tasks it would make that of the whole too narrow.
_CLAIMED = ("digits", "turbulence", "wind", "rain", *settings.PAPER)


def _group(dataset: str) -> str:
    """The part of a board with a mean of its own that a task belongs to."""
    if settings.RECIPES[dataset].transform == "log-rain":
        return "rain"
    return "wind" if dataset in ("storm", "wind", "era5-wind") else "synthetic"


def _diagnostic(name: str, doc: str) -> Metric:
    return Metric(name=name, better="neither", kind="diagnostic", digits=2, doc=doc)


def _correlation(short: str, what: str, *subsets: str) -> tuple[Metric, ...]:
    cells = {"all": "all cells", "wet": "cells that were not empty", "given": "given the mean forecast"}
    return tuple(
        _diagnostic(f"{short}_{s}", f"rank correlation of {what} with the error of the mean: {cells[s]}")
        for s in subsets
    )


class Forecasting(SourcedTrack):
    """Windows of fields: a few frames are shown, the next ones are to be forecast, with their uncertainty.

    A method is given `ForecastingData` and answers with a mapping. ``"test"``: a `DataArray` (window, member,
    lead, component, y, x) in physical units with the coordinates of ``data.test`` and ``data.leads``, which
    ``data.forecast`` makes of an array. It has ``data.members`` members, or one: a deterministic forecast.
    If it likes: ``"val"``, the same for ``data.val``; ``"precision"``, (window, lead, y, x), larger where
    less is certain, see ``data.precision``; ``"members"``, how many it has if they are fewer by nature;
    ``"parameters"``, how many numbers its network has; ``"singular"``, in how many test windows it fell back
    on something simpler.

    The score is the fair CRPS, of rain on the logarithm of mm/h with a floor of 0.1. It ranks as a skill
    score over the lagged ensemble (the last frames as members): tasks have units of their own, and only
    shares of something have a mean over them. Scores by example are windows.
    """

    name = "forecasting"
    title = "Forecasting of rain and wind as ensembles"
    version = 1
    metrics = (
        Metric(
            name="crpss",
            better="higher",
            doc="skill by fair CRPS: 1 minus its ratio to the lagged ensemble's",
        ),
        Metric(
            name="crps", better="lower", averaged=False, doc="fair CRPS; of rain on log10 of mm/h, floor 0.1"
        ),
        Metric(name="crps_mm", better="lower", averaged=False, unit="mm/h", doc="fair CRPS of rain in mm/h"),
        Metric(
            name="crps_mean_pooled",
            better="lower",
            averaged=False,
            doc="CRPS after averaging squares of 4 x 4 cells",
        ),
        Metric(
            name="crps_max_pooled",
            better="lower",
            averaged=False,
            doc="CRPS of the largest magnitudes in squares of 4 x 4 cells",
        ),
        Metric(
            name="rmse", better="lower", averaged=False, doc="root mean square error of the ensemble's mean"
        ),
        Metric(
            name="csi", better="higher", digits=3, doc="critical success index of the mean, all thresholds"
        ),
        Metric(name="fss", better="higher", digits=3, doc="fractions skill score of the mean, 5 x 5 cells"),
        _diagnostic("spread_error", "spread over error of the mean: 1 of a reliable ensemble"),
        _diagnostic("members", "members of the ensemble: 1 is a deterministic forecast"),
        _diagnostic(
            "singular", "test windows whose equations were singular and which are extrapolated instead"
        ),
        *_correlation("u", "the method's own map", "all", "wet", "given"),
        *_correlation("spread", "the ensemble's spread", "all", "wet", "given"),
        *_correlation("forecast", "the mean forecast itself", "all", "wet"),
        Metric(name="parameters", better="lower", digits=0, kind="cost", doc="numbers of the network"),
    )
    reference = "lagged"
    axis = None
    # What the paper printed for any of them could not be found.
    claims = (
        Claim(
            name="CogDPM over constant guidance of the same network", rows=("cogdpm",),
            over=("cogdpm/constant",), tasks=_CLAIMED,
        ),
        Claim(
            name="CogDPM over STEPS on rain", rows=("cogdpm",), over=("steps",), tasks=("rain", "uk-radar")
        ),
        Claim(
            name="CogDPM over each deep network that gives one forecast (U-Net, ConvLSTM, PredRNN)",
            rows=("cogdpm",), over=("unet",), also=(("conv-lstm",), ("pred-rnn",)), tasks=_CLAIMED,
        ),
        Claim(
            name="CogDPM over the same network without guidance", rows=("cogdpm",),
            over=("cogdpm/unguided",), tasks=_CLAIMED, of_paper=False,
        ),
    )  # fmt: skip
    Grid = settings.Grid
    Run = settings.Run
    by_value = ("RECIPES", "Recipe", "Assumed")
    preload = (
        "numpy", "orjson", "pandas", "scipy.stats", "torch", "xarray", "diffusers.models.unets.unet_2d",
        "diffusers.schedulers.scheduling_ddim", "safetensors.torch",
    )  # fmt: skip

    def tasks(self, grid: settings.Grid) -> Sequence[Task]:
        """One task for each data set.

        Raises:
            BenchError: a task is unknown.
        """
        if own := [t for t in grid.tasks if t not in settings.RECIPES]:
            from bench.tracks.forecasting.sources import brought

            check_names("forecasting: grid.tasks", own, (*settings.RECIPES, *brought.names()))
        return [
            brought.task(t) if t in own else Task(name=t, params={"dataset": t}, data=t, group=_group(t))
            for t in grid.tasks
        ]

    def source(self, task: Task) -> Source[Splits]:
        """The module that opens the task's data."""
        return source_of(task.params["dataset"])

    def missing(self, task: Task, run: settings.Run) -> str | None:
        """Which package or data set has to be brought and the command that helps, or None."""
        return packages.missing("scores of forecasts", {"scores": ()}) or super().missing(task, run)

    def load(self, task: Task, run: settings.Run, inputs: Inputs) -> ForecastingData:
        """The windows of all splits, without what followed the test windows."""
        return given(task, run, inputs)

    def truth(self, task: Task, run: settings.Run, inputs: Inputs) -> Truth:
        """What followed, read anew so that no method shares memory with it."""
        import numpy as np

        from bench.tracks.forecasting import scoring
        from bench.tracks.forecasting.data import Truth

        splits = self.source(task).splits(task, run, inputs)
        recipe = settings.recipe(task.params["dataset"], run)
        test, val = splits.test, splits.val
        return Truth(
            test=test.windows.targets, val=val.windows.targets,
            last=test.windows.inputs.isel(time=-1, drop=True),
            lagged=scoring.lagged(test, recipe.transform), val_lagged=scoring.lagged(val, recipe.transform),
            groups=np.array([f"{task.name}: {g}" for g in test.groups.tolist()]),
            weights=test.weights, val_weights=val.weights, members=run.members, recipe=recipe,
        )  # fmt: skip

    def score(self, task: Task, answer: Any, truth: Truth, history: Sequence[Snapshot]) -> Score:
        """All measures, by lead as series; a forecast that is not finite gives NaN.

        Raises:
            AnswerError: an entry is missing or unknown, or is not of the shape, the coordinates, the units or
                the number of members that were asked for.
        """
        from bench.tracks.common.answers import Answer
        from bench.tracks.forecasting import scoring, views
        from bench.tracks.forecasting.metrics import weighted

        asked = {"test": "a DataArray of forecasts for data.test, see data.forecast"}
        optional = ("val", "precision", "members", "parameters", "singular")
        checked = Answer("forecasting", answer, required=asked, optional=optional)
        found = scoring.forecast(checked, "test", truth)
        own = scoring.precision_map(checked, truth)
        metrics: dict[str, Any] = {m.name: None for m in self.metrics}
        metrics |= scoring.numbers(found, truth, "test")
        metrics |= {"members": float(found.sizes["member"])}
        metrics |= {name: checked.number(name) for name in ("parameters", "singular")}
        if checked.get("val") is not None:
            val = scoring.numbers(scoring.forecast(checked, "val", truth), truth, "val")
            metrics |= {f"val_{name}": value for name, value in val.items()}
        if not math.isfinite(metrics["crpss"]):
            return Score(metrics=metrics)
        series = scoring.by_lead(found, truth)
        each = series.pop("by_window")
        for name in ("crps_mean_pooled", "crps_max_pooled", "rmse", "csi", "fss"):
            metrics[name] = scoring.number(series.get(name))
        ratio = series["spread"].mean() / series["rmse"].mean()
        metrics["spread_error"] = scoring.number(ratio)
        if truth.recipe.precision:
            rho = scoring.of_maps(found, own, truth)
            series["precision"] = weighted(rho, truth.weights)
            metrics |= scoring.diagnostics(series["precision"])
            series["precision_by_window"] = rho.mean("lead")
        return Score(
            metrics=metrics, series=series, units=scoring.units(each, truth),
            views={"forecast": views.forecast(found, own, truth)},
        )  # fmt: skip

    def recipe(self, task: Task, run: settings.Run) -> Mapping[str, Any]:
        """What the task asks, and how networks are trained on it."""
        return asdict(settings.recipe(task.params["dataset"], run))

    def notes(self, tasks: Sequence[Task]) -> Mapping[str, str]:
        """What is assumed about the paper, how to read the measures, and what the data are not."""
        found = {
            "assumed": _ASSUMED,
            "skill": "ranks by 1 - CRPS / CRPS of the lagged ensemble on the same windows: within a task the"
            " order is that of the fair CRPS, whose unit differs from task to task",
            "one member": "a row marked (1 member) gives one forecast and is scored by its absolute error,"
            " which anything with a spread easily beats; the reference is therefore the lagged ensemble: the"
            " last frames as members",
            "wider input": "extrapolation, S-PROG and STEPS see more than the others: on rain and radar 16"
            " cells more at each side of a window, 64 x 64 in all",
            "strongest baseline": "STEPS and S-PROG model rain alone and are not ranked, since they have no"
            " result on other tasks: the table of gains over counterparts holds every row against STEPS where"
            " that ran",
            "U": "our reading of the paper's outline: the variance of the guided chain's clean estimates at"
            " the k steps before a step, which that step's own estimate cannot enter, as it needs the weight",
            "precision": "a map's rank correlation with the error says mostly where rain is: read it beside"
            " the mean forecast's own, and given the mean forecast",
        }
        return found | {t.name: _NOTES[t.name] for t in tasks if t.name in _NOTES}

    def smoke(self) -> tuple[settings.Grid, settings.Run]:
        """Moving blobs, a few windows, networks trained for a few steps."""
        return (
            settings.Grid(tasks=("blobs",)),
            settings.Run(members=4, steps=6, batch=8, sampling_steps=8),
        )


TRACK = Forecasting()
