"""What a method of the track is given, and what only the scorer sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from torch import Tensor

from bench.nn.diffusion import Diffusion
from bench.tracks.controlnet.settings import Recipe

if TYPE_CHECKING:
    from torch import Generator, nn

#: Pictures (n, H, W, 3) uint8 -> the condition that is read from each, (n, H, W, channels) float32.
Annotate = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Examples:
    """B pictures with their conditions, as the network takes them.

    ``x``: pictures (B, 3, H, W) in [-1, 1], or latents (B, C, h, w). ``maps``: conditions
    (B, channels, H, W). ``text``: what the prompts are encoded to, (B, tokens, width).
    """

    x: Tensor
    maps: Tensor
    text: Tensor

    def to(self, device: str) -> Examples:
        """The same on a device."""
        return Examples(self.x.to(device), self.maps.to(device), self.text.to(device))


class Pictures(Protocol):
    """n pictures with their conditions."""

    def __len__(self) -> int: ...

    def batch(self, rows: np.ndarray, generator: Generator, /) -> Examples:
        """The pictures at the positions ``rows`` (B,), on the CPU.

        Whatever is random (a caption, a latent) comes from the ``generator``, which is on the CPU.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The pre-trained diffusion model.

    ``unet``: gives a fresh copy on the CPU, a `UNet2DConditionModel` of diffusers. ``diffusion``: what it was
    trained with. ``shape``: of what it denoises, (C, h, w). ``pixels``: whether that is a picture itself, and
    no latent.
    ``encode``: turns prompts into (n, tokens, width); "" is none. ``decode``: turns what is denoised,
    (n, C, h, w), into pictures (n, H, W, 3) float32 from -1 to 1. ``prompt``: the default one.
    """

    unet: Callable[[], nn.Module]
    diffusion: Diffusion
    shape: tuple[int, int, int]
    pixels: bool
    encode: Callable[[tuple[str, ...]], Tensor]
    decode: Callable[[Tensor], np.ndarray]
    prompt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlData:
    """What a method is given: pictures with their conditions, and the pre-trained model.

    ``condition``: its name. ``channels``: of its maps. ``pictures``: for training. ``base``: the model.
    ``bank``: takes the folder of the stage `stages.bank` and gives the pictures that the base sampled, each
    with the condition that is read from it. ``recipe``: how every row trains and samples. ``snapshots``:
    numbers of steps after which `Context.snapshot` has to be called with an answer.
    """

    condition: str
    channels: int
    pictures: Pictures
    base: Base
    bank: Callable[[Path], Pictures]
    recipe: Recipe
    snapshots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Controls:
    """What pictures are asked for: ``maps`` (n, H, W, channels) float32, and n ``prompts``."""

    maps: np.ndarray
    prompts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, rows: slice) -> Controls:
        return Controls(self.maps[rows], self.prompts[rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What only the scorer sees.

    ``condition``: its name. ``asked``: conditions of n held-out pictures; at a snapshot the first
    k = ``recipe.tiles`` are followed, in the end all. ``real``: those pictures, (n, H, W, 3) uint8.
    ``reread``: what the annotator reads from the first k of them, (k, H, W, channels). ``annotate``: the
    annotator. ``features``: of all held-out pictures, more than n, by EfficientNet-Lite0, (m, 1280).
    ``size``: pixels a side of what EfficientNet-Lite0 takes. ``recipe``, ``snapshots``: as of the method.
    ``threshold``: see `settings.Run`. ``device``: where the scoring networks run.
    """

    condition: str
    asked: Controls
    real: np.ndarray
    reread: np.ndarray
    annotate: Annotate
    features: np.ndarray
    size: int
    recipe: Recipe
    snapshots: tuple[int, ...]
    threshold: float
    device: str
