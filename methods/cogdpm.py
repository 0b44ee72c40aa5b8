"""CogDPM: a diffusion forecast whose guidance is weighted by the variance of its own clean estimates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import BenchError, Context, method
from bench.tracks.forecasting import stages

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor

    from bench.tracks.forecasting.data import ForecastingData
    from bench.tracks.forecasting.nets.diffusing import Forecaster, Sampled, Weight

#: Rounds in which lambda is set: the weights move the chain, and the chain moves its variances. The chains
#: of the first are guided by the constant.
ROUNDS = 2


@method(
    "forecasting",
    name="CogDPM",
    # All assumed: of the paper's numbers none was found. None: as the recipe of the track assumes it.
    # Ablations are never chosen on validation, so they do not pay for forecasts of it.
    hp={"form": "clip", "k": None, "w": None, "w_max": None, "place": "own", "val": True},
    variants={
        "by-rank": {"form": "rank", "val": False},
        "inverted": {"place": "inverted", "val": False},
        "shuffled": {"place": "shuffled", "val": False},
        "last-step": {"k": 2, "val": False},
        "constant": {"form": "constant"},
        "unguided": {"form": "none"},
    },
    stages=stages.network,
    counterpart="steps",
    ref="Chen et al., CogDPM: Diffusion Probabilistic Models via Cognitive Predictive Coding, ICML 2024",
)
def cogdpm(data: ForecastingData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """eps = eps_u + w_t (eps_c - eps_u) elementwise, w_t = clip(1 + lambda U_t, 1, w_max), at each step t.

    U_t is the variance of the clean estimates of the k steps before, x0_hat(t+1), ..., x0_hat(t+k), at each
    pixel: large where precision is low. Until there are ``k`` of them w_t is w, the constant of the row
    `cogdpm/constant`: the best on validation of those that the recipe names. lambda is set on validation such
    that the mean of w_t is w. Where w is below 1, lambda is negative and w_t within [0, 1].

    This is our reading of an outline, in which nothing says which estimates enter U: here those of the guided
    chain itself, for which x0_hat(t) needs w_t, so that U_t ends at t+1. With estimates of the conditional
    network alone it could end at t.

    ``form``: "rank" is 1 + 2 (w - 1) rank of U_t in the window, "constant" w everywhere, "none" eps_c alone.
    ``place``: "inverted" exchanges the largest U of a window for the smallest and so on, "shuffled" moves
    every pixel's U to another one of the window: the same weights at other places. "last-step" has k = 2, so
    that U is the change in the last step. ``val``: whether validation is forecast too.
    """
    from bench.tracks.forecasting import training
    from bench.tracks.forecasting.scale import unscaled

    theta, best = stages.load(ctx, data)
    assumed = data.recipe.assumed
    w = best if hp["w"] is None else hp["w"]
    k = assumed.estimates if hp["k"] is None else hp["k"]
    w_max = assumed.guidance_max if hp["w_max"] is None else hp["w_max"]
    weighted = hp["form"] in ("clip", "rank")
    if weighted and k >= assumed.sampling_steps:
        raise BenchError(
            f"cogdpm: a chain of {assumed.sampling_steps} steps has no weights by {k} estimates: expected"
            " more run.sampling_steps or a smaller k"
        )
    guidance = Guidance(hp, w, k, w_max, ctx.seed)
    if hp["form"] == "clip":
        guidance.set_on_validation(theta, data)

    answer: dict[str, Any] = {"parameters": training.parameters(theta.net)}
    seen: dict[str, float] = {}
    if hp["val"] or weighted:
        members = data.members if hp["val"] else stages.tried_members(data)
        sampled, seen["mean_on_validation"] = guidance.sampled(theta, data, data.val.inputs, members)
        if hp["val"]:
            answer["val"] = data.forecast(unscaled(sampled.members, data.transform), "val")
    sampled, seen["mean_on_test"] = guidance.sampled(theta, data, data.test, data.members)
    if weighted:
        ctx.report(w=w, **({} if guidance.scale is None else {"scale": guidance.scale}), **seen)
    elif hp["form"] == "constant":
        ctx.report(w=w)
    return answer | {
        "test": data.forecast(unscaled(sampled.members, data.transform)),
        "precision": data.precision(sampled.variance),
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
        """Set lambda such that the mean weight is the constant, on the chains that it guides."""
        import torch

        for _ in range(ROUNDS):
            self._variances, self._keeps = [], True
            self.sampled(theta, data, data.val.inputs, stages.tried_members(data))
            U = torch.cat([u.flatten() for u in self._variances])
            self.scale = _root(lambda scale, U=U: float(self.of(U, scale).mean()), self.w)
        self._variances, self._keeps = [], False

    def sampled(
        self, theta: Forecaster, data: ForecastingData, inputs: xr.DataArray, members: int
    ) -> tuple[Sampled, float]:
        """Forecasts by these weights, and their mean, without the steps before there were k estimates."""
        from bench.tracks.forecasting.rows.forecasts import observed

        self._means = []
        found = theta.sample(
            observed(inputs, data), members=members, steps=data.recipe.assumed.sampling_steps, seed=self.seed,
            weight=self.weight(), k=self.k,
        )  # fmt: skip
        return found, sum(self._means) / max(1, len(self._means))


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
