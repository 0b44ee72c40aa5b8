"""Logistic regression over one-hot fields: one weight for every value of every field, no interaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, Space, method
from bench.tracks.embedding_scale.settings import TRAINING

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.embedding_scale.data import CtrData


@method(
    "embedding_scale",
    name="Logistic regression",
    hp={"lr": Space(default=1e-2, low=1e-3, high=1e-1, log=True)},  # as wide as the networks', around its own
    run_spaces={"weight_decay": TRAINING["weight_decay"]},
)
def lr(data: CtrData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """p = sigmoid(b + sum_i w_{i, x_i}), trained as the networks are. The scale of the task changes nothing.

    Its own learning rate: a weight's whole way is epochs * batches * lr, too short at the networks' rate.
    """
    import torch

    from bench.tracks.embedding_scale import training
    from bench.tracks.embedding_scale.nets.layers import FieldEmbedding

    weights = FieldEmbedding(data.cardinalities, 1)
    torch.nn.init.zeros_(weights.weight)
    net = torch.nn.ModuleDict({"weights": weights})
    net.register_parameter("bias", torch.nn.Parameter(torch.zeros(())))

    def logit(x: Tensor) -> Tensor:
        return net.bias + weights(x)[0].sum(1)

    return training.solve(net, logit, data, ctx, lr=hp["lr"])
