"""CoCoOp: the learnt words of the prompt depend on the picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.ood.data import OodData

#: Texts through the text tower at once, a picture's all together.
TEXTS = 256


@method(
    "ood",
    name="CoCoOp",
    hp={"lr": 2e-3, "pictures": 2},
    ref="Zhou et al., Conditional Prompt Learning for Vision-Language Models, CVPR 2022",
)
def cocoop(data: OodData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """t_k(x) = text tower of [v_1 + pi, ..., v_M + pi, name of k], pi = h(f): context v and network h.

    h: two linear layers with ReLU, a sixteenth as wide between them. Every picture needs all class names
    through the text tower, so a step takes only the first ``pictures`` of its batch (the paper takes 1).
    As for CoOp, the released code takes SGD at this rate, here it is AdamW.
    """
    import torch
    import torch.nn.functional as F
    from torch import nn

    from bench.tracks.ood import training
    from bench.tracks.ood.nets import prompts

    model = data.encoder().to(ctx.device)
    learnt = prompts.Context(model, data)
    D, W = model.text_features(data.prompts(data.classes)).shape[1], learnt.vectors.shape[1]
    h = nn.Sequential(nn.Linear(D, D // 16), nn.ReLU(), nn.Linear(D // 16, W)).to(ctx.device)

    def logits(f: Tensor, names: tuple[str, ...]) -> Tensor:
        out = []
        for some in f.split(max(1, TEXTS // len(names))):
            t = learnt.features(names, learnt.vectors + h(some).unsqueeze(1))  # (B, C, D)
            out.append(model.logit_scale * torch.einsum("bd,bcd->bc", some, t))
        return torch.cat(out)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        few = slice(0, hp["pictures"])
        with torch.no_grad():
            f = model.image_features(x[few])
        return F.cross_entropy(logits(f, data.classes), y[few])

    groups = [([learnt.vectors, *h.parameters()], hp["lr"])]
    seconds = training.fit(model, groups, loss, data, ctx)
    return training.answer(training.by_features(model, logits), training.all_of(groups), seconds)
