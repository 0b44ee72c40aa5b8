"""Single embedding in a wider network: what of multi-embedding's gain is only the number of hidden units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, Task, method
from bench.tracks.embedding_scale import settings
from bench.tracks.embedding_scale.settings import MODELS, TRAINING, single_at_one_set, too_large

if TYPE_CHECKING:
    from bench.tracks.embedding_scale.data import CtrData


def _not_compared(task: Task, run: Any, hp: Mapping[str, Any]) -> str | None:
    """The widest network costs the most of all rows, so there is one point of it, where the claim is."""
    if task.params["scale"] not in (1, 10):
        return "single-wide is compared at 10 times the base size alone, where the track's claim is"
    return too_large(task, run, hp)


@method(
    "embedding_scale",
    name="Single embedding, wide",
    base=False,
    hp={"model": "dcnv2"},
    variants=MODELS,
    run_spaces=TRAINING,
    skip=_not_compared,
    counterpart="single/{variant}",
    alias=single_at_one_set,
)
def single_wide(data: CtrData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """One set of embeddings of size scale * K, as `single`, with as many hidden units as all sets together.

    With M sets, multi-embedding has M first layers of ``hidden`` units, one a set, and shares the layers
    after them (in FinalMLP all layers are per set). Here one set has M * ``hidden`` units in just these
    layers. Not in the paper: it is what a reader will ask for. It has more weights than multi-embedding,
    whose sets are kept apart: M times as many between the embeddings and the first layer.
    """
    from bench.tracks.embedding_scale import training

    M, K = data.scale, ctx.run.base_dim
    run = settings.with_width(ctx.run, data.dataset, hp["model"])
    net = training.network(hp["model"]).Single(data, M * K, run, wide=M)
    return training.solve(net, net, data, ctx)
