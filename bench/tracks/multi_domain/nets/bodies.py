"""The networks that every row is built from: a stem that reads the input, a trunk on it, a head on that.

The plain feature extractor is psi = trunk(stem(x)). What rows add stands on the stem: experts are fresh
trunks, STAR's layers are of the trunk's and the head's sizes.

Perceptrons have no batch norm: a domain may have a single row in a batch. (torch-rechub's MLP always has it,
which is why it is not used.)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

#: Mean and deviation of the pixels that timm's ResNets are trained with, and EfficientNet-Lite0 is.
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_LITE0 = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Stem(nn.Module):
    """Reads a batch (B, ...) as the data give it, and gives features (B, width).

    A stem is trained at the recipe's ``lr``, everything else at its ``head_lr``.
    """

    width: int


class Body(nn.Module):
    """The feature extractor psi, a stem and a trunk on it, and the sizes of all that stands on the stem.

    Args:
        stem: reads the input.
        hidden: sizes of the trunk's layers, each with ReLU; the last one is ``width``.
        tower: sizes of a head's hidden layers; () makes a linear head.
        outputs: numbers that a head gives: classes, or 1 for a logit.
    """

    def __init__(self, stem: Stem, hidden: Sequence[int], tower: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.stem = stem
        self.hidden, self.tower, self.outputs = tuple(hidden), tuple(tower), outputs
        self.width = self.hidden[-1]
        self.trunk = self.expert()

    def expert(self, width: int | None = None) -> nn.Sequential:
        """A fresh trunk, which turns (B, ``width``), by default of the stem's width, into (B, self.width)."""
        return perceptron((width or self.stem.width, *self.hidden))

    def head(self) -> nn.Sequential:
        """A fresh head, which turns features (B, self.width) into logits (B, outputs)."""
        layers = perceptron((self.width, *self.tower))
        return layers.append(nn.Linear((self.width, *self.tower)[-1], self.outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, width) of inputs (B, ...)."""
        features: Tensor = self.trunk(self.stem(x))
        return features


def perceptron(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers between these sizes, each with ReLU."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers)


# ------------------------------------------------------------------------------------------------------ stems


class Fields(Stem):
    """The embeddings of F categorical fields side by side: integers (B, F) become (B, F * dim).

    One table holds all fields. ``cardinalities``: how many values each field has; they count from 0.
    """

    offsets: Tensor

    def __init__(self, cardinalities: Sequence[int], dim: int) -> None:
        super().__init__()
        self.table = nn.Embedding(sum(cardinalities), dim)
        nn.init.normal_(self.table.weight, std=0.01)
        first = torch.tensor([0, *cardinalities[:-1]]).cumsum(0)
        self.register_buffer("offsets", first, persistent=False)
        self.width = len(cardinalities) * dim

    def forward(self, x: Tensor) -> Tensor:
        """See `Fields`."""
        return torch.flatten(self.table(x.long() + self.offsets), 1)


class Digits(Stem):
    """A small convolutional network with batch norm: uint8 (B, S, S, 1) become (B, 4 * last channels)."""

    def __init__(self, channels: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise((1, *channels)):
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
        self.layers = nn.Sequential(*layers[:-1], nn.AdaptiveMaxPool2d(2), nn.Flatten())
        self.width = 4 * channels[-1]

    def forward(self, x: Tensor) -> Tensor:
        """See `Digits`."""
        features: Tensor = self.layers(x.movedim(-1, 1).float() / 255)
        return features


class Pretrained(Stem):
    """A timm network without its classifier: uint8 (B, S, S, 3) become pooled features (B, width).

    Its batch norms stay in evaluation mode, with the statistics of the pre-training: batches are small and
    mixed of domains. ``frozen``: names of first layers that no row trains, which saves their backward pass.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        pixels: tuple[Sequence[float], Sequence[float]],
        frozen: Sequence[str] = (),
    ) -> None:
        super().__init__()
        # On a CPU a step of EfficientNet-Lite0 takes 0.6 of the time that it takes with channels first.
        self.network = network.to(memory_format=torch.channels_last)
        for name in frozen:
            network.get_submodule(name).requires_grad_(False)
        self.register_buffer("mean", torch.tensor(pixels[0])[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(pixels[1])[:, None, None], persistent=False)
        self.width = int(network.num_features)  # type: ignore[arg-type]

    def train(self, mode: bool = True) -> Pretrained:
        """Set the mode as of any module, but for the batch norms."""
        super().train(mode)
        for m in self.network.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """See `Pretrained`."""
        features: Tensor = self.network((x.movedim(-1, 1).float() / 255 - self.mean) / self.std)
        return features


# ----------------------------------------------------------------------------------------------------- bodies


def table(cardinalities: Sequence[int], *, dim: int, hidden: Sequence[int], tower: Sequence[int]) -> Body:
    """The body for tables: embeddings and a perceptron; its heads give one logit."""
    return Body(Fields(cardinalities, dim), hidden, tower, 1)


def digits(classes: int, *, width: int) -> Body:
    """The body for digits: a convolutional network from scratch, with linear heads."""
    return Body(Digits(), (width,), (), classes)


def lite0(classes: int, *, width: int, frozen: Sequence[str] = ()) -> Body:
    """The body for the laptop's pictures: EfficientNet-Lite0 with its ImageNet weights, with linear heads.

    ``frozen``: as in `Pretrained`.

    Raises:
        BenchError: the package with the weights is missing.
    """
    import timm

    from bench.nn.lite0 import imagenet_weights

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
    network.load_state_dict(imagenet_weights())
    return Body(Pretrained(network, _LITE0, frozen), (width,), (), classes)


def resnet(name: str, weights: Path, classes: int, *, width: int) -> Body:
    """The body for photographs: one of timm's ResNets with weights of a local file, with linear heads.

    Args:
        name: ``resnet50`` or ``resnet101``.
        weights: a state dict of timm's or torchvision's, which name their tensors alike; see
            `bench.nn.weights.read`.
        classes: outputs of a head.
        width: of the trunk on the network.

    Raises:
        BenchError: there is no such file, or it is not one of this network's.
    """
    import timm

    from bench.nn import weights as files

    network = timm.create_model(name, pretrained=False, num_classes=0)
    read = files.read(weights)
    found = {k: v for k, v in read.items() if not k.startswith("fc.")}
    wanted = network.state_dict()
    # A count that nothing here uses, and that files of old versions lack.
    found = {k: v for k, v in wanted.items() if k.endswith("num_batches_tracked")} | found
    files.check(weights, found, wanted, read.spelt)
    network.load_state_dict(found)
    return Body(Pretrained(network, _IMAGENET), (width,), (), classes)
