"""Recurrent networks of frames: ConvLSTM and PredRNN, each two layers, on 2 x 2 cells folded into channels.

Both are as wide as makes a step of training cost about what the U-Net's does.

Sources: Shi et al., Convolutional LSTM Network (NeurIPS 2015); Wang et al., PredRNN (NeurIPS 2017).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Cells a side that are folded into channels.
FOLD = 2


class _Recurrent(nn.Module):
    """Frame after frame: the observed ones, then its own forecasts."""

    def __init__(self, components: int, leads: int, width: int) -> None:
        super().__init__()
        self.leads, self.width = leads, width
        self.out = nn.Conv2d(width, components * FOLD**2, 1)

    def start(self, frame: Tensor) -> list[Tensor]:
        """The state before the first frame, which is folded already."""
        raise NotImplementedError

    def advance(self, frame: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Features of the next frame, and the state after this one."""
        raise NotImplementedError

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (B, T, C, H, W) -> the following ones less the last, (B, leads * C, H, W)."""
        flat = F.pixel_unshuffle(frames.flatten(0, 1), FOLD)
        folded = flat.reshape(*frames.shape[:2], *flat.shape[1:])
        state = self.start(folded[:, 0])
        frame, out = folded[:, 0], []
        for step in range(frames.shape[1] + self.leads - 1):
            features, state = self.advance(frame, state)
            following = frame + self.out(features)
            if step + 1 < frames.shape[1]:
                frame = folded[:, step + 1]
            else:
                frame = following
                out.append(F.pixel_shuffle(following, FOLD) - frames[:, -1])
        return torch.cat(out, 1)


class ConvLSTM(_Recurrent):
    """Two layers of LSTM cells whose products are convolutions."""

    def __init__(self, components: int, leads: int, width: int = 24) -> None:
        super().__init__(components, leads, width)
        sizes = (components * FOLD**2, width)
        self.gates = nn.ModuleList(nn.Conv2d(size + width, 4 * width, 3, padding=1) for size in sizes)

    def start(self, frame: Tensor) -> list[Tensor]:
        """Zeros."""
        zero = frame.new_zeros(len(frame), self.width, *frame.shape[2:])
        return [zero] * (2 * len(self.gates))

    def advance(self, frame: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Through both layers."""
        x, after = frame, list[Tensor]()
        for gates, (h, c) in zip(self.gates, _pairs(state), strict=True):
            h, c = _lstm(gates(torch.cat([x, h], 1)), c)
            after += [h, c]
            x = h
        return x, after


class PredRNN(_Recurrent):
    """Two layers of cells with a second memory, which zigzags through the layers and on to the next frame."""

    def __init__(self, components: int, leads: int, width: int = 16) -> None:
        super().__init__(components, leads, width)
        sizes = (components * FOLD**2, width)
        self.gates = nn.ModuleList(nn.Conv2d(size + width, 3 * width, 3, padding=1) for size in sizes)
        self.memory = nn.ModuleList(nn.Conv2d(size + width, 3 * width, 3, padding=1) for size in sizes)
        self.output = nn.ModuleList(nn.Conv2d(size + 3 * width, width, 3, padding=1) for size in sizes)
        self.merged = nn.ModuleList(nn.Conv2d(2 * width, width, 1) for _ in sizes)

    def start(self, frame: Tensor) -> list[Tensor]:
        """Zeros."""
        zero = frame.new_zeros(len(frame), self.width, *frame.shape[2:])
        return [zero] * (2 * len(self.gates) + 1)

    def advance(self, frame: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Through both layers."""
        x, m, after = frame, state[-1], list[Tensor]()
        for layer, (h, c) in enumerate(_pairs(state[:-1])):
            c = _cell(self.gates[layer](torch.cat([x, h], 1)), c)
            m = _cell(self.memory[layer](torch.cat([x, m], 1)), m)
            o = torch.sigmoid(self.output[layer](torch.cat([x, h, c, m], 1)))
            x = o * torch.tanh(self.merged[layer](torch.cat([c, m], 1)))
            after += [x, c]
        return x, [*after, m]


def _pairs(state: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return list(zip(state[::2], state[1::2], strict=True))


def _cell(gates: Tensor, c: Tensor) -> Tensor:
    """The memory after new input, forget and candidate gates; it is kept at first."""
    i, f, g = gates.chunk(3, 1)
    return torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)


def _lstm(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    o, cell = gates[:, : c.shape[1]], gates[:, c.shape[1] :]
    c = _cell(cell, c)
    return torch.sigmoid(o) * torch.tanh(c), c
