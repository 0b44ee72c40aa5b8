"""Regularised DCNv2: a single embedding whose interaction must not collapse it (the paper's evidence III)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.embedding_scale import settings

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.embedding_scale.data import CtrData


@method(
    "embedding_scale",
    name="Single embedding, regularised",
    base=False,
    hp={"weight": 1e-5},
    variants={"dcnv2": {}},
    counterpart="single/{variant}",
    ref="Guo et al., ICML 2024, arXiv 2310.04400",
)
def single_regularised(data: CtrData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """Blocks of the cross layers held near scaled rotations, which keep all directions of an embedding:

        loss + weight * sum_{l,i,j} || W_{i->j}^T W_{i->j} - lambda_ij I ||_F^2

    lambda_ij, of each layer l, are learned, from 1. That is the paper's equation. Its text gives no weight;
    1e-5, all layers and the start at 1 are the code's (``restricted-weighted-dcn-*``). The code's form is
    another: layers multiply by n_ij W_ij with learned n_ij, and the penalty is sum || I - W_ij W_ij^T ||_F^2,
    without n_ij. Both are least where the block in use is a scaled rotation. Elsewhere, where lambda_ij is
    n_ij^2, the paper's is lambda_ij^2 times the code's.
    """
    import torch

    from bench.tracks.embedding_scale import training
    from bench.tracks.embedding_scale.nets import penalties

    N = len(data.cardinalities)
    run = settings.with_width(ctx.run, data.dataset, "dcnv2")
    net = training.network("dcnv2").Single(data, data.scale * ctx.run.base_dim, run)
    net.register_parameter("scale", torch.nn.Parameter(torch.ones(ctx.run.cross_layers, N, N)))

    def penalty(x: Tensor) -> Tensor:
        W = net.cross.weight[:, 0]  # (layers, N K, N K)
        return hp["weight"] * penalties.non_orthogonality(W, net.scale)

    return training.solve(net, net, data, ctx, penalty=penalty)
