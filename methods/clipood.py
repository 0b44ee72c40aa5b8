"""CLIPood: Shu et al., CLIPood: Generalizing CLIP to Out-of-Distributions, 2023."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.ood.data import OodData


@method(
    "ood",
    name="CLIPood",
    hp={"margin": True, "average": True},
    variants={"no-margin": {"margin": False}, "no-average": {"average": False}},
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
    average (the last weights).
    """
    from bench.nn.averaging import BetaAverage
    from bench.tracks.ood import training
    from bench.tracks.ood.nets.margin import margin_metric_softmax

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
