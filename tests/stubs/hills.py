"""A track whose score is a known function of what a search varies, for searches and the rules of boards."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.contract import Metric, Score, Space, Task, Track, method


@dataclass(frozen=True)
class Grid:
    scales: tuple[int, ...] = (1, 4)


@dataclass(frozen=True)
class Run:
    rate: float = 0.1
    epochs: int = 3


class Hills(Track):
    name = "hills"
    metrics = (Metric(name="value", better="higher", digits=3),)
    reference = "plain"
    Grid, Run = Grid, Run

    def tasks(self, grid):
        return [Task(name=f"hill-{s}x", params={"scale": s}) for s in grid.scales]

    def load(self, task, run, inputs):
        return task.params["scale"]

    def truth(self, task, run, inputs):
        return 1.0

    def score(self, task, answer, truth, history):
        test, validation = answer
        return Score(metrics={"value": test, **({} if validation is None else {"val_value": validation})})

    def smoke(self):
        return Grid(scales=(1,)), Run()


TRACK = Hills()


def height(x: float) -> float:
    """A hill whose top is at 1/30, on a logarithmic scale."""
    return -abs(math.log10(x) + 1.5)


@method("hills", name="Plain", hp={"lr": Space(default=0.1, low=0.01, high=1.0, log=True)})
def plain(data, hp, ctx):
    """Validation falls with the test score, so that the two rules choose otherwise."""
    return height(hp["lr"]) + ctx.seed / 100, -height(hp["lr"])


@method("hills", name="Rate", run_spaces={"rate": Space(low=0.01, high=1.0, log=True)})
def rate(data, hp, ctx):
    return height(ctx.run.rate), height(ctx.run.rate)


@method(
    "hills",
    name="Same",
    hp={"lr": Space(default=0.1, low=0.01, high=1.0, log=True)},
    alias=lambda task, hp: "plain" if task.params["scale"] == 1 else None,
)
def same(data, hp, ctx):
    return height(hp["lr"]), height(hp["lr"])


@method("hills", name="Unscored", hp={"lr": Space(default=0.1, low=0.01, high=1.0, log=True)})
def unscored(data, hp, ctx):
    return height(hp["lr"]), None


@method("hills", name="Fixed", deterministic=True)
def fixed(data, hp, ctx):
    return -1.0, -1.0
