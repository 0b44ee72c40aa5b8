"""Linear probe: logistic regression on the frozen tower's features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method
from bench.tracks.ood.limits import names_nothing_new
from bench.tracks.ood.stages import frozen_features

if TYPE_CHECKING:
    from bench.tracks.ood.data import OodData


@method(
    "ood",
    name="Linear probe",
    deterministic=True,
    skip=names_nothing_new,
    stages=frozen_features,
    ref="Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021",
)
def linear_probe(data: OodData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """W f + b by L-BFGS; the strength of its L2 penalty is the best of seven on the sources' validation."""
    from bench.tracks.ood import training
    from bench.tracks.ood.nets import heads

    model = data.encoder().to(ctx.device)
    head = heads.Linear(model, data)
    head.probe(ctx)
    return training.answer(head.predict, head.weights)
