"""A stub of image generation: a sampler is scored from stored statistics, and evaluated while it is trained.

Stages: ``encoder`` (the track's) writes a file; ``bank`` (a method's) is built in two shards that read it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.contract import AnswerError, Censored, Metric, Needs, Score, Stage, Task, Track, method

SIDE = 8


@dataclass(frozen=True)
class Grid:
    targets: tuple[str, ...] = ("bright", "dark")


@dataclass(frozen=True)
class Run:
    steps: int = 6
    samples: int = 64


def pretrain(ctx):
    """One file: where the source domain lies."""
    (ctx.outdir / "mean.txt").write_text(str(ctx.params["mean"]))


def bank(ctx):
    """One shard of a bank: samples around what the encoder knows."""
    mean = float((ctx.stage("encoder") / "mean.txt").read_text())
    rng = np.random.default_rng(100 * ctx.seed + ctx.shard)
    np.save(ctx.outdir / "samples.npy", rng.normal(mean, 10.0, 50))


ENCODER = Stage(name="encoder", build=pretrain, params={"mean": 120.0})
BANK = Stage(name="bank", build=bank, shards=2, stages=(ENCODER,), needs=Needs(minutes=1))


class Sampler(Track):
    name = "sampler"
    title = "A stub of image generation"
    metrics = (
        Metric(name="distance", better="lower", digits=2, doc="distance of the means of samples and target"),
        Metric(name="steps_to", better="lower", unit="steps", digits=0, censored=True),
    )
    reference = "full"
    Grid, Run = Grid, Run
    preload = ("xarray",)

    def tasks(self, grid):
        return [Task(name=t, params={"target": {"bright": 200.0, "dark": 40.0}[t]}) for t in grid.targets]

    def stages(self, task, run):
        return (ENCODER,)

    def load(self, task, run, inputs):
        start = float((inputs.stage("encoder") / "mean.txt").read_text())
        rng = np.random.default_rng(1)
        shape = (32, SIDE, SIDE, 3)
        return {"start": start, "train": rng.normal(task.params["target"], 5, shape), "steps": run.steps}

    def truth(self, task, run, inputs):
        return {"mean": task.params["target"], "samples": run.samples, "steps": run.steps}

    def score(self, task, answer, truth, history):
        if not callable(answer):
            raise AnswerError(f"expected sample(n, generator), found {type(answer).__name__}")
        images = answer(truth["samples"], np.random.default_rng(0))
        if images.dtype != np.uint8 or images.shape != (truth["samples"], SIDE, SIDE, 3):
            raise AnswerError(f"expected uint8 ({truth['samples']}, {SIDE}, {SIDE}, 3), found {images.shape}")
        distance = abs(float(images.mean()) - truth["mean"])
        reached = [s.step for s in history if s.metrics["distance"] < 10]
        import xarray as xr

        way = xr.DataArray(
            [s.metrics["distance"] for s in history],
            dims=["step"],
            coords={"step": [s.step for s in history]},
        )
        steps = float(min(reached)) if reached else Censored(float(truth["steps"]))
        views = {"samples": np.concatenate(list(images[:4]), axis=1)}
        return Score(metrics={"distance": distance, "steps_to": steps}, series={"way": way}, views=views)

    def smoke(self):
        return Grid(targets=("bright",)), Run(steps=3, samples=8)


TRACK = Sampler()


def _sampler(mean):
    def sample(n, generator):
        return np.clip(generator.normal(mean, 5.0, (n, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)

    return sample


@method("sampler", name="Full fine-tuning", hp={"rate": 0.6})
def full(data, hp, ctx):
    mean, target = data["start"], float(data["train"].mean())
    for step in range(1, data["steps"] + 1):
        mean += hp["rate"] * (target - mean) + np.random.normal(0, 0.1)
        ctx.report(step=step, gap=abs(target - mean))
        ctx.snapshot(step, _sampler(mean))
    return _sampler(mean)


@method(
    "sampler",
    name="With a bank",
    hp={"rate": 0.6, "weight": 0.05},
    variants={"no-bank": {"weight": 0.0}},
    stages=[BANK],
    counterpart="full",
)
def banked(data, hp, ctx):
    folder = ctx.stage("bank")
    kept = np.mean([np.load(folder / str(i) / "samples.npy").mean() for i in range(2)])
    target = (1 - hp["weight"]) * float(data["train"].mean()) + hp["weight"] * kept
    mean = data["start"]
    for step in range(1, data["steps"] + 1):
        mean += hp["rate"] * (target - mean)
        ctx.snapshot(step, _sampler(mean))
    return _sampler(mean)


@method("sampler", name="Untrained", deterministic=True)
def untrained(data, hp, ctx):
    return _sampler(data["start"])
