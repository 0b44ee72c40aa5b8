"""Joint training: one network that does not know the domain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.multi_domain.settings import RATES

if TYPE_CHECKING:
    from bench.tracks.multi_domain.data import MultiDomainData


@method(
    "multi_domain",
    name="Joint",
    run_spaces=RATES,
    ref="empirical risk minimisation over all domains together",
)
def joint(data: MultiDomainData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """h(psi(x)) for every domain: where two domains give one input different labels, it cannot be right."""
    from bench.tracks.multi_domain import training
    from bench.tracks.multi_domain.nets.heads import MultiHead, Plain

    body = data.body()
    net = MultiHead(Plain(body), [body.head()])
    training.fit(net, training.mean_loss(net), data, ctx)
    return training.answer(net, data, ctx)
