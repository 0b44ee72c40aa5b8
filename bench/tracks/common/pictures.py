"""Labelled examples, and pictures among them: in memory or in files, cut for training and for evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from bench.data.anonymous import ImageFiles
    from bench.data.images.pictures import Evaluation, Training


class Examples(Protocol):
    """The inputs of n examples, read when they are asked for.

    Pictures are uint8 (height, width, channels), of the size that the network takes; rows of a table are
    int64 (fields,).
    """

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Inputs (k, ...) of the examples at the positions (k,), for evaluation: without any randomness."""

    def stream(self, batches: Iterable[np.ndarray], seed: int, first: int) -> Iterator[Tensor]:
        """For each batch of positions (k,) its inputs (k, ...), for training: pictures are cut at random.

        How a batch is cut depends on the seed and on the number of the batch alone.

        Args:
            batches: positions of examples.
            seed: of the random cuts.
            first: the number of the first batch; the others count on from it.
        """


@dataclass(frozen=True, slots=True)
class PicturesInMemory:
    """Pictures (n, H, W, 3) uint8 in memory; ``train`` and ``evaluate`` cut them to the network's size."""

    images: np.ndarray
    train: Training
    evaluate: Evaluation

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """See `Examples.read`; (k, S, S, 3) uint8."""
        import torch

        cut: np.ndarray = self.evaluate.crop(torch.from_numpy(self.images[rows]).movedim(-1, 1)).numpy()
        return np.ascontiguousarray(np.moveaxis(cut, 1, -1))

    def stream(self, batches: Iterable[np.ndarray], seed: int, first: int) -> Iterator[Tensor]:
        """See `Examples.stream`; (k, S, S, 3) uint8."""
        import torch

        for number, rows in enumerate(batches, first):
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(seed * 1_000_003 + number)
                cut = self.train.crop(torch.from_numpy(self.images[rows]).movedim(-1, 1))
            yield cut.movedim(1, -1)


@dataclass(frozen=True, slots=True)
class PicturesInFiles:
    """Pictures in files, decoded by several threads while the batch before is being used."""

    files: ImageFiles
    train: Training
    evaluate: Evaluation

    def __len__(self) -> int:
        return len(self.files)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """See `Examples.read`; (k, S, S, 3) uint8."""
        return self.files.decode(rows, self.evaluate)

    def stream(self, batches: Iterable[np.ndarray], seed: int, first: int) -> Iterator[Tensor]:
        """See `Examples.stream`; (k, S, S, 3) uint8."""
        import torch

        for images in self.files.stream(batches, self.train, seed=seed, first=first):
            yield torch.from_numpy(images)


def in_memory(images: np.ndarray, side: int, crop: float) -> PicturesInMemory:
    """Pictures in memory for a network that takes ``side`` pixels a side.

    Args:
        images: (n, H, W, 3) uint8.
        side: pixels a side of a picture after it was cut.
        crop: the smallest share of a picture's area that a cut for training keeps.
    """
    return PicturesInMemory(images, *_cuts(side, crop))


def in_files(paths: Sequence[Path], side: int, crop: float) -> PicturesInFiles:
    """Pictures in files for a network that takes ``side`` pixels a side; see `in_memory`."""
    from bench.data.anonymous import ImageFiles

    return PicturesInFiles(ImageFiles(paths), *_cuts(side, crop))


def _cuts(side: int, crop: float) -> tuple[Training, Evaluation]:
    from bench.data.images.pictures import Evaluation, Training

    # Pixels stay uint8: bringing them to the range that it was trained with is the network's own business.
    unchanged = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return Training(side, *unchanged, scale=(crop, 1.0)), Evaluation(side, *unchanged)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Examples with their labels.

    ``y``: (n,) int64, positions in the task's list of classes. ``domain``: (n,) int64, positions in the
    task's list of domains. ``groups``: (n,) strings, equal for examples that are not independent of each
    other (variants of one drawing, digits of one font); None: each example stands alone.
    """

    inputs: Examples
    y: np.ndarray
    domain: np.ndarray
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.y)
