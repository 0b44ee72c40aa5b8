"""Zero-shot: the encoder as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.contract import Context, method

if TYPE_CHECKING:
    from bench.tracks.ood.data import OodData


@method(
    "ood",
    name="Zero-shot",
    deterministic=True,
    ref="Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021",
)
def zero_shot(data: OodData, hp: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """argmax_k f.t_k: the class whose prompt lies nearest to the picture. Nothing is trained."""
    from bench.tracks.ood import training

    model = data.encoder().to(ctx.device)
    return training.answer(training.by_name(model, data), ())
