"""The contrastive pre-training of the project's own dual encoder: a stage.

What comes out is CLIP-style and is never called CLIP. `SEEN` says what it has been shown; no picture of an
evaluation family is among it, in any style, and of the emoji styles only Twemoji.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from bench.contract import Embedded, Needs, Stage, StageContext
from bench.data.drawings import emoji
from bench.tracks.common.embedded import embedded_weights
from bench.tracks.ood.pretraining.settings import Recipe
from bench.tracks.ood.sources import emoji_split

#: For the board: everything that the laptop's model has seen before a method gets it.
SEEN = (
    "ImageNet-1k, by the image tower's first weights (EfficientNet-Lite0)",
    "English text, by the text tower, which stays as it is (all-MiniLM-L6-v2)",
    "Twemoji pictures of the pre-training families with their names and class words;"
    " none of an evaluation family",
    "9,511 icons in one colour with their file names (Material Design Icons, Font Awesome Free, Octicons):"
    " other drawings by other artists, also of things that evaluation emoji show",
)
FILE = "clip_lite.safetensors"


def build(ctx: StageContext) -> None:
    """Train the encoder, and write its image tower, projections and scale in half precision."""
    from bench.tracks.ood.nets import clip
    from bench.tracks.ood.pretraining import contrastive

    recipe = Recipe(**ctx.params["recipe"])
    model = clip.lite(dim=recipe.dim).to(ctx.device)
    contrastive.train(model, contrastive.pairs(recipe), recipe, ctx.log.info)
    model.save(ctx.outdir / FILE, half=True, about={"recipe": STAGE.address})


STAGE = Stage(
    name="clip-lite",
    build=build,
    # What it is shown is part of what it is: with another cut it may have seen today's evaluation.
    params={
        "recipe": asdict(Recipe()),
        "cut": dict(emoji_split.SHARES),
        "cut_seed": emoji_split.SEED,
        "pictures": emoji.VERSION,
    },
    needs=Needs(mem_gb=4, minutes=90),
)


def embedded(file: Path) -> Embedded:
    """The weights that travel with the package; their file was written when addresses named modules."""
    return embedded_weights(STAGE, file, STAGE.address_by("bench.tracks.ood.pretrain:build"))
