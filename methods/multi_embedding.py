"""Multi-embedding: Guo et al., On the Embedding Collapse when Scaling up Recommendation Models, 2024."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.embedding_scale import settings
from bench.tracks.embedding_scale.settings import MODELS, TRAINING, single_at_one_set, too_large

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.embedding_scale.data import CtrData


@method(
    "embedding_scale",
    name="Multi-embedding",
    id="multi",
    base=False,
    hp={"model": "dcnv2"},
    variants=MODELS,
    run_spaces=TRAINING,
    skip=too_large,
    counterpart="single/{variant}",
    alias=single_at_one_set,
    ref="Guo et al., ICML 2024, arXiv 2310.04400",
)
def multi_embedding(data: CtrData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """Scale up by M complete and independent sets of embeddings instead of by M times the size K.

        e_i^(m) = the row of E_i^(m), (D_i, K), that field i selects
        h^(m)   = I^(m)(e_1^(m), ..., e_N^(m))
        h       = 1/M sum_m h^(m)
        y       = F(h)

    Each set has its own interaction I^(m), which must hold a non-linearity: without one the sum is a special
    case of a single embedding. Only F is shared. Networks with two branches average both, side by side in h.

    The base cell, M = 1, is the single model's. With IPNN that is the paper's definition and no equality: its
    single form reads the raw embeddings beside their inner products, a set reads the inner products alone.
    """
    from bench.tracks.embedding_scale import training

    M, K = data.scale, ctx.run.base_dim
    run = settings.with_width(ctx.run, data.dataset, hp["model"])
    net = training.network(hp["model"]).Multi(data, K, M, run)
    E, I, F = net.embedding, net.interact, net.head  # noqa: E741

    def y(x: Tensor) -> Tensor:
        e = E(x)  # (M, B, N K)
        h = I(e).mean(0)  # 1/M sum_m h^(m), (B, hidden)
        return F(h)

    return training.solve(net, y, data, ctx)
