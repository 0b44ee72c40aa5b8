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

    Tables are split by time and their vocabulary is counted on training alone, so that 0 also stands for
    unseen values; click logs are split at random and counted on the whole log, as in the paper.
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
    """What only the scorer sees: the fields' names and the labels of validation and test, (n,) float32."""

    fields: tuple[str, ...]
    val_y: np.ndarray
    test_y: np.ndarray
