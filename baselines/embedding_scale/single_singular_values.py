"""Singular-value regularised DCNv2: a single embedding that is made to use its directions alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, Space, Task, method
from bench.tracks.embedding_scale import settings

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.embedding_scale.data import CtrData


def _needs_two(task: Task, run: Any, hp: Mapping[str, Any]) -> str | None:
    size = task.params["scale"] * run.base_dim
    return "the variance of one singular value is undefined: embedding size 1" if size < 2 else None


@method(
    "embedding_scale",
    name="Single embedding, singular values",
    base=False,
    hp={"weight": Space(default=1e-3, choices=(1e-3, 1e-4, 1e-5))},
    variants={"dcnv2": {}},
    skip=_needs_two,
    counterpart="single/{variant}",
    ref="the code of Guo et al., ICML 2024, arXiv 2310.04400",
)
def single_singular_values(data: CtrData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """Collapse forbidden by the loss itself:

        loss + weight * mean_i var_r(sigma_r / mean_r sigma_r)

    sigma_r: the singular values of field i's embeddings (B, K) of the batch's rows; var is unbiased. Only in
    the code (``singular-value-regularized-dcn-40-*``, weights 1e-3, 1e-4, 1e-5).
    """
    from bench.tracks.embedding_scale import training
    from bench.tracks.embedding_scale.nets import penalties

    N = len(data.cardinalities)
    run = settings.with_width(ctx.run, data.dataset, "dcnv2")
    net = training.network("dcnv2").Single(data, data.scale * ctx.run.base_dim, run)

    def penalty(x: Tensor) -> Tensor:
        return hp["weight"] * penalties.spread(net.embedding(x)[0], N)

    return training.solve(net, net, data, ctx, penalty=penalty)
