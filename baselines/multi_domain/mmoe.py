"""MMoE: experts for all, and a gate for every domain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.multi_domain.settings import RATES

if TYPE_CHECKING:
    from bench.tracks.multi_domain.data import MultiDomainData


@method(
    "multi_domain",
    name="MMoE",
    run_spaces=RATES,
    hp={"experts": 4},
    ref="Ma et al., Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts,"
    " KDD 2018",
)
def mmoe(data: MultiDomainData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """y = h_d(sum_e g_d(s)_e f_e(s)), g_d(s) = softmax(G_d s) (equations 5 to 7), s = stem(x).

    Experts f_e are trunks, as large as the plain network's one. For images the stem is all of the backbone,
    so that experts differ behind its pooled features only. A task of the paper is a domain here: a row uses
    its own domain's gate and head. torch-rechub's MMOE wants a label of every task for a row.
    """
    from bench.tracks.multi_domain import training
    from bench.tracks.multi_domain.nets.experts import Experts
    from bench.tracks.multi_domain.nets.heads import MultiHead

    body, T = data.body(), len(data.domains)
    net = MultiHead(Experts(body, hp["experts"], gates=T), [body.head() for _ in range(T)])
    training.fit(net, training.mean_loss(net), data, ctx)
    return training.answer(net, data, ctx)
