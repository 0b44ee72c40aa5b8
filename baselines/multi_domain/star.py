"""STAR: every domain multiplies common weights by its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.multi_domain.settings import RATES

if TYPE_CHECKING:
    from bench.tracks.multi_domain.data import MultiDomainData


@method(
    "multi_domain",
    name="STAR",
    run_spaces=RATES,
    hp={"auxiliary": 16},
    ref="Sheng et al., One Model to Serve All: Star Topology Adaptive Recommender for Multi-Domain CTR"
    " Prediction, CIKM 2021",
)
def star(data: MultiDomainData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """W_d* = W_d * W element by element, b_d* = b_d + b (equations 5 and 6), in every layer above the stem.

    For tables also the paper's partitioned normalisation before the first layer (equations 3 and 4). The
    auxiliary network, of ``auxiliary`` hidden units, reads the domain's embedding and adds its logits.
    W_d starts at 1 (assumed: the paper does not say). The paper is about tables; for images the stem is the
    backbone, common to all, and its own batch norms stand in for the normalisation.
    """
    from bench.tracks.multi_domain import training
    from bench.tracks.multi_domain.nets.star import Star

    tables = data.kind == "table"
    net = Star(data.body(), len(data.domains), normalise=tables, auxiliary=hp["auxiliary"])
    training.fit(net, training.mean_loss(net), data, ctx)
    return training.answer(net, data, ctx, parameters=net.parameters_at_inference())
