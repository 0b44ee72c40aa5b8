"""What a method of this track is given, and the ground truth that its answer is scored with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from bench.tracks.common.pictures import Examples, Labelled
from bench.tracks.multi_domain.settings import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.multi_domain.nets.bodies import Body

Kind = Literal["images", "table"]


@dataclass(frozen=True, slots=True)
class Arrays:
    """Inputs in memory that are taken as they are: digits (n, 28, 28, 1) uint8, or fields (n, F) int64."""

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
class Unlabelled:
    """Examples whose domain is known and whose label is to be predicted. ``domain``: (n,) int64."""

    inputs: Examples
    domain: np.ndarray

    def __len__(self) -> int:
        return len(self.domain)


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiDomainData:
    """Several domains with the same labels: training and validation examples, and the test inputs.

    ``kind``: ``images`` or ``table``. ``domains``: names of the domains, which ``domain`` counts.
    ``classes``: number of classes of images; 2 for a table, where one number an example is expected, the
    probability of label 1. ``recipe``: how every row trains. ``body``: gives a fresh network without heads at
    each call, drawn from torch's generator.
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
class Truth:
    """The ground truth of a task, which only the scorer sees.

    ``val_y``, ``val_domain``: (n,) labels and domains of the validation examples, integers from 0 on;
    ``test_y``, ``test_domain``: of the m test examples. ``test_ids``: (m,) strings, unique; the same picture
    has the same id for every method; None for a table. ``test_groups``: (m,) strings or integers, see
    `Labelled`.
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
class Splits:
    """A task's data before it is divided between `MultiDomainData` and `Truth`.

    ``y``, ``domain``: (n,) labels and domains of all examples, integers of any size; ``ids``: (n,) strings,
    of pictures; ``groups``: (n,) strings or integers, see `Labelled`. ``train``, ``val``, ``test``: positions
    in them. ``inputs``: gives the examples at some positions (k,). ``cardinalities``: how many values each
    field of a table has. ``weights``: the file that the network starts from, where it is the user's.
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

    def shuffled_test(self) -> Splits:
        """The same with the test examples in an order that says nothing.

        Sources give them by label, by day or by how they were drawn, which is no business of a method's. The
        order is fixed: it depends on nothing but how many there are, so tasks with the same test examples
        have them in the same order.
        """
        return replace(self, test=np.random.default_rng(0).permutation(self.test))

    def labelled(self, rows: np.ndarray) -> Labelled:
        """The examples at the positions (k,), with their labels."""
        return Labelled(
            inputs=self.inputs(rows), y=self.y[rows].astype(np.int64),
            domain=self.domain[rows].astype(np.int64),
            groups=None if self.groups is None else self.groups[rows],
        )  # fmt: skip
