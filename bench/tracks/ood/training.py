"""What the rows share: the pictures of each step, the optimiser, and the way in which a name becomes a logit.

AdamW with its rate falling along a cosine to 0, the network in evaluation mode throughout (its batch
statistics stay those of the pre-training), as many pictures from every source domain in each step.

Source: CLIPood (arXiv 2302.00864) and its released code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contract import BenchError, Context
from bench.tracks.ood.data import LabelledPictures, OodData
from bench.tracks.ood.nets.clip import DualEncoder
from bench.tracks.ood.scoring import BATCH, Predict

#: Training pictures (B, 3, S, S), preprocessed, and labels (B,) -> the loss.
Loss = Callable[[Tensor, Tensor], Tensor]
#: Parameters with their first learning rate.
Groups = Sequence[tuple[Sequence[nn.Parameter], float]]
#: Steps between two checkpoints.
CHECKPOINT = 500


class Keepable(Protocol):
    """What a checkpoint has to keep beside the parameters: a moving average, say."""

    def state_dict(self) -> dict[str, Any]:
        """What has to be kept."""

    def load_state_dict(self, state: Any) -> None:
        """Go on from that."""


def fit(
    model: DualEncoder,
    groups: Groups,
    loss: Loss,
    data: OodData,
    ctx: Context,
    *,
    after: Callable[[], None] | None = None,
    keep: Sequence[Keepable] = (),
) -> float:
    """Train parameters on the sources, in place, for the steps of the data set's recipe.

    Goes on from the last checkpoint of a killed cell. Stops when the loss is not finite.

    Args:
        model: its ``preprocess`` says what becomes of a picture.
        groups: parameters, with the first learning rate of each group.
        loss: of a step's pictures and labels.
        after: called after every step.
        keep: what ``after`` changes.

    Returns:
        seconds a step, of the steps taken since the last start.
    """
    steps, parameters = data.recipe.steps, all_of(groups)
    optimizer = torch.optim.AdamW(
        [{"params": list(p), "lr": lr} for p, lr in groups], weight_decay=ctx.run.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    kept: list[Any] = [optimizer, schedule, *keep]
    first = 0
    if state := ctx.restore():
        first = state["step"]
        with torch.no_grad():
            for p, value in zip(parameters, state["parameters"], strict=True):
                p.copy_(value)
        for thing, value in zip(kept, state["kept"], strict=True):
            thing.load_state_dict(value)
    start = time.perf_counter()
    done = 0
    for step, (images, y) in enumerate(_batches(model, data, ctx.seed, first, steps, ctx.device), first + 1):
        with torch.autocast(torch.device(ctx.device).type, torch.bfloat16, enabled=ctx.amp):
            value = loss(images, y)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(value)
        optimizer.step()
        schedule.step()
        done += 1
        if after is not None:
            after()
        if step % max(1, steps // 20) == 0 or step == steps:
            ctx.report(step=step, loss=float(value.detach()))
            if not torch.isfinite(value):
                break
        if step % CHECKPOINT == 0 and step < steps:
            now = [p.detach() for p in parameters]
            ctx.checkpoint({"step": step, "parameters": now, "kept": [k.state_dict() for k in kept]})
    return (time.perf_counter() - start) / max(1, done)


def all_of(groups: Groups) -> list[nn.Parameter]:
    """The parameters of all groups."""
    return [p for parameters, _ in groups for p in parameters]


def _batches(
    model: DualEncoder, data: OodData, seed: int, first: int, steps: int, device: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Pictures (B, 3, S, S) and labels (B,) of the steps from ``first`` on."""
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
    """Positions of each step's pictures: the same number from every domain, each domain in its own order.

    A domain starts again, in a new order, when it has been gone through; what does not divide evenly among
    the domains goes to the first of them. Within a step the domains are mixed, so that a row which can use
    only a few pictures of it does not learn from the first domain alone.
    """
    shares = [batch // domains + (i < batch % domains) for i in range(domains)]
    endless = [
        _endless(np.flatnonzero(train.domain == i), np.random.default_rng([seed, i])) for i in range(domains)
    ]
    mixed = np.random.default_rng([seed, domains])
    for _ in range(steps):
        rows = [next(e) for e, n in zip(endless, shares, strict=True) for _ in range(n)]
        yield mixed.permutation(rows)


def _endless(rows: np.ndarray, random: np.random.Generator) -> Iterator[int]:
    while True:
        yield from random.permutation(rows).tolist()


@torch.no_grad()
def val_loss(model: DualEncoder, data: OodData) -> float:
    """Text-supervised cross-entropy on the sources' validation pictures, cut for evaluation."""
    t = model.text_features(data.prompts(data.classes))
    y = torch.from_numpy(data.val.y).to(model.device)
    return float(F.cross_entropy(model.logits(encoded(model, data.val), t), y))


@torch.no_grad()
def encoded(model: DualEncoder, pictures: LabelledPictures) -> Tensor:
    """Features (n, D) of all pictures of a set, cut for evaluation, by the image tower as it is."""
    parts = []
    for rows in np.split(np.arange(len(pictures)), range(BATCH, len(pictures), BATCH)):
        parts.append(_features(model, pictures.inputs.read(rows)))
    return torch.cat(parts)


def _features(model: DualEncoder, pictures: np.ndarray) -> Tensor:
    """(n, S, S, 3) uint8 -> (n, D) of length 1."""
    images = torch.from_numpy(np.ascontiguousarray(pictures)).to(model.device)
    return model.image_features(model.preprocess(images))


def text_loss(model: DualEncoder, data: OodData) -> Loss:
    """Text-supervised cross-entropy: -log softmax_y(f.t / tau) over the prompts of the training's classes."""
    t = model.text_features(data.prompts(data.classes))
    return lambda x, y: F.cross_entropy(model.logits(model.image_features(x), t), y)


def by_name(model: DualEncoder, data: OodData) -> Predict:
    """The usual way to predict: the cosine between a picture and each name's prompt, scaled."""
    return by_features(model, lambda f, names: model.logits(f, model.text_features(data.prompts(names))))


def by_features(model: DualEncoder, logits: Callable[[Tensor, tuple[str, ...]], Tensor]) -> Predict:
    """Predict by a function of picture features (n, D), of length 1, and names that gives logits (n, C)."""

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
    """What the track asks for: ``trained`` are the parameters that gradients changed."""
    return {
        "predict": predict,
        "parameters": sum(p.numel() for p in trained),
        "seconds_per_step": seconds,
        "average": average,
    }
