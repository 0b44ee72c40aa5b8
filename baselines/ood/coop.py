"""CoOp: the words of the prompt are learnt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.ood.data import OodData


@method(
    "ood",
    name="CoOp",
    hp={"lr": 2e-3},
    ref="Zhou et al., Learning to Prompt for Vision-Language Models, IJCV 2022",
)
def coop(data: OodData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """t_k = text tower of [v_1, ..., v_M, name of k]: the context v, the same for all classes, is trained.

    It starts from the words of the data set's template; both towers are frozen. The released code takes SGD
    at this rate, 2e-3, with a first epoch at 1e-5; here it is AdamW, and the steps are those of the data
    set's recipe, as in every row that trains by gradients.
    """
    import torch
    import torch.nn.functional as F

    from bench.tracks.ood import training
    from bench.tracks.ood.nets import prompts

    model = data.encoder().to(ctx.device)
    learnt = prompts.Context(model, data)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            f = model.image_features(x)
        return F.cross_entropy(model.logits(f, learnt.features(data.classes, learnt.vectors)), y)

    groups = [([learnt.vectors], hp["lr"])]
    seconds = training.fit(model, groups, loss, data, ctx)
    predict = training.by_features(
        model, lambda f, names: model.logits(f, learnt.features(names, learnt.vectors))
    )
    return training.answer(predict, training.all_of(groups), seconds)
