"""The trained diffusion network that rows share which differ in sampling only: one for each task and seed.

A stage knows no seed, so it has a shard for each of the first `NETWORKS` seeds.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contract import BenchError, Context, Needs, Stage, StageContext, Task
from bench.tracks.forecasting import settings
from bench.tracks.forecasting.settings import Run
from bench.tracks.forecasting.sources.by_name import source_of

if TYPE_CHECKING:
    import numpy as np

    from bench.tracks.forecasting.data import ForecastingData
    from bench.tracks.forecasting.nets.diffusing import Forecaster

NETWORK, FILE, FACTS = "forecasting-diffusion", "network.safetensors", "facts.json"
#: Seeds, from 0, for which there is a network.
NETWORKS = 3
#: Validation windows, and members of each, by which the weight of constant guidance is chosen.
TRIED, TRIED_MEMBERS = 16, 4


def network(task: Task, run: Run) -> Sequence[Stage]:
    """The stage of a task's networks."""
    source = source_of(task.params["dataset"])
    return (
        Stage(
            name=NETWORK,
            build=build,
            params={
                "task": {"name": task.name, "params": dict(task.params), "data": task.data},
                "run": asdict(run),
                "recipe": json.loads(json.dumps(asdict(settings.recipe(task.params["dataset"], run)))),
                "data": source.fingerprint(task, run) if source.missing(task, run) is None else None,
            },
            needs=Needs(mem_gb=4, minutes=60),
            shards=NETWORKS,
            stages=tuple(source.stages(task, run)),
        ),
    )  # fmt: skip


def build(ctx: StageContext) -> None:
    """Train the network of the shard's seed; write its weights, and the best weight of constant guidance.

    Raises:
        BenchError: the loss was not finite.
    """
    from bench.tracks.forecasting.nets.diffusing import Forecaster
    from bench.tracks.forecasting.track import TRACK
    from bench.tracks.forecasting.training import Windows

    task, run = Task(**ctx.params["task"]), Run(**ctx.params["run"])
    seed = task.stream(ctx.shard)
    data = TRACK.load(task, run, _OfStage(ctx))
    import torch

    torch.manual_seed(seed)
    forecaster = Forecaster(Windows(data), ctx.device)
    if not forecaster.fit(_Training(seed, ctx.device, run, ctx.log)):
        raise BenchError(f"forecasting: the diffusion network of {task.name}, seed {ctx.shard}, diverged")
    forecaster.save(ctx.outdir / FILE)
    tried = tried_on_validation(forecaster, data, seed)
    facts = {
        "seed": seed,
        "crps": {str(w): v for w, v in tried.items()},
        "best": min(tried, key=tried.__getitem__),
    }
    (ctx.outdir / FACTS).write_text(json.dumps(facts))


def tried_on_validation(forecaster: Forecaster, data: ForecastingData, seed: int) -> dict[float, float]:
    """Weight of constant guidance -> CRPS of validation windows, on the task's scale."""
    from bench.tracks.forecasting import metrics
    from bench.tracks.forecasting.scale import scaled, unscaled

    rows, frames = validation(data)
    target = scaled(data.val.targets, data.transform)[rows]
    found = {}
    for w in data.recipe.assumed.guidance:
        members = forecaster.sample(
            frames, members=TRIED_MEMBERS, steps=data.recipe.assumed.sampling_steps, seed=seed,
            weight=lambda estimates, t, w=w: w,
        ).members  # fmt: skip
        forecast = (
            target.expand_dims(member=TRIED_MEMBERS).transpose("window", "member", ...).copy(data=members)
        )
        # As it is scored: rain below the floor is at it.
        forecast = scaled(unscaled(forecast, data.transform), data.transform)
        found[w] = float(metrics.crps(forecast, target).mean())
    return found


def validation(data: ForecastingData) -> tuple[np.ndarray, np.ndarray]:
    """The validation windows by which guidance is set, at most `TRIED`, evenly among all; their frames."""
    import numpy as np

    from bench.tracks.forecasting.rows.forecasts import observed

    n = len(data.val)
    rows = np.unique(np.linspace(0, n - 1, min(n, TRIED)).round().astype(int))
    return rows, observed(data.val.inputs, data)[rows]


def load(ctx: Context, data: ForecastingData) -> tuple[Forecaster, float]:
    """The network of the cell's seed, and the weight of constant guidance that was best on validation.

    For methods that declare the stage `network`.

    Raises:
        BenchError: there is no network of this seed.
    """
    from bench.tracks.forecasting.nets.diffusing import Forecaster
    from bench.tracks.forecasting.training import Windows

    folder = ctx.stage(NETWORK)
    for shard in range(NETWORKS):
        facts: Mapping[str, Any] = json.loads((folder / str(shard) / FACTS).read_text())
        if facts["seed"] == ctx.seed:
            forecaster = Forecaster(Windows(data), ctx.device)
            forecaster.load(folder / str(shard) / FILE)
            return forecaster, float(facts["best"])
    raise BenchError(
        f"forecasting: the rows of a seed share a diffusion network, and there are those of the seeds 0 to"
        f" {NETWORKS - 1}; raise NETWORKS in bench/tracks/forecasting/stages.py for more"
    )


@dataclass(slots=True)
class _OfStage:
    """The `Inputs` of a cell, for a stage: splits of the track do not depend on the seed."""

    ctx: StageContext
    seed: None = None

    @property
    def device(self) -> str:
        return self.ctx.device

    def stage(self, name: str) -> Path:
        return self.ctx.stage(name)


@dataclass(slots=True)
class _Training:
    """What a training asks of a cell's context, for a stage, which has no checkpoints."""

    seed: int
    device: str
    run: Run
    log: logging.Logger
    amp: bool = False
    workdir: Path = Path()

    def stage(self, name: str) -> Path:
        raise KeyError(name)

    def snapshot(self, step: int, answer: Any) -> None:
        """No answer is scored in a stage."""

    def checkpoint(self, state: Mapping[str, Any]) -> None:
        """A killed stage starts anew."""

    def restore(self) -> None:
        return None

    def report(self, **numbers: float) -> None:
        self.log.info(", ".join(f"{k} {v:.4g}" for k, v in numbers.items()))
