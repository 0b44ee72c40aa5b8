"""The pre-training of the laptop's own diffusion transformer: a stage, with all of its recipe here.

The network is trained on Twemoji, OpenMoji and Noto Emoji without the flags, each with its category for a
class. So it has seen the emoji that the targets "fluent-flat", "fluent-3d" and "line-art" show, by other
artists or in colour; of the other targets it has seen nothing.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bench.contract import Embedded, Needs, Stage, StageContext
from bench.data.drawings import emoji
from bench.data.transfer import sets as transfer_sets
from bench.tracks.common.embedded import embedded_weights

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.dit_transfer.nets.dit import DiT

FILE = "dit_lite.safetensors"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How it is trained: noise predicted, with Min-SNR's weights, by AdamW without weight decay.

    ``layers``, ``width``, ``heads``, ``patch``: of the network. ``steps`` of ``batch`` pictures. ``lr``:
    rises over ``warmup`` steps and falls along a cosine. ``snr``: Min-SNR's gamma. ``drop``: share of labels
    dropped. ``average``: decay a step of the moving average, whose weights are written.
    """

    layers: int = 4
    width: int = 128
    heads: int = 2
    patch: int = 4
    steps: int = 18_000
    batch: int = 64
    lr: float = 1e-3
    warmup: int = 200
    snr: float = 5.0
    drop: float = 0.1
    average: float = 0.999
    seed: int = 0


def build(ctx: StageContext) -> None:
    """Train, and write the averaged weights in half precision."""
    import torch

    from bench.nn.diffusion import from_pictures

    recipe = Recipe(**ctx.params["recipe"])
    source = transfer_sets.source()
    x, y = from_pictures(source.images), torch.from_numpy(source.label)
    model = _trained(recipe, x, y, len(source.classes), ctx)
    model.save(ctx.outdir / FILE, half=True, about={"recipe": STAGE.address})


STAGE = Stage(
    name="dit-lite",
    build=build,
    params={
        "recipe": asdict(Recipe()),
        "styles": list(transfer_sets.SOURCE_STYLES),
        "pictures": emoji.VERSION,
    },
    needs=Needs(cpu=2, mem_gb=4, minutes=120),
)


def _trained(recipe: Recipe, x: Tensor, y: Tensor, classes: int, ctx: StageContext) -> DiT:
    import torch
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    from bench.nn.diffusion import Diffusion, drop_labels, min_snr
    from bench.tracks.dit_transfer.nets.dit import DiT, DiTConfig

    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    config = DiTConfig(
        size=transfer_sets.SIDE, classes=classes, layers=recipe.layers, width=recipe.width,
        heads=recipe.heads, patch=recipe.patch,
    )  # fmt: skip
    model = DiT(config).to(ctx.device)
    law: Any = get_ema_multi_avg_fn
    average = AveragedModel(model, multi_avg_fn=law(recipe.average))
    model.net.compile()  # a quarter faster; the steps of a cell are too few for it
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=0.0, fused=True)
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: _rate(k, recipe))
    diffusion, total = Diffusion(), 0.0
    for step in range(recipe.steps):
        rows = torch.randint(len(x), (recipe.batch,), generator=generator)
        t = torch.randint(diffusion.schedule.steps, (recipe.batch,), generator=generator)
        labels = drop_labels(y[rows], model.null, recipe.drop, generator).to(ctx.device)
        noise = torch.randn(recipe.batch, *model.shape, generator=generator).to(ctx.device)
        t = t.to(ctx.device)
        with torch.autocast(ctx.device, torch.bfloat16):
            losses = diffusion.losses(model, x[rows].to(ctx.device), labels, t, noise)
        torch.autograd.backward((losses * min_snr(diffusion.snr(t), recipe.snr)).mean())
        optimiser.step()
        optimiser.zero_grad()
        rate.step()
        average.update_parameters(model)
        total += float(losses.detach().mean())
        if (step + 1) % 200 == 0:
            ctx.log.info("step %d of %d: mean squared error %.4f", step + 1, recipe.steps, total / 200)
            total = 0.0
    return cast(DiT, average.module)


def _rate(step: int, recipe: Recipe) -> float:
    rise = min(1.0, (step + 1) / recipe.warmup)
    return rise * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))


def embedded(file: Path) -> Embedded:
    """The weights that travel with the package; their file was written when addresses named modules."""
    return embedded_weights(STAGE, file, STAGE.address_by("bench.tracks.dit_transfer.pretrain:build"))
