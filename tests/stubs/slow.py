"""Cells that take a while and say when they ran: each appends a line to a log that all share."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from bench.contract import Metric, Needs, Score, Task, Track, method


@dataclass(frozen=True)
class Grid:
    cells: int = 12


@dataclass(frozen=True)
class Run:
    seconds: float = 0.5
    log: str = ""
    until: str = ""  # a cell waits for this file, if one is named; "{i}" in it is the cell's number


class Slow(Track):
    name = "slow"
    metrics = (Metric(name="value", better="higher"),)
    reference = "sleeps"
    Grid, Run = Grid, Run

    def tasks(self, grid):
        return [Task(name=f"t{i:02}", params={"i": i}) for i in range(grid.cells)]

    def load(self, task, run, inputs):
        return task.params["i"], run

    def truth(self, task, run, inputs):
        return 1.0

    def score(self, task, answer, truth, history):
        return Score(metrics={"value": answer})

    def smoke(self):
        return Grid(cells=1), Run(seconds=0.0)


TRACK = Slow()


def _say(run, text):
    with Path(run.log).open("a") as f:
        f.write(f"{text} {os.getpid()}\n")


def work(data, ctx):
    i, run = data
    _say(run, f"start {i}")
    time.sleep(run.seconds)
    while run.until and not Path(run.until.format(i=i)).exists():
        time.sleep(0.02)
    _say(run, f"end {i}")
    return float(i)


@method("slow", name="Sleeps")
def sleeps(data, hp, ctx):
    return work(data, ctx)


@method("slow", name="Half a GPU", needs=Needs(gpu=0.5))
def half(data, hp, ctx):
    assert ctx.device == "cuda"
    return work(data, ctx)
