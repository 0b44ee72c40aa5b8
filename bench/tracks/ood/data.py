"""What a method of this track is given, and what its scorer keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from bench.tracks.ood.settings import Recipe, Setting

if TYPE_CHECKING:
    from torch import Tensor

    from bench.data.anonymous import ImageFiles
    from bench.data.images.pictures import Evaluation, Training
    from bench.nn.clip import DualEncoder


class Pictures(Protocol):
    """n pictures of S x S pixels, the size that the encoder takes; read when they are asked for."""

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Positions (k,) -> (k, S, S, 3) uint8, cut for evaluation: no randomness."""

    def stream(self, batches: Iterable[np.ndarray], seed: int, first: int) -> Iterator[Tensor]:
        """For each batch of positions (k,): (k, S, S, 3) uint8, cut at random for training.

        The randomness is of ``seed`` and the batch's number alone, which counts from ``first``.
        """


@dataclass(frozen=True, slots=True)
class Held:
    """Pictures in memory, (n, H, W, 3) uint8."""

    images: np.ndarray
    train: Training
    evaluate: Evaluation

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """See `Pictures.read`."""
        import torch

        cut: np.ndarray = self.evaluate.crop(torch.from_numpy(self.images[rows]).movedim(-1, 1)).numpy()
        return np.moveaxis(cut, 1, -1)

    def stream(self, batches: Iterable[np.ndarray], seed: int, first: int) -> Iterator[Tensor]:
        """See `Pictures.stream`."""
        import torch

        for number, rows in enumerate(batches, first):
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(seed * 1_000_003 + number)
                cut = self.train.crop(torch.from_numpy(self.images[rows]).movedim(-1, 1))
            yield cut.movedim(1, -1)


@dataclass(frozen=True, slots=True)
class Files:
    """Pictures in files, decoded side by side while the last batch is being used."""

    files: ImageFiles
    train: Training
    evaluate: Evaluation

    def __len__(self) -> int:
        return len(self.files)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """See `Pictures.read`."""
        return self.files.decode(rows, self.evaluate)

    def stream(self, batches: Iterable[np.ndarray], seed: int, first: int) -> Iterator[Tensor]:
        """See `Pictures.stream`."""
        import torch

        for images in self.files.stream(batches, self.train, seed=seed, first=first):
            yield torch.from_numpy(images)


@dataclass(frozen=True, slots=True)
class Labelled:
    """Pictures with labels. ``y``: (n,) int64, positions in the task's names; ``domain``: (n,) int64.

    ``ids``: (n,) strings, unique; the same picture has the same id for every method. ``groups``: (n,)
    strings, equal for pictures of variants of one thing, whoever drew them; None: each stands alone.
    """

    pictures: Pictures
    y: np.ndarray
    domain: np.ndarray
    ids: np.ndarray
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, slots=True, kw_only=True)
class OodData:
    """The sources of a task, and the encoder to start from. Nothing of the target is here.

    ``train``, ``val``: pictures of the source domains; no picture of one shows what one of the other shows.
    ``classes``: names of the classes in them: all of the task's, or its base half. ``domains``: names of the
    source domains, which ``domain`` counts. ``template``: prompt with ``{}`` for a name. ``recipe``: how
    every row that trains by gradients does so. ``encoder``: a fresh `DualEncoder` at each call.
    """

    setting: Setting
    dataset: str
    recipe: Recipe
    classes: tuple[str, ...]
    domains: tuple[str, ...]
    template: str
    train: Labelled
    val: Labelled
    encoder: Callable[[], DualEncoder]

    def prompts(self, names: Sequence[str]) -> list[str]:
        """The template filled in, for names of any classes."""
        return [self.template.format(n) for n in names]


@dataclass(frozen=True, slots=True)
class Target:
    """One set of pictures that no method sees; ``y`` counts `Kept.names`."""

    name: str
    labelled: Labelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What only the scorer sees.

    ``names``: of all classes, the first ``base`` of which are in training. ``targets``: the first is ranked;
    the others share its artist and are only shown. ``free``: its licence lets a board print its pictures.
    """

    setting: Setting
    names: tuple[str, ...]
    base: int
    val: Labelled
    targets: tuple[Target, ...]
    free: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A task's data before it is divided between a method and the scorer; see there."""

    names: tuple[str, ...]
    base: int
    domains: tuple[str, ...]
    template: str
    train: Labelled
    val: Labelled
    targets: tuple[Target, ...]
    free: bool = False


def thinned(rows: np.ndarray, n: int) -> np.ndarray:
    """At most ``n`` of the positions (k,), evenly over their order; all of them if ``n`` is 0."""
    if not 0 < n < len(rows):
        return rows
    chosen: np.ndarray = rows[np.linspace(0, len(rows) - 1, n).astype(np.int64)]
    return chosen
