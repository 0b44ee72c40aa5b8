"""The annotators of the paper's profile, with weights that the user provides.

Each reads a condition from photographs (n, H, W, 3) uint8 as (n, H, W, 1 or 3) uint8. Canny and HED are
ControlNet's own. Its MiDaS comes as the folder of a DPT of transformers. Its Uniformer is in no library, so
that an UperNet of transformers for the same 150 classes of ADE20K takes its place.

Imports torch: import it inside functions.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contract import BenchError
from bench.nn import weights
from bench.tracks.controlnet.sources.paper_files import ANNOTATORS

Read = Callable[[np.ndarray], np.ndarray]
#: Canny's thresholds in ControlNet's annotator.
CANNY = (100, 200)
#: Depth, scaled to 0 to 1, below which normals look at the viewer, and the size of the viewing direction
#: beside the slopes of what MiDaS gives, which is in the hundreds or thousands (both ControlNet's).
_BACKGROUND, _TOWARDS = 0.1, 2 * np.pi
_MIDAS_SIDE, _UPERNET_SIDE = 384, 512
#: Mean and deviation of ImageNet, of values from 0 to 255.
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_BATCH = 4


def annotator(condition: str, folder: Path, device: str) -> Read:
    """The annotator of a condition with the weights in a folder.

    Raises:
        BenchError: the weights cannot be loaded, or are of another network.
    """
    if condition == "edge":
        return canny
    if condition == "sketch":
        return batched(Hed(folder / ANNOTATORS["sketch"]).to(device).eval(), device)
    if condition == "segmentation":
        return batched(Segmentation(_loaded("UperNetForSemanticSegmentation", folder / "upernet")), device)
    near = batched(Depth(_loaded("DPTForDepthEstimation", folder / "midas")), device)
    of = depths if condition == "depth" else normals
    return lambda pictures: of(near(pictures))


def _loaded(kind: str, folder: Path) -> Any:
    import transformers

    try:
        return getattr(transformers, kind).from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as e:
        why = str(e).partition("\n")[0]
        raise BenchError(f"{folder}: cannot be loaded as {kind} ({type(e).__name__}: {why})") from e


def batched(net: nn.Module, device: str) -> Read:
    """A network of pictures (n, 3, H, W) from 0 to 255 as a function of pictures (n, H, W, 3) uint8.

    What the network gives, (n, channels, H, W), comes with the channels last.
    """
    net = net.to(device).eval()

    def read(pictures: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            parts = [
                net(torch.from_numpy(np.array(pictures[i : i + _BATCH])).to(device).movedim(-1, 1).float())
                for i in range(0, len(pictures), _BATCH)
            ]
        return np.concatenate([p.movedim(1, -1).cpu().numpy() for p in parts])

    return read


def canny(pictures: np.ndarray) -> np.ndarray:
    """Canny's edges."""
    import cv2

    return np.stack([cv2.Canny(np.ascontiguousarray(p), *CANNY) for p in pictures])[..., None]


class _Level(nn.Module):
    def __init__(self, first: int, width: int, layers: int) -> None:
        super().__init__()
        widths = [first, *[width] * layers]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.projection = nn.Conv2d(width, 1, 1)


class Hed(nn.Module):
    """HED as ControlNet publishes it (ControlNetHED.pth), binarised at one half.

    Raises:
        BenchError: the file is missing, or of another network.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.norm = nn.Parameter(torch.zeros(1, 3, 1, 1))
        for k, sizes in enumerate(((3, 64, 2), (64, 128, 2), (128, 256, 3), (256, 512, 3), (512, 512, 3)), 1):
            self.add_module(f"block{k}", _Level(*sizes))
        found = weights.read(file)
        weights.check(file, found, self.state_dict())
        self.load_state_dict(found)

    def forward(self, x: Tensor) -> Tensor:
        """See `batched`."""
        side, x, lines = x.shape[2:], x - self.norm, []
        for k in range(1, 6):
            level: Any = self.get_submodule(f"block{k}")
            x = x if k == 1 else F.max_pool2d(x, 2, 2)
            for conv in level.convs:
                x = F.relu(conv(x))
            lines.append(F.interpolate(level.projection(x), side, mode="bilinear", align_corners=False))
        return (torch.stack(lines).mean(0) > 0).to(torch.uint8) * 255


class Depth(nn.Module):
    """How near things are, (n, 1, H, W), by a DPT that was trained as MiDaS, in its own unit."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """See `batched`."""
        side = getattr(self.net.config, "image_size", _MIDAS_SIDE)
        small = F.interpolate(x / 127.5 - 1, (side, side), mode="bicubic", align_corners=False)
        near = self.net(pixel_values=small).predicted_depth[:, None]
        return F.interpolate(near.float(), x.shape[2:], mode="bicubic", align_corners=False)


def depths(near: np.ndarray) -> np.ndarray:
    """What `Depth` gives as ControlNet's condition: each picture from 0 to 255, (n, H, W, 1) uint8."""
    return (_scaled(near) * 255).astype(np.uint8)


def _scaled(near: np.ndarray) -> np.ndarray:
    """Each picture from 0 to 1; one that is as near everywhere is 0."""
    above = near - near.min((1, 2, 3), keepdims=True)
    out: np.ndarray = above / np.maximum(above.max((1, 2, 3), keepdims=True), 1e-6)
    return out


def normals(near: np.ndarray) -> np.ndarray:
    """Normals of surfaces as colours, (n, H, W, 3) uint8, as ControlNet's annotator has them.

    Slopes are taken of what `Depth` gives, (n, H, W, 1), in its own unit; where a picture's far background
    begins is seen on its scaled depth.
    """
    from scipy.ndimage import sobel

    ground = _scaled(near)[..., 0] >= _BACKGROUND
    # One by one: the operator smooths along every axis that it does not take the slope of.
    slopes = [[sobel(one, axis, mode="mirror") for axis in (1, 0)] for one in near[..., 0]]
    across, down = np.moveaxis(np.array(slopes), 1, 0) * ground
    vectors = np.stack([across, down, np.full_like(across, _TOWARDS)], axis=-1)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors * 127.5 + 127.5).astype(np.uint8)


class Segmentation(nn.Module):
    """The class of each pixel as a colour, by an UperNet."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """See `batched`."""
        mean, std = (x.new_tensor(v).view(1, 3, 1, 1) for v in (_MEAN, _STD))
        side = (min(_UPERNET_SIDE, x.shape[2]),) * 2
        logits = self.net(F.interpolate((x - mean) / std, side, mode="bilinear", align_corners=False)).logits
        classes = F.interpolate(logits, x.shape[2:], mode="bilinear", align_corners=False).argmax(1)
        return colours(classes)


def colours(classes: Tensor) -> Tensor:
    """A colour of its own for each of up to 256 classes (n, H, W): (n, 3, H, W) uint8."""
    # Multiplied by odd numbers the remainders of different classes differ.
    return torch.stack([(classes + 1) * k % 256 for k in (37, 101, 199)], 1).to(torch.uint8)
