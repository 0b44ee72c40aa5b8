"""CLIPood: Shu et al., CLIPood: Generalizing CLIP to Out-of-Distributions, 2023."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.ood.limits import LONG, long_is_asked_in_the_wild

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.ood.data import OodData


@method(
    "ood",
    name="CLIPood",
    hp={"margin": True, "average": True, "steps": 0, "lr": 0.0},
    variants={
        "no-margin": {"margin": False},
        "no-average": {"average": False},
        "500-steps": LONG,
        "500-steps-no-average": {**LONG, "average": False},
    },
    skip=long_is_asked_in_the_wild,
    ref="Shu et al., ICML 2023, arXiv 2302.00864",
)
def clipood(data: OodData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """Fine-tune the image tower against the class names, and remember where it came from.

        L       = -log exp(f.t_y / tau) / sum_k exp((f.t_k + lambda D(y, k)) / tau),  D(y, k) = 1 - t_y.t_k
        theta_m = sum_t a_t theta_t / sum_t a_t,  a_t = Beta(beta, beta) at (t + 0.5) / (T + 1)

    f: a picture's feature, t_k: class k's prompt through the frozen text tower, both of length 1; tau: the
    encoder's own temperature, fixed. The margin is larger for classes whose names lie further apart. The
    average gives most weight to the pre-trained weights theta_0 and to the last. lambda and beta: the data
    set's (`settings.RECIPES`).

    Variants: without the margin (lambda = 0, text-supervised fine-tuning with the average), and without the
    average (the last weights). Of 60 steps theta_0 is 6 to 14 % of the average, of the paper's 500 to 10,000
    steps .6 to 9 %: what the average is for is seen in the variants of 500 steps, at a rate at which
    fine-tuning forgets (``limits.LONG``). ``steps``, ``lr``: in place of the recipe's; 0 leaves it.

    The paper's rate of 5e-6 was chosen with weights in half precision, which are rounded after every step: of
    these no weight of .0156 or more moves at that rate. Here they are in single precision.
    """
    from bench.nn.averaging import BetaAverage
    from bench.tracks.ood import training
    from bench.tracks.ood.nets.margin import margin_metric_softmax

    data = data.trained_with(hp["steps"], hp["lr"])
    model = data.encoder().to(ctx.device)
    theta = model.unfreeze_visual()
    t = model.text_features(data.prompts(data.classes))
    tau, lam = 1 / model.logit_scale, data.recipe.margin if hp["margin"] else 0.0
    average = BetaAverage(theta, data.recipe.steps, data.recipe.beta)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return margin_metric_softmax(model.image_features(x), t, y, tau, lam)

    groups = [(theta, data.recipe.lr)]
    seconds = training.fit(model, groups, loss, data, ctx, after=average.update, state=[average])
    if hp["average"]:
        average.assign()
    shares = average.weights if hp["average"] else None
    return training.answer(training.by_name(model, data), theta, seconds, shares)
