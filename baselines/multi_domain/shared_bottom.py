"""Shared bottom: common features, a head for every domain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.multi_domain.settings import RATES

if TYPE_CHECKING:
    from bench.tracks.multi_domain.data import MultiDomainData


@method(
    "multi_domain",
    name="Shared bottom",
    run_spaces=RATES,
    ref="Caruana, Multitask Learning, Machine Learning 28, 1997",
)
def shared_bottom(data: MultiDomainData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """h_d(psi(x)), all trained together from the start: what D-Train is without its first and third phase.

    torch-rechub's SharedBottom embeds its own features and runs every tower on every row; here a row goes
    through its own domain's head.
    """
    from bench.tracks.multi_domain import training
    from bench.tracks.multi_domain.nets.heads import MultiHead, Plain

    body = data.body()
    net = MultiHead(Plain(body), [body.head() for _ in data.domains])
    training.fit(net, training.mean_loss(net), data, ctx)
    return training.answer(net, data, ctx)
