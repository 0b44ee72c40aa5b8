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

if TYPE_CHECKING:
    from torch import Tensor

#: The picture sets that have a base.
SETS = ("photo", "relief")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a base is trained: the velocity predicted, by AdamW without weight decay.

    ``widths``: of the network's levels. ``steps`` of ``batch`` pictures. ``lr``: rises over ``warmup`` steps
    and falls along a cosine. ``average``: decay a step of the moving average, whose weights are written.
    """

    widths: tuple[int, ...] = (16, 32, 32)
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
    return Stage(
        name=f"controlnet-{name}",
        build=build,
        params={
            "recipe": {**asdict(Recipe()), "widths": list(Recipe().widths)},
            "set": name,
            "tiles": tiles.VERSION,
        },
        needs=Needs(cpu=1, mem_gb=4, minutes=240),
    )  # fmt: skip


def build(ctx: StageContext) -> None:
    """Train, and write the averaged weights in half precision."""
    from bench.tracks.controlnet.nets import unet

    recipe = Recipe(**{**ctx.params["recipe"], "widths": tuple(ctx.params["recipe"]["widths"])})
    name = str(ctx.params["set"])
    found = tiles.read(name)
    config = unet.UNetConfig(widths=recipe.widths)
    net = trained(recipe, found.picture[found.part == "train"], config, ctx)
    unet.save(net, ctx.outdir / weights(name).name, {"recipe": stage(name).address})


def trained(recipe: Recipe, pictures: Any, config: Any, ctx: StageContext) -> Any:
    """A base network that is trained on pictures (n, 32, 32, 3) uint8, with the average of its weights."""
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

    def predict(noised: Tensor, t: Tensor, y: Tensor) -> Tensor:
        out: Tensor = net(noised, t, text, return_dict=False)[0]
        return out

    total = 0.0
    for step in range(recipe.steps):
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
    average.assign()
    return net


def _rate(step: int, recipe: Recipe) -> float:
    rise = min(1.0, (step + 1) / recipe.warmup)
    return rise * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))


def embedded() -> tuple[Embedded, ...]:
    """The weights that travel with the package."""
    stages = ((stage(name), weights(name)) for name in SETS)
    return tuple(embedded_weights(s, file, s.address) for s, file in stages)
