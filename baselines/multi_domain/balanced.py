"""Domain-balanced sampling: a shared bottom that sees every domain equally often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.multi_domain.settings import RATES

if TYPE_CHECKING:
    from bench.tracks.multi_domain.data import MultiDomainData


@method(
    "multi_domain",
    name="Balanced sampling",
    run_spaces=RATES,
    ref="the usual remedy against domination by large domains",
)
def balanced(data: MultiDomainData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """h_d(psi(x)) where every domain has the same part of a batch, however few examples it has.

    The steps and their batch are those of every row; a small domain's examples come again more often.
    """
    from bench.tracks.multi_domain import training
    from bench.tracks.multi_domain.nets.heads import MultiHead, Plain

    body = data.body()
    net = MultiHead(Plain(body), [body.head() for _ in data.domains])
    every_step = training.Phase(steps=data.recipe.steps, shares="balanced")
    training.fit(net, training.mean_loss(net), data, ctx, phases=[every_step])
    return training.answer(net, data, ctx)
