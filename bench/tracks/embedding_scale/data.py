"""What a method of this track is given, and what only the scorer sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class CtrData:
    """Rows of categorical fields with a binary label, split, and the multiple of the embedding size.

    ``dataset``: its name. ``scale``: the multiple of the base embedding size. ``fields``: their names.
    ``cardinalities``: each field's number of indices. ``*_x``: (n, fields) int64, or for click logs int32 and
    memory-mapped; column i is in [0, cardinalities[i]), and 0 stands for every value that is rare. ``*_y``:
    (n,) float32 in {0, 1}. There is no test label here.

    The vocabulary of tables and of the generated log is counted on training alone, so that 0 also stands for
    unseen values; that of click logs on the whole log, as in the paper. ``flights`` and ``movielens`` are
    split by time, all others at random.
    """

    dataset: str
    scale: int
    fields: tuple[str, ...]
    cardinalities: tuple[int, ...]
    train_x: np.ndarray
    train_y: np.ndarray
    val_x: np.ndarray
    val_y: np.ndarray
    test_x: np.ndarray

    @property
    def click_rate(self) -> float:
        """Share of positive labels in training."""
        return float(self.train_y.mean())


@dataclass(frozen=True, slots=True)
class Truth:
    """What only the scorer sees.

    ``fields``: their names. ``val_y``, ``test_y``: the labels of validation and test, (n,) float32.
    ``cluster``: what every test row belongs to, (n,), such as its student; rows of one cluster are not
    independent, so the score has one unit a cluster.
    """

    fields: tuple[str, ...]
    val_y: np.ndarray
    test_y: np.ndarray
    cluster: np.ndarray


#: Into how many groups test rows are dealt where they are independent: units only have to be few and alike.
GROUPS = 512


def dealt(rows: int) -> np.ndarray:
    """Clusters of test rows that are independent, or of which it is not known: `GROUPS` of them, in turn."""
    return np.arange(rows) % GROUPS
