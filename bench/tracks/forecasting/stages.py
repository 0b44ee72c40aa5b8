"""The trained diffusion network that rows share which differ in sampling only: one for each task and seed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contract import BenchError, Context, Needs, Stage, StageContext, Task
from bench.tracks.forecasting import settings
from bench.tracks.forecasting.settings import Run
from bench.tracks.forecasting.sources.by_name import given, source_of

if TYPE_CHECKING:
    from bench.tracks.forecasting.data import ForecastingData
    from bench.tracks.forecasting.nets.diffusing import Forecaster, Weight

NETWORK, FILE, FACTS = "forecasting-diffusion", "network.safetensors", "facts.json"
#: Chains by which a weight of guidance is tried or set: as many members of each validation window as make so
#: many, from two to those of a forecast.
CHAINS = 64
#: What training takes: on a core, and of the paper's kinds of data, with the larger network, on a GPU.
_NEEDS, _NEEDS_OF_PAPER = Needs(mem_gb=4, minutes=60), Needs(cpu=4, gpu=1, mem_gb=32, minutes=1440)


def network(task: Task, run: Run) -> Sequence[Stage]:
    """The stage of a task's network, another one for each seed."""
    if task.brought:
        return _network_of_brought(task, run)
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
            needs=_NEEDS_OF_PAPER if task.params["dataset"] in settings.PAPER else _NEEDS,
            stages=tuple(source.stages(task, run)),
            per_seed=True,
        ),
    )  # fmt: skip


def _network_of_brought(task: Task, run: Run) -> Sequence[Stage]:
    """The same on fields of the user's own."""
    from bench.tracks.forecasting.sources import brought

    here = brought.missing(task, run) is None
    params = {
        "task": {"name": task.name, "params": dict(task.params), "data": task.data, "brought": task.brought},
        "run": asdict(run), "recipe": json.loads(json.dumps(asdict(brought.recipe(task, run)))),
        "data": brought.fingerprint(task, run) if here else None,
    }  # fmt: skip
    return (Stage(name=NETWORK, build=build_brought, params=params, needs=_NEEDS, per_seed=True),)


def build(ctx: StageContext) -> None:
    """Train the network of a seed; write its weights, and the best weight of constant guidance.

    Raises:
        BenchError: the loss was not finite.
    """
    task, run = Task(**ctx.params["task"]), Run(**ctx.params["run"])
    # Not through the track, whose `score` a network does not depend on.
    _train(ctx, task, run, lambda: given(task, run, _OfStage(ctx.device, ctx.stage)))


def build_brought(ctx: StageContext) -> None:
    """The same on fields of the user's own."""
    from bench.tracks.forecasting.sources import brought

    task, run = Task(**ctx.params["task"]), Run(**ctx.params["run"])
    _train(ctx, task, run, lambda: brought.given(task, run, _OfStage(ctx.device, ctx.stage)))


def _train(ctx: StageContext, task: Task, run: Run, read: Callable[[], ForecastingData]) -> None:
    import torch

    from bench.tracks.forecasting.nets.diffusing import Forecaster
    from bench.tracks.forecasting.training import Windows

    seed = task.stream(ctx.seed)
    torch.manual_seed(seed)
    data = read()
    forecaster = Forecaster(Windows(data), ctx.device)
    if not forecaster.fit(_Training(seed, ctx.device, run, ctx.log)):
        raise BenchError(f"forecasting: the diffusion network of {task.name}, seed {ctx.seed}, diverged")
    forecaster.save(ctx.outdir / FILE)
    tried = tried_on_validation(forecaster, data, seed)
    facts = {"crps": {str(w): v for w, v in tried.items()}, "best": min(tried, key=tried.__getitem__)}
    (ctx.outdir / FACTS).write_text(json.dumps(facts))


def tried_on_validation(forecaster: Forecaster, data: ForecastingData, seed: int) -> dict[float, float]:
    """Weight of constant guidance -> CRPS of validation windows, on the task's scale."""
    from bench.tracks.forecasting import metrics
    from bench.tracks.forecasting.rows.forecasts import observed
    from bench.tracks.forecasting.scale import scaled, unscaled

    frames, m = observed(data.val.inputs, data), tried_members(data)
    target = scaled(data.val.targets, data.transform)
    found = {}
    for w in data.recipe.assumed.guidance:
        members = forecaster.sample(
            frames, members=m, steps=data.recipe.assumed.sampling_steps, seed=seed,
            weight=_constant(w),
        ).members  # fmt: skip
        forecast = target.expand_dims(member=m).transpose("window", "member", ...).copy(data=members)
        # As it is scored: rain below the floor is at it.
        forecast = scaled(unscaled(forecast, data.transform), data.transform)
        each = metrics.crps(forecast, target).mean("lead")
        found[w] = float(metrics.weighted(each, data.val_weights))
    return found


def _constant(w: float) -> Weight:
    return lambda estimates, t: w


def tried_members(data: ForecastingData) -> int:
    """Members of each validation window by which guidance is set."""
    return min(max(2, CHAINS // len(data.val)), data.members)


def load(ctx: Context, data: ForecastingData) -> tuple[Forecaster, float]:
    """The network of the cell's seed, and the weight of constant guidance that was best on validation.

    For methods that declare the stage `network`.
    """
    from bench.tracks.forecasting.nets.diffusing import Forecaster
    from bench.tracks.forecasting.training import Windows

    folder = ctx.stage(NETWORK)
    facts: Mapping[str, Any] = json.loads((folder / FACTS).read_text())
    forecaster = Forecaster(Windows(data), ctx.device)
    forecaster.load(folder / FILE)
    return forecaster, float(facts["best"])


@dataclass(slots=True)
class _OfStage:
    """The `Inputs` of a cell, for a stage: splits of the track do not depend on the seed."""

    device: str
    stage: Callable[[str], Path]
    seed: None = None


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
