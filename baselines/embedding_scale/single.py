"""Single embedding: the same models, scaled up by a larger embedding size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.embedding_scale import settings
from bench.tracks.embedding_scale.settings import MODELS, too_large

if TYPE_CHECKING:
    from bench.tracks.embedding_scale.data import CtrData


@method(
    "embedding_scale",
    name="Single embedding",
    base=False,
    hp={"model": "dcnv2"},
    variants=MODELS,
    skip=too_large,
    ref="the baselines of Guo et al., ICML 2024, arXiv 2310.04400",
)
def single(data: CtrData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """One set of embeddings of size scale * K: y = F(I(e_1, ..., e_N))."""
    from bench.tracks.embedding_scale import training

    run = settings.with_width(ctx.run, data.dataset, hp["model"])
    net = training.network(hp["model"]).Single(data, data.scale * ctx.run.base_dim, run)
    return training.solve(net, net, data, ctx)
