"""D-Train: decoupled training of several domains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from bench.contract import Context, Space, method
from bench.tracks.multi_domain.settings import RATES

if TYPE_CHECKING:
    from bench.tracks.multi_domain.data import MultiDomainData


def divided(steps: int, shares: Sequence[int]) -> list[int]:
    """The steps of the phases, in proportion to their shares; each cut is rounded to the nearest step.

    Equal shares are assumed: the paper's rule could not be found. A phase of share 0 has no step, and its
    steps go to the others.
    """
    total = sum(shares)
    cuts = [round(steps * sum(shares[:k]) / total) for k in range(len(shares) + 1)]
    return [b - a for a, b in pairwise(cuts)]


@method(
    "multi_domain",
    name="D-Train",
    run_spaces=RATES,
    hp={
        "shares": [1, 1, 1],
        "phase_3": Space(default="balanced", choices=("balanced", "natural")),
        "experts": 0,
    },
    variants={
        "no-pre-train": {"shares": [0, 1, 1]},
        "no-post-train": {"shares": [1, 0, 1]},
        "no-fine-tune": {"shares": [1, 1, 0]},
        "natural-phase-3": {"phase_3": "natural"},
        "mmoe": {"experts": 4},
    },
    ref="Wang et al., Decoupled Training: Return of Frustratingly Easy Multi-Domain Learning, AAAI 2024",
)
def d_train(data: MultiDomainData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """Three phases over as many batches as every row's, ``shares`` of the steps each:

        1. pre-train:   min over psi, h_0        sum_t sum_i L(h_0(psi(x_ti)), y_ti)    the root model
        2. post-train:  min over psi, h_1..h_T   sum_t sum_i L(h_t(psi(x_ti)), y_ti)    from h_t = h_0
        3. fine-tune:   min over h_t, each t             sum_i L(h_t(psi(x_ti)), y_ti)    psi frozen

    psi is all but the heads: its weights, embeddings and batch statistics stay bit for bit in phase 3. Each
    phase has a fresh optimiser, whose rate falls to 0 within it. On top of MMoE (``experts`` > 0), psi is its
    experts and gates; there is one gate for all in phase 1, of which phase 2 gives each domain a copy.

    Phases 1 and 2 train on batches with natural shares of the domains, as every row does. Heads are tuned
    independently of each other, so in phase 3 a batch has equally many rows of each domain: with natural
    shares (``phase_3``) the steps of a head would depend on how large the other domains are, and a domain
    with a hundredth of all examples would have less than a row a step.

    Assumed, as the paper's text could not be read: the shares, the copies in phase 2, fresh optimisers, what
    the batches of phase 3 hold.
    """
    from bench.tracks.multi_domain import training
    from bench.tracks.multi_domain.nets.experts import Experts
    from bench.tracks.multi_domain.nets.heads import MultiHead, Plain
    from bench.tracks.multi_domain.training import Phase

    body, T = data.body(), len(data.domains)
    psi = Experts(body, hp["experts"], gates=1) if hp["experts"] else Plain(body)
    net = MultiHead(psi, [body.head()])

    answers = []

    def evaluate(step: int) -> None:
        answers.append(training.answer(net, data, ctx))
        ctx.snapshot(step, answers[-1])

    pre, post, tune = divided(data.recipe.steps, hp["shares"])
    phases = [
        Phase(steps=pre, end=evaluate),
        Phase(steps=post, begin=lambda: net.split(T), end=evaluate),
        Phase(steps=tune, part=lambda: net.heads, end=evaluate, shares=hp["phase_3"]),
    ]
    done = training.fit(net, training.mean_loss(net), data, ctx, phases=phases)
    return answers[-1] if done else training.answer(net, data, ctx)
