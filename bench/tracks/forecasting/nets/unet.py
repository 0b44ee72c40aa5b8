"""The U-Net of the diffusion rows and of the row `unet`: small, without attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor, nn


def unet(channels: int, out: int, widths: Sequence[int]) -> UNet2DModel:
    """A U-Net of one layer a resolution, in the memory order in which convolutions of a CPU are fastest."""
    net = UNet2DModel(
        in_channels=channels,
        out_channels=out,
        block_out_channels=tuple(widths),
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * len(widths),
        up_block_types=("UpBlock2D",) * len(widths),
        norm_num_groups=8,
        add_attention=False,
    )
    return cast(UNet2DModel, cast(Any, net).to(memory_format=torch.channels_last))


class Denoiser(nn.Module):
    """Predicts from noised frames (B, out, H, W), time steps (B,) and conditions (B, condition + 1, H, W).

    The last channel of a condition is 1 where there is one, and 0 (as all others) where there is none.
    """

    def __init__(self, out: int, condition: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.net = unet(out + condition + 1, out, widths)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The network's prediction, (B, out, H, W)."""
        both = torch.cat([x, condition], 1).contiguous(memory_format=torch.channels_last)
        out: Tensor = self.net(both, t).sample
        return out


class Regressor(nn.Module):
    """Predicts frames (B, out, H, W) from frames with ``condition`` channels in all, at once."""

    def __init__(self, out: int, condition: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.net = unet(condition, out, widths)

    def forward(self, frames: Tensor) -> Tensor:
        """The following frames less the last, of frames (B, T, C, H, W)."""
        step = torch.zeros(len(frames), device=frames.device)
        x = frames.flatten(1, 2).contiguous(memory_format=torch.channels_last)
        out: Tensor = self.net(x, step).sample
        return out
