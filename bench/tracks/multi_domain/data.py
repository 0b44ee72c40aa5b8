"""What a method of this track is given, and what its scorer keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from bench.tracks.multi_domain.settings import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from bench.data.anonymous import ImageFiles
    from bench.data.images.pictures import Evaluation, Training
    from bench.tracks.multi_domain.bodies import Body

Kind = Literal["images", "table"]


class Examples(Protocol):
    """n inputs: images (S, S, 3) or (S, S, 1) uint8, or rows of F fields int64; read when asked for."""

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Positions (k,) -> (k, S, S, channels) uint8 or (k, F) int64; no randomness."""

    def stream(self, batches: Iterable[np.ndarray], seed: int, first: int) -> Iterator[Tensor]:
        """The same for each batch of positions, for training: photographs and drawings are cut at random.

        The randomness is of ``seed`` and the batch's number alone, which counts from ``first``.
        """


@dataclass(frozen=True, slots=True)
class Arrays:
    """Inputs in memory that are taken as they are: digits (n, 28, 28, 1) uint8, fields (n, F) int64."""

    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """See `Examples.read`."""
        chosen: np.ndarray = self.values[rows]
        return chosen

    def stream(self, batches: Iterable[np.ndarray], seed: int, first: int) -> Iterator[Tensor]:
        """See `Examples.stream`."""
        import torch

        for rows in batches:
            yield torch.from_numpy(self.values[rows])


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures in memory, (n, H, W, 3) uint8, cut to a network's size."""

    images: np.ndarray
    train: Training
    evaluate: Evaluation

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """See `Examples.read`."""
        import torch

        cut: np.ndarray = self.evaluate.crop(torch.from_numpy(self.images[rows]).movedim(-1, 1)).numpy()
        return np.ascontiguousarray(np.moveaxis(cut, 1, -1))

    def stream(self, batches: Iterable[np.ndarray], seed: int, first: int) -> Iterator[Tensor]:
        """See `Examples.stream`."""
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
        """See `Examples.read`."""
        return self.files.decode(rows, self.evaluate)

    def stream(self, batches: Iterable[np.ndarray], seed: int, first: int) -> Iterator[Tensor]:
        """See `Examples.stream`."""
        import torch

        for images in self.files.stream(batches, self.train, seed=seed, first=first):
            yield torch.from_numpy(images)


@dataclass(frozen=True, slots=True)
class Labelled:
    """Inputs with labels. ``y``: (n,) int64 in [0, classes); ``domain``: (n,) int64, position in `domains`.

    ``groups``: (n,) strings, what may not be in two parts at once (a family of emoji, a font), or None.
    """

    inputs: Examples
    y: np.ndarray
    domain: np.ndarray
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """Inputs whose domain is known and whose label is asked for."""

    inputs: Examples
    domain: np.ndarray

    def __len__(self) -> int:
        return len(self.domain)


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiDomainData:
    """Several domains with the same labels: training and validation, and the test inputs.

    ``domains``: names, which ``domain`` counts. ``classes``: of images; 2 for a table, where one number an
    example, the probability of label 1, is asked for. ``recipe``: how every row trains. ``body``: a fresh
    network without heads at each call, drawn from torch's generator.
    """

    dataset: str
    kind: Kind
    domains: tuple[str, ...]
    classes: int
    train: Labelled
    val: Labelled
    test: Unlabelled
    recipe: Recipe
    body: Callable[[], Body]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What only the scorer sees: labels and domains of validation and test, ids and groups of test.

    ``test_ids``: (n,) strings, unique; the same picture has the same id for every method. None for a table.
    """

    kind: Kind
    domains: tuple[str, ...]
    classes: int
    val_y: np.ndarray
    val_domain: np.ndarray
    test_y: np.ndarray
    test_domain: np.ndarray
    test_ids: np.ndarray | None
    test_groups: np.ndarray | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A task's data before it is divided between a method and the scorer.

    ``y``, ``domain``: of all n examples, integers of any size; so ``ids`` and ``groups``, of pictures.
    ``train``, ``val``, ``test``: positions in them. ``inputs``: positions -> those examples.
    ``cardinalities``: of each field, for a table. ``weights``: file that the network starts from, where it is
    the user's.
    """

    kind: Kind
    domains: tuple[str, ...]
    classes: int
    y: np.ndarray
    domain: np.ndarray
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    inputs: Callable[[np.ndarray], Examples]
    ids: np.ndarray | None = None
    groups: np.ndarray | None = None
    cardinalities: tuple[int, ...] = ()
    weights: Path | None = None

    def labelled(self, rows: np.ndarray) -> Labelled:
        """Those examples with their labels."""
        groups = None if self.groups is None else self.groups[rows]
        return Labelled(
            self.inputs(rows), self.y[rows].astype(np.int64), self.domain[rows].astype(np.int64), groups
        )


def thinned(rows: np.ndarray, domain: np.ndarray, n: int) -> np.ndarray:
    """At most ``n`` of the positions (k,) of each domain, evenly over their order; all of them if 0."""
    if not n:
        return rows
    chosen = []
    for d in np.unique(domain[rows]):
        mine = rows[domain[rows] == d]
        chosen.append(mine[np.linspace(0, len(mine) - 1, min(n, len(mine))).astype(np.int64)])
    return np.sort(np.concatenate(chosen))
