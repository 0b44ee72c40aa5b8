"""Tip-Adapter: a cache of training features beside the class names; -F trains the cache's keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.ood.stages import frozen_features

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.ood.data import OodData

_REF = "Zhang et al., Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification, ECCV 2022"
#: Residual ratio and sharpness tried on validation, as in the paper's search.
ALPHAS = (0.25, 0.5, 1.0, 2.0, 4.0)
BETAS = (1.0, 2.0, 5.5, 10.0)


@method("ood", name="Tip-Adapter", deterministic=True, stages=frozen_features, ref=_REF)
def tip_adapter(data: OodData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """logits = f.t / tau + alpha exp(-beta (1 - f.k)) V: keys k, the training features; V, their labels.

    Nothing is trained; alpha and beta are the best pair on the sources' validation. A name that is not in the
    training gets nothing from the cache.
    """
    return _adapted(data, ctx, steps=False, lr=0.0)


@method("ood", name="Tip-Adapter-F", hp={"lr": 1e-3}, stages=frozen_features, ref=_REF)
def tip_adapter_f(data: OodData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """Its keys trained by cross-entropy, at alpha = 1 and beta = 5.5; then both are searched."""
    return _adapted(data, ctx, steps=True, lr=hp["lr"])


def _adapted(data: OodData, ctx: Context, *, steps: bool, lr: float) -> dict[str, Any]:
    import torch
    import torch.nn.functional as F
    from torch import nn

    from bench.tracks.ood import training

    model = data.encoder().to(ctx.device)
    t = model.text_features(data.prompts(data.classes))
    train, val = training.frozen(ctx, ctx.device)
    keys = nn.Parameter(train.clone(), requires_grad=steps)
    V = F.one_hot(torch.from_numpy(data.train.y).to(ctx.device), len(data.classes)).float()

    def cache(f: Tensor, beta: float) -> Tensor:
        return torch.exp(-beta * (1 - f @ keys.T)) @ V

    def loss(x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            f = model.image_features(x)
        return F.cross_entropy(model.logits(f, t) + cache(f, 5.5), y)

    seconds = training.fit(model, [([keys], lr)], loss, data, ctx) if steps else None
    keys.requires_grad_(False)
    y = torch.from_numpy(data.val.y).to(ctx.device)

    def right(alpha: float, beta: float) -> float:
        return float(((model.logits(val, t) + alpha * cache(val, beta)).argmax(1) == y).float().mean())

    alpha, beta = max(((a, b) for a in ALPHAS for b in BETAS), key=lambda pair: right(*pair))
    at = {name: i for i, name in enumerate(data.classes)}

    def logits(f: Tensor, names: tuple[str, ...]) -> Tensor:
        known = torch.tensor([i for i, n in enumerate(names) if n in at], device=f.device)
        out = model.logits(f, model.text_features(data.prompts(names)))
        if len(known):
            columns = torch.tensor([at[names[i]] for i in known.tolist()], device=f.device)
            out = out.index_add(1, known, alpha * cache(f, beta)[:, columns])
        return out

    return training.answer(training.by_features(model, logits), [keys] if steps else (), seconds)
