"""Contrastive training on pairs of a picture and a caption: data, batches, loss, loop.

The text tower is frozen but for its projection, so every caption goes through it once, before the first step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contract import digest
from bench.data.drawings import emoji, icons
from bench.data.drawings.sheets import SIDE
from bench.tracks.ood.nets.clip import DualEncoder
from bench.tracks.ood.pretraining.augmentation import augmented, coloured
from bench.tracks.ood.pretraining.settings import Recipe
from bench.tracks.ood.sources import emoji_split

Log = Callable[..., None]
#: Steps between two evaluations on the held-out families.
EVALUATE_EVERY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Pictures and captions to train on, and pictures to evaluate on.

    ``pictures``: n pictures (n, 64, 64, 3) uint8 of Twemoji, each with its ``captions``. ``icons``: with
    theirs. ``check``: pictures (m, 64, 64, 3) uint8 of held-out families of Twemoji, with ``check_words``
    (m,), the words of their classes.
    """

    pictures: np.ndarray
    captions: Sequence[Sequence[str]]
    icons: icons.Icons
    icon_captions: Sequence[Sequence[str]]
    check: np.ndarray
    check_words: np.ndarray


def pairs(recipe: Recipe) -> Pairs:
    """All pairs of the recipe, out of the installed packages; reading them takes about a minute."""
    shown, held_out = pictures(recipe)
    named = icons.read(SIDE)
    return Pairs(
        pictures=shown.images,
        captions=[
            _captions(n, emoji_split.words(s)) for n, s in zip(shown.name, shown.subcategory, strict=True)
        ],
        icons=named,
        icon_captions=[(f"an emoji of {n}",) for n in named.names],
        check=held_out.images,
        check_words=np.array([emoji_split.words(s) for s in held_out.subcategory]),
    )


def pictures(recipe: Recipe) -> tuple[emoji.Pictures, emoji.Pictures]:
    """Twemoji's pictures of the pre-training families: those to train on, and the held-out ones.

    Country flags are left out: there are 258 of them, and not all styles have them.
    """
    seen = emoji_split.pretraining()
    drawn = emoji.read(["twemoji"], everything=True)
    mine = np.array([i in seen for i in drawn.id]) & (drawn.subcategory != "country-flag")
    drawn = drawn.where(mine)
    held_out = np.array([_share(f, recipe.seed) < recipe.held_out for f in drawn.family])
    return drawn.where(~held_out), drawn.where(held_out)


def _share(family: str, seed: int) -> float:
    return int(digest([seed, "held out", family]), 16) / 16**16


def _captions(name: str, words: str) -> tuple[str, ...]:
    return (
        f"an emoji of {name}",
        f"an emoji of {name}, {words}",
        f"an emoji of {words}",
        f"{words}: {name}",
    )


class Batches:
    """Random batches of pictures, and of what the text tower makes of one caption of each."""

    def __init__(self, model: DualEncoder, data: Pairs, recipe: Recipe) -> None:
        self._torch = torch.Generator().manual_seed(recipe.seed)
        self._numpy = np.random.default_rng(recipe.seed)
        self._data = data
        self._emoji = min(recipe.emoji, len(data.pictures))
        self._icons = min(recipe.batch - recipe.emoji, len(data.icons.names))
        self._emoji_texts = pooled(model, data.captions)
        self._icon_texts = pooled(model, data.icon_captions)

    def draw(self) -> tuple[Tensor, Tensor]:
        """The next batch: pictures (B, 3, H, W) in [0, 1], and texts (B, W), each before its projection."""
        data, g = self._data, self._torch
        few = self._numpy.choice(len(data.pictures), self._emoji, replace=False)
        many = self._numpy.choice(len(data.icons.names), self._icons, replace=False)
        pictures = _unit(data.pictures[few]).movedim(-1, 1)
        icons = coloured(_unit(data.icons.ink[many]), _unit(data.icons.inside[many]), g)
        texts = torch.cat([self._one(self._emoji_texts, few), self._one(self._icon_texts, many)])
        return augmented(torch.cat([pictures, icons]), g), texts

    def _one(self, texts: Tensor, which: np.ndarray) -> Tensor:
        """One caption, at random, of each chosen row of texts (n, k, W): (len(which), W)."""
        captions = torch.randint(texts.shape[1], (len(which),), generator=self._torch)
        return texts[torch.from_numpy(which), captions]


def _unit(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values).float() / 255


@torch.no_grad()
def pooled(model: DualEncoder, captions: Sequence[Sequence[str]]) -> Tensor:
    """What the text tower makes of n times k captions before its projection: (n, k, W)."""
    texts = sorted({c for of in captions for c in of}, key=lambda c: (len(c), c))  # equal lengths pad least
    parts = [model.text.pool(*model.embed_tokens(texts[i : i + 128])) for i in range(0, len(texts), 128)]
    at = {c: i for i, c in enumerate(texts)}
    return torch.cat(parts)[torch.tensor([[at[c] for c in of] for of in captions])]


def contrast(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Symmetric InfoNCE, a scalar, of image features (B, D) and text features (B, D), all of length 1.

    Row i of both is a pair. Where texts in a batch are equal, none of them counts as wrong for another's
    picture.
    """
    logits = scale * images @ texts.T
    same = (texts @ texts.T).detach() > 1 - 1e-5
    same.fill_diagonal_(False)
    logits = logits.masked_fill(same, -torch.inf)
    pair = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, pair) + F.cross_entropy(logits.T, pair)) / 2


def train(model: DualEncoder, data: Pairs, recipe: Recipe, log: Log) -> None:
    """Train the image tower from `Recipe.first_block` on, both projections and the scale, in place.

    Args:
        model: starts from ImageNet's weights.
        data: what is trained and evaluated on.
        recipe: how.
        log: takes a message with its arguments, as `logging.Logger.info` does.
    """
    tower, heads = _unfrozen(model, recipe)
    scale = nn.Parameter(torch.tensor(math.log(recipe.scale), device=model.device))
    groups = [
        {"params": tower, "lr": recipe.lr, "weight_decay": recipe.weight_decay},
        {"params": heads, "lr": recipe.head_lr, "weight_decay": recipe.weight_decay},
        {"params": [scale], "lr": recipe.head_lr, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, recipe))
    batches = Batches(model, data, recipe)
    model.visual.to(memory_format=torch.channels_last)
    for step in range(1, recipe.steps + 1):
        x, texts = (v.to(model.device) for v in batches.draw())
        x = model.preprocess.normalise(x).contiguous(memory_format=torch.channels_last)
        features = F.normalize(model.text.project(texts), dim=-1)
        loss = contrast(model.image_features(x), features, scale.exp())
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        if step % EVALUATE_EVERY == 0 or step == recipe.steps:
            model.logit_scale = float(scale.detach().exp())
            plain, balanced = check(model, data)
            log("step %d: loss %.3f, scale %.1f, held-out zero-shot %.3f, balanced %.3f",
                step, loss.item(), model.logit_scale, plain, balanced)  # fmt: skip
    model.visual.to(memory_format=torch.contiguous_format)
    model.eval()
    model.freeze()


def _unfrozen(model: DualEncoder, recipe: Recipe) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The trained parameters of the tower, and those of both projections.

    Batch statistics of the trained blocks are trained with them.
    """
    trunk: nn.Module = model.visual.get_submodule("trunk")
    blocks = list(trunk.get_submodule("blocks").children())
    parts = blocks[recipe.first_block :] if recipe.first_block <= len(blocks) else []
    if parts or recipe.first_block == len(blocks):
        parts += [trunk.get_submodule(n) for n in ("conv_head", "bn2")]
    if recipe.first_block == 0:
        parts = [trunk]
    for part in parts:
        part.train()
        part.requires_grad_(True)
    heads = [*model.visual.get_submodule("head").parameters(), *model.text.projection().values()]
    for p in heads:
        p.requires_grad_(True)
    return [p for part in parts for p in part.parameters()], [p for p in heads if isinstance(p, nn.Parameter)]


def _rate(step: int, recipe: Recipe) -> float:
    """The share of the learning rate at a step; steps count from 0."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    return 0.5 * (1 + math.cos(math.pi * (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)))


def check(model: DualEncoder, data: Pairs) -> tuple[float, float]:
    """Zero-shot accuracy on the held-out families over all their classes, plain and class-balanced."""
    words = sorted(set(data.check_words))
    return zero_shot(model, data.check, np.searchsorted(words, data.check_words), words)


def zero_shot(
    model: DualEncoder, pictures: np.ndarray, labels: np.ndarray, words: Sequence[str]
) -> tuple[float, float]:
    """Zero-shot accuracy with the prompts ``an emoji of {word}``, and its mean over classes.

    Args:
        model: any dual encoder.
        pictures: (n, H, W, 3) uint8.
        labels: (n,) positions in ``words``.
        words: what each class is called.
    """
    training = {m for m in model.visual.modules() if m.training}
    model.eval()
    with torch.no_grad():
        prompts = model.text.pool(*model.embed_tokens([f"an emoji of {w}" for w in words]))
        texts = F.normalize(model.text.project(prompts), dim=-1)
        parts = [model.image_features(model.preprocess(p).to(model.device)) for p in _chunks(pictures)]
        right = (torch.cat(parts) @ texts.T).argmax(1).cpu().numpy() == labels
    for m in training:
        m.training = True
    return float(right.mean()), float(np.mean([right[labels == k].mean() for k in np.unique(labels)]))


def _chunks(pictures: np.ndarray) -> list[np.ndarray]:
    return [pictures[i : i + 256] for i in range(0, len(pictures), 256)]
