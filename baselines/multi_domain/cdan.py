"""CDAN-MDL: DANN-MDL where the discriminator also sees the predicted class."""

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
    name="CDAN-MDL",
    run_spaces=RATES,
    # The ranges are DomainBed's (hparams_registry.py), of lambda and of mlp_width.
    hp={
        "weight": Space(default=1.0, low=1e-2, high=1e2, log=True),
        "hidden": Space(default=64, low=64, high=1024, log=True),
    },
    ref="Long et al., Conditional Adversarial Domain Adaptation, NeurIPS 2018",
)
def cdan(data: MultiDomainData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """min over psi, h_d and max over D of L(h_d(f), y) - lambda_p L(D(f (x) g), d), f = psi(x).

    g: class probabilities, without a gradient as in the released code; (x): the outer product, randomised
    where it is large (equation 6). Without the entropy weights of CDAN+E. The source adapts to a domain
    without labels; here all T domains have labels and heads, and D tells T domains apart.
    """
    import torch
    import torch.nn.functional as F

    from bench.tracks.multi_domain import training
    from bench.tracks.multi_domain.nets import adversarial
    from bench.tracks.multi_domain.nets.heads import MultiHead, Plain

    body, T = data.body(), len(data.domains)
    net = MultiHead(Plain(body), [body.head() for _ in range(T)])
    combined = adversarial.Multilinear(body.width, data.classes)
    D = adversarial.discriminator(combined.width, T, hp["hidden"])

    def loss(batch: Batch) -> Tensor:
        f = net.psi(batch.x, batch.domain)
        z = net.classify(f, batch.domain)
        fg = combined(f, training.probabilities(z).detach())
        reversed_fg = adversarial.reversed_gradient(fg, hp["weight"] * adversarial.ramp(batch.progress))
        return training.losses(z, batch.y).mean() + F.cross_entropy(D(reversed_fg), batch.domain)

    training.fit(torch.nn.ModuleList([net, combined, D]), loss, data, ctx)
    return training.answer(net, data, ctx)
