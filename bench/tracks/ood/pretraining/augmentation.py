"""Pictures as no set draws them: icons coloured anew, and changes in which drawing styles differ.

For contrastive pre-training: outline, shading, palette and position vary, so that an unseen style is not too
far from what was met. All work on whole batches and draw from the generator given.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def coloured(ink: Tensor, inside: Tensor, g: torch.Generator) -> Tensor:
    """Icons as pictures (B, 3, H, W): with dark or bright lines, and what they enclose filled or not.

    Args:
        ink: how much line there is in each pixel, (B, H, W) in [0, 1].
        inside: how much of each pixel the lines enclose, (B, H, W) in [0, 1].
        g: where all randomness comes from.
    """
    n = len(ink)
    ground = torch.where(_maybe(n, 0.75, g), torch.ones(n, 3, 1, 1), 0.6 + 0.4 * _colour(n, g))
    fill = torch.where(_maybe(n, 0.65, g), _colour(n, g), ground)
    line = torch.where(_maybe(n, 0.5, g), 0.3 * _colour(n, g), _colour(n, g))
    ink, inside = ink[:, None], inside[:, None]
    return (ground * (1 - inside) + fill * inside) * (1 - ink) + line * ink


def augmented(x: Tensor, g: torch.Generator) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1], moved, scaled, turned, mirrored, recoloured and shaded at random."""
    x = _placed(x, g)
    n = len(x)
    light = x.mean(1, keepdim=True)
    edge = F.max_pool2d(light, 3, 1, 1) + F.max_pool2d(-light, 3, 1, 1)
    x = torch.where(_maybe(n, 0.3, g), x * (1 - edge.clamp(0, 1)), x)
    x = _recoloured(x, g)
    x = _shaded(x, light, g)
    lines = (1 - 1.5 * edge).clamp(0, 1).expand_as(x)
    x = torch.where(_maybe(n, 0.07, g), lines, x)
    x = torch.where(_maybe(n, 0.2, g), F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), x)
    return (x + 0.02 * torch.randn(x.shape, generator=g)).clamp(0, 1)


def _placed(x: Tensor, g: torch.Generator) -> Tensor:
    """A random window of each picture, 0.75 to 1.2 of its side, turned by up to 15 degrees; half mirrored."""
    n = len(x)
    side = 0.75 + 0.45 * torch.rand(n, generator=g)
    angle = (torch.rand(n, generator=g) - 0.5) * math.radians(30)
    mirror = 1 - 2 * (torch.rand(n, generator=g) < 0.5).float()
    stretch = 1 + 0.15 * (torch.rand(n, generator=g) - 0.5)
    shift = 0.3 * (torch.rand(n, 2, generator=g) - 0.5)
    theta = torch.stack(
        [
            torch.stack([side * angle.cos() * mirror * stretch, -side * angle.sin(), shift[:, 0]], 1),
            torch.stack([side * angle.sin() * mirror, side * angle.cos() / stretch, shift[:, 1]], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return 1 - F.grid_sample(1 - x, grid, align_corners=False)  # white outside


def _recoloured(x: Tensor, g: torch.Generator) -> Tensor:
    """The pictures with other saturation, hue and contrast, some of them grey; white stays white."""
    n = len(x)
    grey = x.mean(1, keepdim=True)
    strength = torch.where(_maybe(n, 0.12, g), torch.zeros(n, 1, 1, 1), 0.4 + 1.1 * _uniform(n, g))
    tint = x - grey
    mixed = _turn(n, g) @ tint.flatten(2)
    x = (grey + strength * mixed.view_as(x)).clamp(0, 1)
    return 1 - (1 - x) * (0.6 + 0.6 * _uniform(n, g))


def _turn(n: int, g: torch.Generator) -> Tensor:
    """Rotations (n, 3, 3) of colours about the grey axis, most of them small, which change the hue."""
    angle = torch.randn(n, generator=g) * 0.35
    third, c, s = 1 / 3, angle.cos()[:, None, None], angle.sin()[:, None, None]
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    return c * torch.eye(3) + (1 - c) * third + s * cross


def _shaded(x: Tensor, light: Tensor, g: torch.Generator) -> Tensor:
    """Half of the pictures, where they are not white, darker towards one side and with a highlight."""
    n, _, height, width = x.shape
    y, z = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    way = torch.rand(n, 1, 1, generator=g) * 2 * math.pi
    plane = (way.cos() * y + way.sin() * z)[:, None]
    at = torch.rand(n, 2, 1, 1, generator=g) - 0.5
    spot = torch.exp(-((y - at[:, :1]) ** 2 + (z - at[:, 1:]) ** 2) * 6)
    shaded = x * (1 - 0.35 * (plane + 1) / 2 * _uniform(n, g) * 1.5) + 0.3 * spot * _uniform(n, g)
    return torch.where(_maybe(n, 0.5, g) & (light < 0.97), shaded.clamp(0, 1), x)


def _uniform(n: int, g: torch.Generator) -> Tensor:
    return torch.rand(n, 1, 1, 1, generator=g)


def _maybe(n: int, p: float, g: torch.Generator) -> Tensor:
    return _uniform(n, g) < p


def _colour(n: int, g: torch.Generator) -> Tensor:
    return torch.rand(n, 3, 1, 1, generator=g)
