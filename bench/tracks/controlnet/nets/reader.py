"""A small network that reads heights, slopes or surfaces from a picture: the laptop's annotator of these.

Imports torch: import it inside functions.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.nn import weights
from bench.nn.diffusion import from_pictures
from bench.tracks.controlnet.settings import ReaderRecipe

#: Pictures at a time.
_BATCH = 64


class Reader(nn.Module):
    """A U-Net of three levels with 70,000 weights."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.high = _two(3, 16)
        self.middle = _two(16, 32)
        self.low = _two(32, 48, 32)
        self.middle_up = nn.Conv2d(64, 32, 3, padding=1)
        self.high_up = nn.Conv2d(48, 16, 3, padding=1)
        self.out = nn.Conv2d(16, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) in [-1, 1] -> (n, channels, H, W)."""
        high = self.high(x)
        middle = self.middle(F.max_pool2d(high, 2))
        low = self.low(F.max_pool2d(middle, 2))
        up = F.silu(self.middle_up(torch.cat([middle, F.interpolate(low, scale_factor=2)], 1)))
        up = F.silu(self.high_up(torch.cat([high, F.interpolate(up, scale_factor=2)], 1)))
        out: Tensor = self.out(up)
        return out


def _two(first: int, width: int, last: int | None = None) -> nn.Sequential:
    last = last or width
    return nn.Sequential(
        nn.Conv2d(first, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, last, 3, padding=1), nn.SiLU()
    )


def train(
    pictures: np.ndarray,
    maps: np.ndarray,
    recipe: ReaderRecipe,
    *,
    classes: bool,
    report: Callable[[int, float], None],
) -> Reader:
    """Train a reader.

    Args:
        pictures: (n, H, W, 3) uint8.
        maps: what is to be read, (n, H, W, channels); of classes one-hot.
        recipe: steps, batch, rate.
        classes: whether a pixel is of one of several classes.
        report: called now and then with the number of steps done and the loss.
    """
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    net = Reader(maps.shape[-1])
    optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.lr, weight_decay=0.0, fused=True)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.steps)
    for step in range(recipe.steps):
        rows = torch.randint(len(pictures), (recipe.batch,), generator=generator).numpy()
        wanted = torch.from_numpy(maps[rows]).movedim(-1, 1)
        out = net(from_pictures(pictures[rows]))
        loss = F.cross_entropy(out, wanted.argmax(1)) if classes else F.mse_loss(out, wanted)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        rate.step()
        if (step + 1) % 100 == 0:
            report(step + 1, float(loss.detach()))
    return net.eval()


def load(path: Path, channels: int) -> Reader:
    """A reader with the weights in a file; raises `BenchError` for a file of another network."""
    net, found = Reader(channels), weights.read(path)
    weights.check(path, found, net.state_dict())
    net.load_state_dict(found)
    return net.eval()


def read(net: Any, pictures: np.ndarray) -> np.ndarray:
    """What a reader gives for pictures (n, H, W, 3) uint8: (n, H, W, channels) float32."""
    with torch.no_grad():
        parts = [
            net(from_pictures(pictures[i : i + _BATCH])).movedim(1, -1).numpy()
            for i in range(0, len(pictures), _BATCH)
        ]
    return np.concatenate(parts)
