"""CLIP-Adapter: a small residual network on the picture's feature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.ood.data import OodData


@method(
    "ood",
    name="CLIP-Adapter",
    hp={"ratio": 0.2, "reduction": 4, "lr": 1e-3},
    ref="Gao et al., CLIP-Adapter, IJCV 2024, arXiv 2110.04544",
)
def clip_adapter(data: OodData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """f' = ratio * ReLU(W_2 ReLU(W_1 f)) + (1 - ratio) f, against the class names by cross-entropy.

    The tower is frozen. The names' side has no adapter, as in the paper's main form.
    """
    import torch
    import torch.nn.functional as F
    from torch import nn

    from bench.tracks.ood import training

    model = data.encoder().to(ctx.device)
    t = model.text_features(data.prompts(data.classes))
    D, small = t.shape[1], max(1, t.shape[1] // hp["reduction"])
    adapter = nn.Sequential(
        nn.Linear(D, small, bias=False), nn.ReLU(), nn.Linear(small, D, bias=False), nn.ReLU()
    ).to(ctx.device)

    def adapted(f: Tensor) -> Tensor:
        return F.normalize(hp["ratio"] * adapter(f) + (1 - hp["ratio"]) * f, dim=-1)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            f = model.image_features(x)
        return F.cross_entropy(model.logits(adapted(f), t), y)

    groups = [(list(adapter.parameters()), hp["lr"])]
    seconds = training.fit(model, groups, loss, data, ctx)
    predict = training.by_features(
        model, lambda f, names: model.logits(adapted(f), model.text_features(data.prompts(names)))
    )
    return training.answer(predict, training.all_of(groups), seconds)
