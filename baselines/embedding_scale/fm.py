"""Factorisation machine: the floor that knows pairs of fields, and no perceptron."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.embedding_scale.settings import TRAINING

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.embedding_scale.data import CtrData


@method(
    "embedding_scale",
    name="Factorisation machine",
    run_spaces={k: TRAINING[k] for k in ("lr", "weight_decay")},
    ref="Rendle, Factorization Machines, ICDM 2010",
)
def fm(data: CtrData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """p = sigmoid(b + sum_i w_{i, x_i} + sum_{i < j} <e_i, e_j>), e_i of size scale * K.

    The pairs by 1/2 (|sum_i e_i|^2 - sum_i |e_i|^2). Trained as the networks are. At logistic regression's
    learning rate it is past its best within the first epoch (seen on the flights' validation AUC).
    """
    import torch
    from torch_rechub.basic.layers import FM

    from bench.tracks.embedding_scale import training
    from bench.tracks.embedding_scale.nets.layers import FieldEmbedding

    weights = FieldEmbedding(data.cardinalities, 1)
    torch.nn.init.zeros_(weights.weight)
    embedding = FieldEmbedding(data.cardinalities, data.scale * ctx.run.base_dim)
    net = torch.nn.ModuleDict({"weights": weights})
    net.add_module("embedding", embedding)
    net.register_parameter("bias", torch.nn.Parameter(torch.zeros(())))
    pairs = FM()

    def logit(x: Tensor) -> Tensor:
        e = embedding(x)[0].view(*x.shape, -1)
        return net.bias + weights(x)[0].sum(1) + pairs(e).squeeze(1)

    return training.solve(net, logit, data, ctx)
