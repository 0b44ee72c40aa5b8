"""A track with torch: what an evaluation does to a model, what a checkpoint holds, what a method can see."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from bench.contract import Metric, Score, Task, Track, method


@dataclass(frozen=True)
class Grid:
    pass


@dataclass(frozen=True)
class Run:
    look: bool = True
    kill: str = ""
    opened: str = ""


def note(run, what):
    """The order of what happens, across the processes of a test."""
    if run.opened:
        with Path(run.opened).open("a") as f:
            f.write(what + "\n")


class Watched(Track):
    name = "watched"
    metrics = (Metric(name="value", better="higher"), Metric(name="weights", better="neither"))
    reference = "trained"
    Grid, Run = Grid, Run
    preload = ("torch",)

    def tasks(self, grid):
        return [Task(name="one")]

    def load(self, task, run, inputs):
        note(run, "load")
        return run

    def truth(self, task, run, inputs):
        note(run, "truth")
        return run

    def score(self, task, answer, truth, history):
        """Draws from everything that can be drawn from, and leaves the model in another mode."""
        import random

        import numpy as np
        import torch

        note(truth, "score")
        net = answer
        net.eval()
        drawn = random.random() + np.random.rand() + float(torch.rand(1))
        total = sum(float(p.detach().double().sum()) for p in net.parameters())
        assert not net.training
        return Score(metrics={"value": 1.0 + 0 * drawn, "weights": total})

    def smoke(self):
        return Grid(), Run()


TRACK = Watched()


@method("watched", name="Trained")
def trained(data, hp, ctx):
    """Ten steps with dropout and random inputs from all three generators; goes on from a checkpoint."""
    import random

    import numpy as np
    import torch

    net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    state = ctx.restore()
    start = 0
    if state is not None:
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    note(data, f"run from {start}")
    for step in range(start, 10):
        x = torch.randn(16, 8) + random.random() + np.random.rand()
        loss = net(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ctx.report(loss=loss.item())
        assert net.training
        if step in (2, 5) and data.look:
            ctx.snapshot(step, net)
        if step == 6:
            ctx.checkpoint({"net": net.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1})
            if data.kill and state is None:
                os.kill(os.getpid(), signal.SIGKILL)
    note(data, "return")
    return net


@method("watched", name="Keeps an array")
def array(data, hp, ctx):
    """A checkpoint that could not be read back must be refused when it is made, not after the kill."""
    import numpy as np
    import torch

    ctx.checkpoint({"mean": np.float64(0.5)})
    return torch.nn.Linear(1, 1)
