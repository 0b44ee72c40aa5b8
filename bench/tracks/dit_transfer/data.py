"""What a method of the track is given, and what only the scorer sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from bench.nn.diffusion import from_pictures
from bench.tracks.dit_transfer.settings import Recipe

if TYPE_CHECKING:
    from bench.tracks.dit_transfer.nets.dit import DiT


class ModelInputs(Protocol):
    """n pictures as the network takes them: pixels, or latents of an autoencoder."""

    def __len__(self) -> int: ...

    def batch(self, rows: np.ndarray, generator: torch.Generator, /) -> Tensor:
        """The inputs at the positions ``rows`` (B,): (B, C, H, W) float32 on the CPU.

        Whatever is random comes from the ``generator``, which is on the CPU.
        """


@dataclass(frozen=True, slots=True)
class Pixels:
    """Pictures (n, H, W, 3) uint8, for a network in pixel space."""

    images: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: np.ndarray, generator: torch.Generator) -> Tensor:
        """The pictures at ``rows`` (B,): (B, 3, H, W) in [-1, 1]; nothing is random."""
        return from_pictures(self.images[rows])


@dataclass(frozen=True, slots=True)
class SampledLatents:
    """Latents (n, C, h, w) float16 that a network sampled, scaled as it takes them."""

    latents: np.ndarray

    def __len__(self) -> int:
        return len(self.latents)

    def batch(self, rows: np.ndarray, generator: torch.Generator) -> Tensor:
        """The latents at ``rows`` (B,): (B, C, h, w); nothing is random."""
        return torch.from_numpy(self.latents[rows]).float()


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetData:
    """What a source opens of a target: its n training pictures, and the pre-trained network.

    ``classes``: names of the target's classes. ``x``: the training pictures. ``y``: (n,) int64, their
    classes. ``pretrained``: gives a fresh copy of the pre-trained `DiT` on the CPU, with a label table for
    the target's classes and the null label (`DiT.null`); every class starts as the null label does.
    ``bank``: takes the folder of the stage `bench.tracks.dit_transfer.stages.bank` and gives the pictures
    in it, which the pre-trained network sampled. ``decode``: turns what the network samples,
    (n, C, H, W) float32 on the CPU, into pictures (n, H, W, 3) uint8.
    """

    classes: tuple[str, ...]
    x: ModelInputs
    y: np.ndarray
    pretrained: Callable[[], DiT]
    bank: Callable[[Path], ModelInputs]
    decode: Callable[[Tensor], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferData(TargetData):
    """What a method is given: a target's training pictures, a pre-trained network, and the recipe.

    ``target``: name of the target. ``recipe``: how every row trains on the target and samples from what it
    trained.
    """

    target: str
    recipe: Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What only the scorer sees: features of real pictures by EfficientNet-Lite0, (number, 1280) float32.

    ``target``: its name. ``test``: of the target's held-out pictures; ``groups``: (number,) strings, which of
    them belong together (one drawing's variants, one scene), None where each stands alone. ``train``: of its
    training pictures. ``source``: of pictures of the pre-training; None where there are none. ``labels``:
    (n,) int64, the class of each picture that a method has to sample. ``recipe``: of the target.
    ``switches``: time steps at which a relay is scored. ``device``: where the scoring networks run.
    ``inception``: features of the held-out pictures by the Inception network whose weights are in the file
    ``weights``, (number, 2048) float32; None where FID does not apply.
    """

    target: str
    test: np.ndarray
    train: np.ndarray
    source: np.ndarray | None
    labels: np.ndarray
    recipe: Recipe
    switches: tuple[int, ...]
    device: str
    groups: np.ndarray | None = None
    inception: np.ndarray | None = None
    weights: Path | None = None
