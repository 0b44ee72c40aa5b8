"""A stub of field forecasting: ensembles, scores by lead, an event that may never come, splits by seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.contract import AnswerError, Censored, Metric, Score, Task, Track, Units, method


@dataclass(frozen=True)
class Grid:
    fields: tuple[str, ...] = ("wind", "rain")


@dataclass(frozen=True)
class Run:
    leads: int = 4
    members: int = 5
    days: int = 30


def _world(task, run, seed):
    """Days of a field: (day, lead, y, x), and which days are for testing under this seed."""
    rng = np.random.default_rng({"wind": 1, "rain": 2}[task.params["field"]])
    level = rng.normal(size=(run.days, 1, 1, 1))
    growing = rng.normal(size=(run.days, run.leads, 6, 6)) * np.arange(1, run.leads + 1)[None, :, None, None]
    test = np.sort(np.random.default_rng(seed).permutation(run.days)[: run.days // 3])
    return level + 0.3 * growing, test


class Ensemble(Track):
    name = "ensemble"
    title = "A stub of field forecasting"
    metrics = (
        Metric(name="crps", better="lower", digits=3),
        Metric(name="useful_until", better="higher", unit="leads", digits=1, censored=True),
    )
    reference = "persistence"
    Grid, Run = Grid, Run
    preload = ("xarray",)
    split_per_seed = True

    def tasks(self, grid):
        return [Task(name=f, params={"field": f}) for f in grid.fields]

    def load(self, task, run, inputs):
        import xarray as xr

        days, test = _world(task, run, inputs.seed)
        train = np.delete(days, test, axis=0)
        start = xr.DataArray(days[test, 0], dims=["day", "y", "x"], coords={"day": test})
        return {"train": train, "start": start, "leads": run.leads, "members": run.members}

    def truth(self, task, run, inputs):
        days, test = _world(task, run, inputs.seed)
        return days[test], test

    def score(self, task, answer, truth, history):
        import xarray as xr

        observed, days = truth
        wanted = ("member", "day", "lead", "y", "x")
        if not isinstance(answer, xr.DataArray) or set(answer.dims) != set(wanted):
            found = getattr(answer, "dims", type(answer).__name__)
            raise AnswerError(f"expected a DataArray over {', '.join(wanted)}, found {found}")
        members = answer.transpose(*wanted).values
        if members.shape[1:] != observed.shape:
            raise AnswerError(f"expected (member, {observed.shape}), found {members.shape}")
        error = np.abs(members - observed).mean(0)
        spread = np.abs(members[:, None] - members[None]).mean((0, 1)) / 2
        crps = (error - spread).mean((2, 3))  # (day, lead)
        by_lead = xr.DataArray(crps.mean(0), dims=["lead"], coords={"lead": np.arange(1, crps.shape[1] + 1)})
        late = np.flatnonzero(by_lead.values > 0.9)
        until = float(late[0]) if len(late) else Censored(float(crps.shape[1]))
        metrics = {"crps": float(crps.mean()), "useful_until": until}
        units = {"crps": Units(ids=days, values=crps.mean(1))}
        return Score(metrics=metrics, series={"crps_by_lead": by_lead}, units=units)

    def smoke(self):
        return Grid(fields=("wind",)), Run(leads=2, members=3, days=9)


TRACK = Ensemble()


def _repeat(start, leads, members):
    import xarray as xr

    wide = start.expand_dims(lead=np.arange(leads), member=np.arange(members))
    assert isinstance(wide, xr.DataArray)
    return wide


@method("ensemble", name="Persistence", deterministic=True)
def persistence(data, hp, ctx):
    return _repeat(data["start"], data["leads"], 1)


@method("ensemble", name="Noisy persistence", hp={"scale": 0.3}, variants={"wide": {"scale": 1.0}})
def noisy(data, hp, ctx):
    wide = _repeat(data["start"], data["leads"], data["members"])
    noise = wide.copy(data=np.random.default_rng(ctx.seed).normal(size=wide.shape))
    return wide + noise * (1 + wide["lead"]) * hp["scale"]


@method("ensemble", name="Perfect knowledge of the level")
def level(data, hp, ctx):
    mean = data["start"].mean(("y", "x"))
    return _repeat(data["start"] * 0 + mean, data["leads"], 1)
