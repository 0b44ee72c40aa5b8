"""A track that answers at once, for what the plan says of it: aliases, skips, ablations, missing data."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bench.contract import Metric, Score, Space, Task, Track, method


@dataclass(frozen=True)
class Grid:
    scales: tuple[int, ...] = (1, 4)


@dataclass(frozen=True)
class Run:
    epochs: int = 3
    rate: float = 0.1
    widths: tuple[int, ...] = (8, 8)


class Grids(Track):
    name = "grids"
    metrics = (
        Metric(name="value", better="higher", digits=3),
        Metric(name="loss", better="lower"),
        Metric(name="size", better="neither", kind="cost"),
    )
    reference = "single"
    Grid, Run = Grid, Run
    axis = "scale"

    def tasks(self, grid):
        return [Task(name=f"flights-{s}x", params={"dataset": "flights", "scale": s}) for s in grid.scales]

    def missing(self, task, run):
        folder = os.environ.get("GRIDS_DATA", "")
        if task.params["scale"] == 99 and not Path(folder, "big.csv").is_file():
            return "big.csv is not here; download it from nowhere"
        return None

    def fingerprint(self, task, run):
        return os.environ.get("GRIDS_FINGERPRINT", "one")

    def load(self, task, run, inputs):
        return {"scale": task.params["scale"], "epochs": run.epochs}

    def truth(self, task, run, inputs):
        return 1.0

    def score(self, task, answer, truth, history):
        return Score(metrics={"value": answer, "loss": 1.0 - answer, "size": float(task.params["scale"])})

    def smoke(self):
        return Grid(scales=(4,)), Run(epochs=1)


TRACK = Grids()


@method("grids", name="Single", hp={"lr": Space(default=0.1, low=0.01, high=1.0, log=True), "model": "dnn"},
        variants={"wide": {"model": "wide"}})  # fmt: skip
def single(data, hp, ctx):
    return 0.5 + data["scale"] / 100 + ctx.seed / 1000


@method(
    "grids",
    name="Multi",
    base=False,
    hp={"model": "dnn"},
    variants={"dnn": {"model": "dnn"}, "shared": {"model": "shared"}},
    alias=lambda task, hp: "single" if task.params["scale"] == 1 and hp["model"] == "dnn" else None,
    counterpart="single",
)
def multi(data, hp, ctx):
    return 0.6 + data["scale"] / 100 + ctx.seed / 1000


@method("grids", name="Prior", deterministic=True)
def prior(data, hp, ctx):
    return 0.5


@method(
    "grids", name="Small only", skip=lambda task, run, hp: "too large" if task.params["scale"] > 1 else None
)
def small(data, hp, ctx):
    return 0.4
