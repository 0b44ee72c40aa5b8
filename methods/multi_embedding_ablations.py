"""Ablations of multi-embedding, on DCNv2: its sets made alike, or made different. h^(m), M, K as in its file.

Source: Guo et al., On the Embedding Collapse when Scaling up Recommendation Models, 2024; what the paper's
text does not say is from the released code (thuml/Multi-Embedding).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, Space, Task, method
from bench.tracks.embedding_scale import settings

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.embedding_scale.data import CtrData


def _single_at_one_set(task: Task, hp: Mapping[str, Any]) -> str | None:
    """With one set nothing is shared, no norm varies, there is no pair: multi-embedding's base cell."""
    return "single/dcnv2" if task.params["scale"] == 1 else None


_ON_DCNV2: Mapping[str, Any] = {
    "base": False,
    "variants": {"dcnv2": {}},
    "counterpart": "multi/{variant}",
    "alias": _single_at_one_set,
    "ref": "Guo et al., ICML 2024, arXiv 2310.04400",
}


def _mean_of_sets(net: Any, x: Tensor) -> Tensor:
    """y = F(1/M sum_m h^(m))."""
    logits: Tensor = net.head(net.interact(net.embedding(x)).mean(0))
    return logits


@method("embedding_scale", name="Multi-embedding, one interaction", id="multi-shared", **_ON_DCNV2)
def shared_interaction(data: CtrData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """Complete sets, but one interaction for all of them: h^(m) = I(e_1^(m), ..., e_N^(m)).

    I is the cross network with its projection. Only parameters are shared: each set is normalised by its own
    batch statistics, in training (as in the code, ``me-si-dcn-*``) and in evaluation (where the code has one
    running average for all sets). So the weights are all in which it differs from multi-embedding.
    """
    from bench.tracks.embedding_scale import training

    run = settings.with_width(ctx.run, data.dataset, "dcnv2")
    net = training.network("dcnv2_shared").Multi(data, ctx.run.base_dim, data.scale, run)
    return training.solve(net, lambda x: _mean_of_sets(net, x), data, ctx)


@method(
    "embedding_scale",
    name="Multi-embedding, norms aligned",
    id="multi-norm-aligned",
    hp={"weight": 1.0},
    **_ON_DCNV2,
)
def norm_aligned(data: CtrData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """Sets that must weigh the pairs of fields alike:

        loss + weight * mean_{l,i,j} var_m || W^(m)_{i->j} ||_F^2

    W^(m)_{i->j} (K, K): the block of set m's l-th cross layer that leads from field i to field j; var over
    the M sets. The paper's ablation; that norms are squared, all layers count and the weight is 1 is the
    code's (``weight-norm-aligned-mdcn-*``).
    """
    from bench.tracks.embedding_scale import training
    from bench.tracks.embedding_scale.nets import penalties

    N = len(data.cardinalities)
    run = settings.with_width(ctx.run, data.dataset, "dcnv2")
    net = training.network("dcnv2").Multi(data, ctx.run.base_dim, data.scale, run)

    def penalty(x: Tensor) -> Tensor:
        W = net.cross.weight  # (layers, M, N K, N K)
        return hp["weight"] * penalties.norm_variance(W, N)

    return training.solve(net, lambda x: _mean_of_sets(net, x), data, ctx, penalty=penalty)


@method(
    "embedding_scale",
    name="Multi-embedding, spaces kept apart",
    id="multi-space-similarity",
    hp={"weight": Space(default=1e-3, choices=(1e-3, 1e-4, 1e-5))},
    **_ON_DCNV2,
)
def space_similarity(data: CtrData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """Sets that must not span the same directions of a batch:

        loss + weight * mean_{i, m<n, r} sigma_r(E_i^(m)T E_i^(n))^2

    E_i^(m) (B, K): field i's embeddings in set m of the batch's rows; sigma_r: the K singular values. Only in
    the code (``space-similarity-regularized-mdcn-4x10-*``, weights 1e-3, 1e-4, 1e-5), which squares after
    averaging sigma_r over the fields; here each field's are squared, so its own similarity counts.
    """
    from bench.tracks.embedding_scale import training
    from bench.tracks.embedding_scale.nets import penalties

    N = len(data.cardinalities)
    run = settings.with_width(ctx.run, data.dataset, "dcnv2")
    net = training.network("dcnv2").Multi(data, ctx.run.base_dim, data.scale, run)

    def penalty(x: Tensor) -> Tensor:
        return hp["weight"] * penalties.similarity(net.embedding(x), N)

    return training.solve(net, lambda x: _mean_of_sets(net, x), data, ctx, penalty=penalty)
