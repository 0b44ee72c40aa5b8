"""Separate training: a network of its own for every domain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.multi_domain.settings import RATES

if TYPE_CHECKING:
    from bench.tracks.multi_domain.data import MultiDomainData


@method(
    "multi_domain",
    name="Separate",
    run_spaces=RATES,
    ref="the usual floor: no domain learns anything from another",
)
def separate(data: MultiDomainData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """h_d(psi_d(x)): nothing is shared, not even embeddings or batch statistics.

    All networks train in the same steps, each on its own domain's part of the batch, so that a domain's
    examples come as often as in every other row.
    """
    from bench.tracks.multi_domain import training
    from bench.tracks.multi_domain.nets.heads import Separate

    net = Separate(data.body() for _ in data.domains)
    training.fit(net, training.mean_loss(net), data, ctx)
    return training.answer(net, data, ctx)
