"""Tip-Adapter: a cache of training features beside the class names; -F trains the cache's keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.ood.stages import frozen_features, read_features

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.ood.data import OodData

_REF = "Zhang et al., Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification, ECCV 2022"


@method("ood", name="Tip-Adapter", deterministic=True, stages=frozen_features, ref=_REF)
def tip_adapter(data: OodData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """logits = f.t / tau + alpha exp(-beta (1 - f.k)) V: keys k, the training features; V, their labels.

    Nothing is trained; alpha and beta are the best of the released code's 4,000 pairs on validation.
    """
    from bench.tracks.ood import training
    from bench.tracks.ood.nets import cache

    model = data.encoder().to(ctx.device)
    train, val = read_features(ctx, data, ctx.device)
    tip = cache.Cache(model, data, train)
    tip.search(val)
    return training.answer(training.by_features(model, tip.logits), ())


@method("ood", name="Tip-Adapter-F", hp={"lr": 1e-3}, stages=frozen_features, ref=_REF)
def tip_adapter_f(data: OodData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """The keys are trained by cross-entropy, at alpha = 1 and beta = 5.5; then both are searched.

    AdamW is set as in the released code, which keeps the keys of the epoch best on test, here the last ones.
    """
    import torch
    import torch.nn.functional as F

    from bench.tracks.ood import training
    from bench.tracks.ood.nets import cache

    model = data.encoder().to(ctx.device)
    train, val = read_features(ctx, data, ctx.device)
    tip = cache.Cache(model, data, train)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            f = model.image_features(x)
        return F.cross_entropy(tip.logits(f, data.classes), y)

    groups = [([tip.keys.requires_grad_(True)], hp["lr"])]
    seconds = training.fit(model, groups, loss, data, ctx, adamw={"eps": 1e-4, "weight_decay": 0.01})
    tip.search(val)
    return training.answer(training.by_features(model, tip.logits), [tip.keys], seconds)
