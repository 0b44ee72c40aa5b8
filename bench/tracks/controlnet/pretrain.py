"""The pre-training of the laptop's two base networks: a stage each, with all of its recipe here.

One is trained on tiles of the satellite photograph, the other on tiles of the relief map, those for training
alone, without any condition.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contract import Embedded, Needs, Stage, StageContext
from bench.data import EMBEDDED
from bench.data.earth import tiles
from bench.tracks.common.embedded import embedded_weights
from bench.tracks.controlnet.settings import NOISE, UNetConfig

if TYPE_CHECKING:
    import numpy as np
    from torch import Generator, Tensor

    from bench.tracks.common.steps import Stateful

#: The picture sets that have a base.
SETS = ("photo", "relief")
#: Steps between two checkpoints of a training, and their file, which is gone when the training has ended.
CHECKPOINT, CHECKPOINT_FILE = 1_000, "checkpoint.pt"
#: Raise where the code below changes what comes out of it, such as the law of the learning rate.
VERSION = 1


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a base is trained: by AdamW without weight decay.

    ``steps`` of ``batch`` pictures. ``lr``: rises evenly over ``warmup`` steps and falls along a cosine.
    ``average``: decay at each step of the moving average, whose weights are written.
    """

    steps: int = 15_000
    batch: int = 16
    lr: float = 1e-3
    warmup: int = 200
    average: float = 0.999
    seed: int = 0


def weights(name: str) -> Path:
    """The file of a base's weights, which travels with the package."""
    return EMBEDDED / f"controlnet_{name}.safetensors"


def stage(name: str) -> Stage:
    """The stage that trains the base of a picture set."""
    net = UNetConfig()
    return Stage(
        name=f"controlnet-{name}",
        build=build,
        params={
            "recipe": asdict(Recipe()), "net": {**asdict(net), "widths": list(net.widths)},
            "noise": dict(NOISE), "set": name, "tiles": tiles.VERSION,
        },
        version=VERSION,
        needs=Needs(cpu=1, mem_gb=4, minutes=240),
    )  # fmt: skip


def build(ctx: StageContext) -> None:
    """Train, and write the averaged weights in half precision."""
    from bench.tracks.controlnet.nets import unet

    name, net = str(ctx.params["set"]), ctx.params["net"]
    found = tiles.read(name)
    config = UNetConfig(**{**net, "widths": tuple(net["widths"])})
    base = trained(Recipe(**ctx.params["recipe"]), found.picture[found.part == "train"], config, ctx)
    unet.save(base, ctx.outdir / weights(name).name, {"recipe": stage(name).address})


def trained(recipe: Recipe, pictures: np.ndarray, config: UNetConfig, ctx: StageContext) -> Any:
    """A base network that is trained on pictures (n, 32, 32, 3) uint8, with the average of its weights.

    A training that was killed goes on from the last checkpoint in the folder of the stage, if there is one,
    to the same weights.
    """
    import torch

    from bench.nn.averaging import ExponentialAverage
    from bench.nn.diffusion import Diffusion, from_pictures
    from bench.tracks.controlnet.nets import unet

    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    net, x, diffusion = unet.unet(config).to(ctx.device), from_pictures(pictures), Diffusion(unet.SCHEDULE)
    text = unet.null_text(recipe.batch, config).to(ctx.device)
    average = ExponentialAverage(net.parameters(), recipe.average)
    optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.lr, weight_decay=0.0, fused=True)
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: _rate(k, recipe))
    state: dict[str, Stateful] = {"net": net, "average": average, "optimiser": optimiser, "rate": rate}

    def predict(noised: Tensor, t: Tensor, y: Tensor) -> Tensor:
        out: Tensor = net(noised, t, text, return_dict=False)[0]
        return out

    total = 0.0
    for step in range(_resumed(state, generator, ctx), recipe.steps):
        rows = torch.randint(len(x), (recipe.batch,), generator=generator)
        t = torch.randint(diffusion.schedule.steps, (recipe.batch,), generator=generator).to(ctx.device)
        noise = torch.randn(recipe.batch, *x.shape[1:], generator=generator).to(ctx.device)
        clean = x[rows].to(ctx.device).contiguous(memory_format=torch.channels_last)
        loss = diffusion.losses(predict, clean, t, t, noise).mean()
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        rate.step()
        average.move(1 - min(recipe.average, (1 + step) / (10 + step)))  # at first it follows faster
        total += float(loss.detach())
        if (step + 1) % 200 == 0:
            ctx.log.info("step %d of %d: mean squared error %.4f", step + 1, recipe.steps, total / 200)
            total = 0.0
        if (step + 1) % CHECKPOINT == 0:
            _keep(step + 1, state, generator, ctx)
    average.assign()
    (ctx.outdir / CHECKPOINT_FILE).unlink(missing_ok=True)
    return net


def _keep(done: int, state: dict[str, Stateful], generator: Generator, ctx: StageContext) -> None:
    """Write a checkpoint after so many steps in the place of the last one."""
    import torch

    whole = {name: part.state_dict() for name, part in state.items()}
    new = ctx.outdir / f"{CHECKPOINT_FILE}.new"
    torch.save({"done": done, "state": whole, "random": generator.get_state()}, new)
    new.replace(ctx.outdir / CHECKPOINT_FILE)


def _resumed(state: dict[str, Stateful], generator: Generator, ctx: StageContext) -> int:
    """How many steps were done by the checkpoint in the stage's folder, from which it goes on; or 0."""
    import torch

    file = ctx.outdir / CHECKPOINT_FILE
    if not file.is_file():
        return 0
    saved = torch.load(file, weights_only=True, map_location=ctx.device)
    for name, part in state.items():
        part.load_state_dict(saved["state"][name])
    generator.set_state(saved["random"].cpu())
    ctx.log.info("goes on after step %d", saved["done"])
    return int(saved["done"])


def _rate(step: int, recipe: Recipe) -> float:
    rise = min(1.0, (step + 1) / recipe.warmup)
    return rise * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))


def embedded() -> tuple[Embedded, ...]:
    """The weights that travel with the package."""
    stages = ((stage(name), weights(name)) for name in SETS)
    return tuple(embedded_weights(s, file, s.address) for s, file in stages)
