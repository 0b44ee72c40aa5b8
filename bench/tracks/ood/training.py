"""What the rows share: the pictures of each step, the optimiser, and the way in which a name becomes a logit.

AdamW with its rate falling along a cosine to 0, the network in evaluation mode throughout (its batch
statistics stay those of the pre-training), as many pictures from every source domain in each step.

Source: CLIPood (arXiv 2302.00864) and its released code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contract import BenchError, Context
from bench.tracks.common.steps import Stateful, Steps, Tensors, optimised
from bench.tracks.common.subsets import endless
from bench.tracks.ood.data import LabelledPictures, OodData
from bench.tracks.ood.nets.clip import DualEncoder
from bench.tracks.ood.scoring import BATCH, Predict

#: Training pictures (B, 3, S, S), preprocessed, and labels (B,) -> the loss.
Loss = Callable[[Tensor, Tensor], Tensor]
#: Parameters with their first learning rate.
Groups = Sequence[tuple[Sequence[nn.Parameter], float]]
#: Steps between two checkpoints.
CHECKPOINT = 500


def fit(
    model: DualEncoder,
    groups: Groups,
    loss: Loss,
    data: OodData,
    ctx: Context,
    *,
    after: Callable[[], None] | None = None,
    state: Sequence[Stateful] = (),
    adamw: Mapping[str, float] | None = None,
) -> float:
    """Train parameters on the source domains, in place, for the steps of the data set's recipe.

    Goes on from the last checkpoint of a killed cell. Stops when the loss is not finite.

    Args:
        model: its ``preprocess`` says what becomes of a picture.
        groups: groups of parameters, each with its first learning rate.
        loss: of a step's pictures (B, 3, S, S) and labels (B,), a scalar.
        data: what is trained on.
        ctx: of the cell.
        after: called after every step.
        state: what ``after`` changes, so that checkpoints hold it.
        adamw: settings of AdamW in place of the run's weight decay and of torch's defaults.

    Returns:
        wall seconds per optimisation step; see `Steps.seconds_per_step`.
    """
    settings = {"weight_decay": ctx.run.weight_decay, **(adamw or {})}
    optimizer = torch.optim.AdamW([{"params": list(p), "lr": lr} for p, lr in groups], fused=True, **settings)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, data.recipe.steps)

    def step(batch: tuple[Tensor, Tensor]) -> Tensor:
        value = optimised(lambda: loss(*batch), optimizer, ctx.device, ctx.amp)
        schedule.step()
        if after is not None:
            after()
        return value

    saved: list[Stateful] = [Tensors(all_of(groups)), optimizer, schedule, *state]
    steps = Steps(ctx=ctx, total=data.recipe.steps, state=saved, checkpoint_every=CHECKPOINT)
    steps.resume(ctx.restore())
    steps.run(_batches(model, data, ctx.seed, steps.done, steps.total, ctx.device), step)
    return steps.seconds_per_step


def all_of(groups: Groups) -> list[nn.Parameter]:
    """The parameters of all groups."""
    return [p for parameters, _ in groups for p in parameters]


def _batches(
    model: DualEncoder, data: OodData, seed: int, first: int, steps: int, device: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Preprocessed pictures (B, 3, S, S) and labels (B,) of each step from ``first`` on."""
    for i, domain in enumerate(data.domains):
        if not (data.train.domain == i).any():
            raise BenchError(
                f"ood: no training picture of {domain!r} among the {len(data.train)} of {data.dataset};"
                " expected some of every source domain: raise run.images"
            )
    rows = list(_rows(data.train, data.recipe.batch, len(data.domains), seed, steps))[first:]
    pictures = data.train.inputs.stream(rows, seed, first)
    for at, images in zip(rows, pictures, strict=True):
        yield model.preprocess(images.to(device)), torch.from_numpy(data.train.y[at]).to(device)


def _rows(train: LabelledPictures, batch: int, domains: int, seed: int, steps: int) -> Iterator[np.ndarray]:
    """Positions (batch,) of each step's pictures: the same number from every domain, each in its own order.

    A domain starts again, in a new order, when it has been gone through; what does not divide evenly among
    the domains goes to the first of them. Within a step the domains are mixed, so that a row which can use
    only a few pictures of it does not learn from the first domain alone.
    """
    shares = [batch // domains + (i < batch % domains) for i in range(domains)]
    orders = [
        endless(np.flatnonzero(train.domain == i), np.random.default_rng([seed, i])) for i in range(domains)
    ]
    mixed = np.random.default_rng([seed, domains])
    for _ in range(steps):
        rows = [next(e) for e, n in zip(orders, shares, strict=True) for _ in range(n)]
        yield mixed.permutation(rows)


@torch.no_grad()
def val_loss(model: DualEncoder, data: OodData) -> float:
    """Text-supervised cross-entropy, averaged over the validation pictures as they are cut for evaluation."""
    t = model.text_features(data.prompts(data.classes))
    y = torch.from_numpy(data.val.y).to(model.device)
    return float(F.cross_entropy(model.logits(encoded(model, data.val), t), y))


@torch.no_grad()
def encoded(model: DualEncoder, pictures: LabelledPictures, which: np.ndarray | None = None) -> Tensor:
    """Features (n, D) of length 1 of pictures, cut for evaluation, by the image tower as it is.

    Args:
        model: whose image tower encodes.
        pictures: the pictures.
        which: positions (n,) of those to encode; None for all.
    """
    which = np.arange(len(pictures)) if which is None else which
    parts = []
    for rows in np.split(which, range(BATCH, len(which), BATCH)):
        parts.append(_features(model, pictures.inputs.read(rows)))
    return torch.cat(parts)


def _features(model: DualEncoder, pictures: np.ndarray) -> Tensor:
    """Features (n, D) of length 1 of pictures (n, S, S, 3) uint8."""
    images = torch.from_numpy(np.ascontiguousarray(pictures)).to(model.device)
    return model.image_features(model.preprocess(images))


def text_loss(model: DualEncoder, data: OodData) -> Loss:
    """A loss: the mean of -log softmax_y(f.t / tau) over a batch, t the prompts of the training's classes."""
    t = model.text_features(data.prompts(data.classes))
    return lambda x, y: F.cross_entropy(model.logits(model.image_features(x), t), y)


def by_name(model: DualEncoder, data: OodData) -> Predict:
    """A function that predicts by the scaled cosine between a picture and the prompt of each name."""
    return by_features(model, lambda f, names: model.logits(f, model.text_features(data.prompts(names))))


def by_features(model: DualEncoder, logits: Callable[[Tensor, tuple[str, ...]], Tensor]) -> Predict:
    """A function that predicts by the features of pictures.

    Args:
        model: its image tower gives the features.
        logits: turns features (n, D) of length 1 and C class names into logits (n, C).
    """

    @torch.no_grad()
    def predict(images: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        out: np.ndarray = logits(_features(model, images), names).cpu().numpy()
        return out

    return predict


def answer(
    predict: Predict,
    trained: Iterable[Tensor],
    seconds: float | None = None,
    average: np.ndarray | None = None,
) -> dict[str, Any]:
    """The answer that the track expects.

    Args:
        predict: turns pictures and class names into logits.
        trained: the parameters that gradients changed.
        seconds: wall seconds per optimisation step.
        average: (T + 1,) shares of the weights before training and after each of T steps, if ``predict``
            uses an average of them.
    """
    return {
        "predict": predict,
        "parameters": sum(p.numel() for p in trained),
        "seconds_per_step": seconds,
        "average": average,
    }
