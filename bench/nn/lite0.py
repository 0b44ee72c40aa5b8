"""EfficientNet-Lite0 as it comes in a package: its ImageNet weights, and how a picture becomes its input.

Imports torch: import it inside functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from bench.errors import BenchError
from bench.nn import weights
from bench.packages import LITE0

#: The tensors of the file of `LITE0`, classifier included.
IMAGENET_TENSORS = 296


@dataclass(frozen=True, slots=True)
class Preprocess:
    """Turns pictures into an image tower's input: resizes the shorter side, cuts the centre, normalises."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic"]

    def __call__(self, pictures: np.ndarray | Tensor) -> Tensor:
        """Pictures (B, H, W, 3) uint8 as float32 (B, 3, size, size), on the same device."""
        if isinstance(pictures, np.ndarray):
            pictures = torch.from_numpy(np.array(pictures))  # a copy: it may be read-only
        x = pictures.movedim(-1, 1).float() / 255
        if x.shape[-2:] != (self.size, self.size):
            x = transforms.resize(x, [self.size], InterpolationMode(self.interpolation), antialias=True)
            x = transforms.center_crop(x, [self.size, self.size]).clamp(0, 1)
        return self.normalise(x)

    def normalise(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] with the mean and deviation that the tower expects."""
        mean, std = (x.new_tensor(v)[:, None, None] for v in (self.mean, self.std))
        return (x - mean) / std


def imagenet_weights() -> dict[str, Tensor]:
    """The ImageNet weights of timm's ``tf_efficientnet_lite0`` without its classifier.

    The package's file names its tensors in another way but in the same order; every one is checked in kind
    (weight, bias, running mean …) and shape.

    Raises:
        BenchError: the package is missing, or its file does not fit.
    """
    import timm

    path = LITE0.path()
    found = weights.read(path)
    wanted = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    if len(found) != len(wanted) or len(wanted) != IMAGENET_TENSORS:
        raise BenchError(
            f"{path}: {len(found)} tensors for the {len(wanted)} of timm's tf_efficientnet_lite0,"
            f" expected {IMAGENET_TENSORS} in both"
        )
    for (theirs, value), (ours, shape) in zip(found.items(), wanted.items(), strict=True):
        kinds = (theirs.rpartition(".")[2], ours.rpartition(".")[2])
        if kinds[0] != kinds[1] or value.shape != shape.shape:
            raise BenchError(
                f"{path}: {theirs} {tuple(value.shape)} stands where timm has {ours} {tuple(shape.shape)}"
            )
    named = zip(wanted, found.values(), strict=True)
    return {name: value for name, value in named if not name.startswith("classifier.")}
