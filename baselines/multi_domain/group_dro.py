"""GroupDRO: a shared bottom that minimises the worst domain's loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, Space, method
from bench.tracks.multi_domain.settings import RATES

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.multi_domain.data import MultiDomainData
    from bench.tracks.multi_domain.training import Batch


@method(
    "multi_domain",
    name="GroupDRO",
    run_spaces=RATES,
    hp={"step": Space(default=0.01, low=1e-3, high=1e-1, log=True)},  # DomainBed's range of groupdro_eta
    ref="Sagawa et al., Distributionally Robust Neural Networks for Group Shifts, ICLR 2020",
)
def group_dro(data: MultiDomainData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """min over psi, h_d of max over q of sum_d q_d L_d, L_d the mean loss of domain d (algorithm 1).

    Each step q_d <- q_d exp(``step`` L_d), normalised, then a step of the network on sum_d q_d L_d. As in the
    algorithm, domains come equally often. There one domain is drawn a step, here all that a batch holds; one
    shared bottom with a head a domain, where the paper has one network. No extra penalty or early stopping.
    """
    import torch

    from bench.tracks.multi_domain import training
    from bench.tracks.multi_domain.nets.group_weights import GroupWeights
    from bench.tracks.multi_domain.nets.heads import MultiHead, Plain

    body, T = data.body(), len(data.domains)
    net = MultiHead(Plain(body), [body.head() for _ in range(T)])
    q = GroupWeights(T, hp["step"])

    def loss(batch: Batch) -> Tensor:
        return q(training.losses(net(batch.x, batch.domain), batch.y), batch.domain)

    every_step = training.Phase(steps=data.recipe.steps, shares="balanced")
    training.fit(torch.nn.ModuleList([net, q]), loss, data, ctx, phases=[every_step])
    return training.answer(net, data, ctx)
