"""What every target of `bench.data.transfer.sets` is made with: small pictures, groups, and the two parts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.data.splitting import split_groups

if TYPE_CHECKING:
    import numpy as np

#: Pixels a side.
SIDE = 32


@dataclass(frozen=True, slots=True)
class Drawn:
    """Pictures before they are split into parts.

    Attributes:
        images: (n, 32, 32, 3) uint8.
        label: (n,) int64, positions in ``classes``.
        classes: names of the classes.
        group: (n,) strings; a group stays on one side of the split.
    """

    images: np.ndarray
    label: np.ndarray
    classes: tuple[str, ...]
    group: np.ndarray


def halved(images: np.ndarray) -> np.ndarray:
    """Pictures (n, 2 h, 2 w, 3) uint8 at half their size: means of 2 x 2 pixels, rounded half up."""
    import numpy as np

    upper, lower = images[:, ::2], images[:, 1::2]
    total = np.full(upper[:, :, ::2].shape, 2, np.uint16)
    for rows in (upper, lower):
        for first in (0, 1):
            total += rows[:, :, first::2]
    small: np.ndarray = (total // 4).astype(np.uint8)
    return small


def joined(images: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Join groups that share a picture, pixel by pixel.

    Returns:
        (n,) strings: the group of each picture; of groups that became one, the first name.
    """
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, of_name = np.unique(group, return_inverse=True)
    of_picture: dict[bytes, int] = {}
    twins = [of_picture.setdefault(i.tobytes(), len(of_picture)) for i in images]
    size = len(names) + len(of_picture)
    edges = (np.ones(len(group)), (of_name, len(names) + np.array(twins)))
    _, component = connected_components(coo_array(edges, shape=(size, size)), directed=False)
    first: dict[int, int] = {}
    for i, c in enumerate(component[: len(names)].tolist()):
        first.setdefault(c, i)
    found: np.ndarray = names[[first[c] for c in component[of_name].tolist()]]
    return found


def parts(label: np.ndarray, group: np.ndarray, *, test: float, seed: str) -> np.ndarray:
    """Assign whole groups to "train" and "test", (n,) strings; the test gets about ``test`` of each class.

    A group counts for the class that most of its pictures have.
    """
    import numpy as np

    of_group: dict[str, Counter[int]] = {}
    for g, y in zip(group.tolist(), label.tolist(), strict=True):
        of_group.setdefault(g, Counter())[y] += 1
    by_class: dict[int, dict[str, int]] = {}
    for g, counts in of_group.items():
        most = max(counts, key=lambda y: (counts[y], -y))
        by_class.setdefault(most, {})[g] = counts.total()
    shares = {"train": 1 - test, "test": test}
    found: dict[str, str] = {}
    for y, sizes in by_class.items():
        found |= split_groups(sizes, shares, f"{seed}/{y}")
    return np.array([found[g] for g in group.tolist()])
