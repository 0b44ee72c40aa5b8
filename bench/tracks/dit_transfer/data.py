"""What a method of the track is given, and what the scorer keeps."""

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


class Examples(Protocol):
    """Pictures as the network sees them: pixels, or latents of an autoencoder."""

    def __len__(self) -> int: ...

    def batch(self, rows: np.ndarray, draw: torch.Generator, /) -> Tensor:
        """Those at ``rows`` (B,), (B, C, H, W) float32 on the CPU; what is random comes from ``draw``."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """Pictures (n, H, W, 3) uint8, for a network in pixel space."""

    images: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: np.ndarray, draw: torch.Generator) -> Tensor:
        """(B, 3, H, W) in [-1, 1]."""
        return from_pictures(self.images[rows])


@dataclass(frozen=True, slots=True)
class Drawn:
    """Latents (n, C, h, w) float16 as a network drew them, scaled as it sees them."""

    latents: np.ndarray

    def __len__(self) -> int:
        return len(self.latents)

    def batch(self, rows: np.ndarray, draw: torch.Generator) -> Tensor:
        """(B, C, h, w); nothing is random."""
        return torch.from_numpy(self.latents[rows]).float()


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferData:
    """A pre-trained network, and a target's training pictures.

    ``x``: n pictures, ``y``: (n,) int64 classes of them, ``classes``: their names. ``pretrained``: gives a
    fresh copy of the pre-trained `DiT` on the CPU with a label table for the target's classes and the null
    label. ``bank``: folder of the stage of that name (`stages.bank`) -> what the pre-trained network drew.
    ``decode``: what the network draws (n, C, H, W) -> pictures (n, H, W, 3) uint8. ``recipe``: how every row
    trains and draws.
    """

    target: str
    classes: tuple[str, ...]
    x: Examples
    y: np.ndarray
    recipe: Recipe
    pretrained: Callable[[], DiT]
    bank: Callable[[Path], Examples]
    decode: Callable[[Tensor], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the scorer keeps: features of real pictures, by EfficientNet-Lite0 (n, 1280).

    ``test``: held-out pictures of the target, ``train``: its training pictures, ``source``: pictures of the
    pre-training; None where there are none. ``labels``: (n,) the classes that are asked for. ``inception``:
    features of the held-out pictures by the Inception network at ``weights``, (m, 2048); None where FID does
    not apply.
    """

    test: np.ndarray
    train: np.ndarray
    source: np.ndarray | None
    labels: np.ndarray
    recipe: Recipe
    switches: tuple[int, ...]
    device: str
    inception: np.ndarray | None = None
    weights: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a module of data sets gives of a target; see `TransferData`."""

    classes: tuple[str, ...]
    x: Examples
    y: np.ndarray
    pretrained: Callable[[], DiT]
    bank: Callable[[Path], Examples]
    decode: Callable[[Tensor], np.ndarray]
