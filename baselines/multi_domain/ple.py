"""PLE: experts for all and experts for one domain, mixed level by level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.multi_domain.settings import RATES

if TYPE_CHECKING:
    from bench.tracks.multi_domain.data import MultiDomainData


@method(
    "multi_domain",
    name="PLE",
    run_spaces=RATES,
    hp={"own": 1, "shared": 2, "levels": 2},
    ref="Tang et al., Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model for"
    " Personalized Recommendations, RecSys 2020",
)
def ple(data: MultiDomainData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """y = h_d(g_d^N), and at each level j (equations 1 to 6):

        g_d^j = softmax(W_d^j g_d^{j-1}) . [own experts of d (g_d^{j-1}), shared experts (g_s^{j-1})]
        g_s^j = softmax(W_s^j g_s^{j-1}) . [own experts of every d, shared experts],   g^0 = stem(x)

    ``levels`` = 1 is the paper's CGC. Experts are trunks. A task of the paper is a domain here: at the last
    level a row needs only its own domain's experts; before it, the shared way reads those of all.
    torch-rechub's PLE wants a label of every task for a row.
    """
    from bench.tracks.multi_domain import training
    from bench.tracks.multi_domain.nets.experts import Progressive
    from bench.tracks.multi_domain.nets.heads import MultiHead

    body, T = data.body(), len(data.domains)
    psi = Progressive(body, T, own=hp["own"], shared=hp["shared"], levels=hp["levels"])
    net = MultiHead(psi, [body.head() for _ in range(T)])
    training.fit(net, training.mean_loss(net), data, ctx)
    return training.answer(net, data, ctx)
