"""DANN-MDL: features that do not give the domain away, and a head for every domain."""

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
    name="DANN-MDL",
    run_spaces=RATES,
    # The ranges are DomainBed's (hparams_registry.py), of lambda and of mlp_width.
    hp={
        "weight": Space(default=1.0, low=1e-2, high=1e2, log=True),
        "hidden": Space(default=64, low=64, high=1024, log=True),
    },
    ref="Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 17, 2016",
)
def dann(data: MultiDomainData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """min over psi, h_d and max over D of L(h_d(psi(x)), y) - lambda_p L(D(psi(x)), d).

    By gradient reversal in front of the discriminator D, lambda_p = ``weight`` (2 / (1 + exp(-10 p)) - 1) at
    progress p. The source adapts to a domain without labels; here all T domains have labels and heads, and D
    tells T domains apart.
    """
    import torch
    import torch.nn.functional as F

    from bench.tracks.multi_domain import training
    from bench.tracks.multi_domain.nets import adversarial
    from bench.tracks.multi_domain.nets.heads import MultiHead, Plain

    body, T = data.body(), len(data.domains)
    net = MultiHead(Plain(body), [body.head() for _ in range(T)])
    D = adversarial.discriminator(body.width, T, hp["hidden"])

    def loss(batch: Batch) -> Tensor:
        f = net.psi(batch.x, batch.domain)
        reversed_f = adversarial.reversed_gradient(f, hp["weight"] * adversarial.ramp(batch.progress))
        labels = training.losses(net.classify(f, batch.domain), batch.y).mean()
        return labels + F.cross_entropy(D(reversed_f), batch.domain)

    training.fit(torch.nn.ModuleList([net, D]), loss, data, ctx)
    return training.answer(net, data, ctx)
