"""CogDPM: a diffusion forecast whose guidance is weighted by the variance of its own clean estimates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import BenchError, Context, method
from bench.tracks.forecasting import stages

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.forecasting.data import ForecastingData
    from bench.tracks.forecasting.nets.diffusing import Forecaster, Weight

#: Rounds in which lambda is set: the weights move the chain, and the chain moves its variances. The chains
#: of the first are guided by the constant.
ROUNDS = 2


@method(
    "forecasting",
    name="CogDPM",
    # All assumed: of the paper's numbers none was found. None: as the recipe of the track assumes it.
    hp={"form": "clip", "k": None, "w": None, "w_max": None, "place": "own"},
    variants={
        "by-rank": {"form": "rank"},
        "inverted": {"place": "inverted"},
        "shuffled": {"place": "shuffled"},
        "last-step": {"k": 2},
        "constant": {"form": "constant"},
        "unguided": {"form": "none"},
    },
    stages=stages.network,
    counterpart="steps",
    ref="Chen et al., CogDPM: Diffusion Probabilistic Models via Cognitive Predictive Coding, ICML 2024",
)
def cogdpm(data: ForecastingData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """eps = eps_u + w (eps_c - eps_u) elementwise, w = clip(1 + lambda U, 1, w_max), at each step t.

    U is the variance of the last ``k`` clean estimates x0_hat(t), ..., x0_hat(t + k - 1) at each pixel: large
    where precision is low. Until there are k of them, w is the constant that the row is compared with, the
    best on validation of those that the recipe names. lambda is set on validation windows such that the mean
    of w is that constant; where it is below 1, lambda is negative and w within [0, 1].

    ``form``: "rank" is 1 + 2 (w - 1) rank of U in the window, "constant" w everywhere, "none" eps_c alone.
    ``place``: "inverted" exchanges the largest U of a window for the smallest and so on, "shuffled" moves
    every pixel's U to another one of the window: the same weights at other places. "last-step" has k = 2, so
    that U is the change in the last step. Which estimates enter U was not found: here the guided chain's own.
    """
    from bench.tracks.forecasting import training
    from bench.tracks.forecasting.rows.forecasts import observed
    from bench.tracks.forecasting.scale import unscaled

    theta, w = stages.load(ctx, data)
    assumed = data.recipe.assumed
    w, k = hp["w"] or w, hp["k"] or assumed.estimates
    weighted = hp["form"] in ("clip", "rank")
    if weighted and k >= assumed.sampling_steps:
        raise BenchError(
            f"cogdpm: a chain of {assumed.sampling_steps} steps has no weights by {k} estimates: expected"
            " more run.sampling_steps or a smaller k"
        )
    guidance = Guidance(hp, w, k, hp["w_max"] or assumed.guidance_max, ctx.seed)
    if hp["form"] == "clip":
        guidance.set_on_validation(theta, data)
        ctx.report(w=w, scale=guidance.scale or 0.0, mean_on_validation=guidance.mean())
        guidance.forget()

    sampled = theta.sample(
        observed(data.test, data), members=data.members, steps=assumed.sampling_steps, seed=ctx.seed,
        weight=guidance.weight(), k=k,
    )  # fmt: skip
    if weighted:
        ctx.report(w=w, mean_on_test=guidance.mean())
    return {
        "test": data.forecast(unscaled(sampled.members, data.transform)),
        "precision": data.precision(sampled.variance),
        "parameters": training.parameters(theta.net),
    }


class Guidance:
    """The weight of guidance of a row, and what it was on the chains so far.

    ``scale``: lambda; None: it is not set yet, and the weight is the constant.
    """

    def __init__(self, hp: Mapping[str, Any], w: float, k: int, w_max: float, seed: int) -> None:
        self.form, self.place = hp["form"], hp["place"]
        self.w, self.k, self.w_max, self.seed = w, k, w_max, seed
        self.scale: float | None = None
        self._keeps = False
        self._means: list[float] = []
        self._variances: list[Tensor] = []

    def weight(self) -> Weight | None:
        """What the sampler asks at each step; None: eps_c alone."""
        if self.form == "none":
            return None
        if self.form == "constant":
            return lambda estimates, t: self.w
        return self._weighted

    def _weighted(self, estimates: list[Tensor], t: int) -> Tensor | float:
        import torch

        if len(estimates) < self.k:
            return self.w
        U = self._placed(torch.stack(estimates).var(0, correction=0))
        if self._keeps:
            self._variances.append(U)
        if self.form == "clip" and self.scale is None:
            return self.w
        found = self.of(U, self.scale or 0.0)
        self._means.append(float(found.mean()))
        return found

    def of(self, U: Tensor, scale: float) -> Tensor:
        """The weights of variances (B, L * C, H, W)."""
        if self.form == "rank":
            return 1 + 2 * (self.w - 1) * _ranks(U)
        least, most = (1.0, self.w_max) if self.w >= 1 else (0.0, 1.0)
        return (1 + scale * U).clamp(least, most)

    def _placed(self, U: Tensor) -> Tensor:
        """The variances at the places where the row wants them, (B, L * C, H, W)."""
        import torch

        flat = U.flatten(1)
        if self.place == "inverted":
            order = flat.argsort(1)
            return torch.empty_like(flat).scatter(1, order, flat.gather(1, order.flip(1))).view_as(U)
        if self.place == "shuffled":
            generator = torch.Generator().manual_seed(self.seed)
            at = torch.randperm(U.shape[2] * U.shape[3], generator=generator).to(U.device)
            return U.flatten(2)[:, :, at].view_as(U)
        return U

    def set_on_validation(self, theta: Forecaster, data: ForecastingData) -> None:
        """Set lambda such that the mean of w is the constant, on chains that are guided by it."""
        import torch

        for _ in range(ROUNDS):
            self.forget()
            self._keeps = True
            self._sample(theta, data)
            self._keeps = False
            U = torch.cat([u.flatten() for u in self._variances])
            self.scale = _root(lambda scale, U=U: float(self.of(U, scale).mean()), self.w)
        self.forget()
        self._sample(theta, data)

    def _sample(self, theta: Forecaster, data: ForecastingData) -> None:
        _, frames, members = stages.validation(data)
        theta.sample(
            frames, members=members, steps=data.recipe.assumed.sampling_steps, seed=self.seed,
            weight=self.weight(), k=self.k,
        )  # fmt: skip

    def mean(self) -> float:
        """The mean weight since the last `forget`, without the steps before there were k estimates."""
        return sum(self._means) / max(1, len(self._means))

    def forget(self) -> None:
        """Count what follows anew."""
        self._means, self._variances = [], []


def _ranks(U: Tensor) -> Tensor:
    """Ranks in [0, 1] of all pixels of a window, (B, L * C, H, W)."""
    flat = U.flatten(1)
    ranks = flat.argsort(1).argsort(1).to(flat)
    return (ranks / (flat.shape[1] - 1)).view_as(U)


def _root(mean: Callable[[float], float], w: float) -> float:
    """Lambda for which the mean of the weights is w, by bisection; its sign is that of w - 1."""
    sign = 1.0 if w >= 1 else -1.0
    most = 1.0
    while sign * (mean(sign * most) - w) < 0 and most < 1e9:
        most *= 4
    least = 0.0
    for _ in range(40):
        half = (least + most) / 2
        least, most = (half, most) if sign * (mean(sign * half) - w) < 0 else (least, half)
    return sign * most
