"""The small base network of the laptop, and what makes a base network follow a condition.

Every network here is called with noised pictures (B, C, h, w), time steps (B,), conditions
(B, channels, H, W) and encoded prompts (B, tokens, width), and predicts (B, C, h, w).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from bench.nn import weights
from bench.nn.diffusion import Predict, Schedule
from bench.tracks.controlnet.settings import NOISE, UNetConfig

#: What the laptop's base networks are trained with.
SCHEDULE = Schedule(**NOISE)
#: Pixels a side of the laptop's pictures.
SIDE = 32


def unet(config: UNetConfig) -> Any:
    """A base network in pixel space with random weights, whose only attention is in the middle."""
    n = len(config.widths)
    net = UNet2DConditionModel(
        sample_size=SIDE, in_channels=3, out_channels=3, layers_per_block=1,
        block_out_channels=config.widths, down_block_types=("DownBlock2D",) * n,
        up_block_types=("UpBlock2D",) * n, mid_block_type="UNetMidBlock2DCrossAttn",
        # What diffusers calls the dimension of a head is their number in this class.
        cross_attention_dim=config.token, attention_head_dim=config.heads, norm_num_groups=config.groups,
    )  # fmt: skip
    return net.to(memory_format=torch.channels_last)


def save(net: Any, path: Path, about: dict[str, str]) -> None:
    """Write the weights in half precision."""
    weights.write(path, net.state_dict(), half=True, about=about)


def load(path: Path, config: UNetConfig) -> Any:
    """A base network with the weights in a file.

    Raises:
        BenchError: the file is missing, or of another network.
    """
    net, found = unet(config), weights.read(path)
    weights.check(path, found, net.state_dict())
    net.load_state_dict({k: v.float() for k, v in found.items()})
    return net


def null_text(n: int, config: UNetConfig) -> Tensor:
    """What no prompt is encoded to: one token of zeros, (n, 1, width)."""
    return torch.zeros(n, 1, config.token)


def with_conditions(net: nn.Module, maps: Tensor, text: Tensor) -> Predict:
    """A network as the sampler and the loss of `bench.nn.diffusion` call it.

    Their condition y is (B, 2) int64: positions in ``maps`` and in ``text``.
    """

    def predict(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        out: Tensor = net(x, t, maps[y[:, 0]], text[y[:, 1]])
        return out

    return predict


class Uncontrolled(nn.Module):
    """The base network alone, which sees no condition."""

    def __init__(self, base: Any) -> None:
        super().__init__()
        self.unet = base

    def forward(self, x: Tensor, t: Tensor, maps: Tensor, text: Tensor) -> Tensor:
        """See the module."""
        out: Tensor = self.unet(x, t, text, return_dict=False)[0]
        return out


class Controlled(nn.Module):
    """The frozen base network, and a copy of its first half that sees the condition and is trained.

    What the copy adds passes through convolutions of zeros, so that at first nothing is added.

    Source: Zhang et al., Adding Conditional Control to Text-to-Image Diffusion Models (ICCV 2023).
    """

    def __init__(self, base: Any, channels: int, embedding: tuple[int, ...] | None) -> None:
        super().__init__()
        self.unet = base.requires_grad_(False)
        settings = {} if embedding is None else {"conditioning_embedding_out_channels": embedding}
        self.control: Any = ControlNetModel.from_unet(base, conditioning_channels=channels, **settings)
        self.control.to(memory_format=torch.channels_last).requires_grad_(True)

    def forward(self, x: Tensor, t: Tensor, maps: Tensor, text: Tensor) -> Tensor:
        """See the module."""
        down, middle = self.control(x, t, text, controlnet_cond=maps, return_dict=False)
        out: Tensor = self.unet(
            x, t, text, down_block_additional_residuals=down, mid_block_additional_residual=middle,
            return_dict=False,
        )[0]  # fmt: skip
        return out


class Joined(nn.Module):
    """The base network, all of it trained, with the condition as further channels of its input.

    The first convolution's weights for these channels begin as zeros, so that at first nothing changes. A map
    larger than what the network denoises is averaged down to it.
    """

    def __init__(self, base: Any, channels: int) -> None:
        super().__init__()
        self.unet = base
        old = base.conv_in
        new = nn.Conv2d(old.in_channels + channels, old.out_channels, old.kernel_size, padding=old.padding)
        with torch.no_grad():
            new.weight.zero_()[:, : old.in_channels] = old.weight
            new.bias.copy_(old.bias)  # type: ignore[union-attr]
        self.unet.conv_in = new.to(memory_format=torch.channels_last)
        self.unet.requires_grad_(True)

    def forward(self, x: Tensor, t: Tensor, maps: Tensor, text: Tensor) -> Tensor:
        """See the module."""
        small = nn.functional.adaptive_avg_pool2d(maps, (x.shape[-2], x.shape[-1]))
        out: Tensor = self.unet(torch.cat([x, small], 1), t, text, return_dict=False)[0]
        return out
