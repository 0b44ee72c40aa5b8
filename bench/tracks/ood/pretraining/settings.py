"""Settings of the contrastive pre-training; they are part of what its stage is known by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the dual encoder is trained.

    ``dim``: dimensions of the joint space. ``steps``, ``batch``: optimisation steps, and pairs in each.
    ``emoji``: how many pairs of a batch are Twemoji; the rest are icons. ``first_block``: the blocks of the
    image tower from this one on are trained, and what follows them; 0: the whole tower; 8: only the
    projection. ``lr``: learning rate of the tower; ``head_lr``: of both projections and the scale. Both rise
    over ``warmup`` steps and fall along a cosine. ``scale``: first value of 1 / temperature. ``held_out``:
    share of the pre-training families on which zero-shot accuracy is evaluated on the way; the final weights
    are trained without them too.
    """

    dim: int = 256
    steps: int = 300
    batch: int = 192
    emoji: int = 72
    first_block: int = 5
    lr: float = 5e-4
    head_lr: float = 2e-3
    weight_decay: float = 0.05
    warmup: int = 30
    scale: float = 14.0
    held_out: float = 0.15
    seed: int = 0
