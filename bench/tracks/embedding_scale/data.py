"""What a method of this track is given, and what its scorer keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.data.tables import tabular
from bench.data.tables.tabular import Events

#: Index in every field of the value that stands for rare and unseen ones.
DEFAULT = 0


@dataclass(frozen=True, slots=True)
class CtrData:
    """Rows of categorical fields with a binary label, split, and the size that is asked for.

    ``*_x``: (n, fields) int64, or for click logs int32 and memory-mapped; column i is in
    [0, cardinalities[i]), and 0 stands for every value that is rare. ``*_y``: (n,) float32 in {0, 1}.
    ``scale``: the multiple of the base embedding size. There is no test label here.

    Split by time where the rows have one, vocabulary counted on training alone, so that 0 also stands for
    unseen values; of click logs at random and counted on the whole log, as the paper does.
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
class Kept:
    """What only the scorer sees: the fields' names and the labels, (n,) float32."""

    fields: tuple[str, ...]
    val_y: np.ndarray
    test_y: np.ndarray


def given(dataset: str, scale: int, rows: int) -> CtrData:
    """The task's data for a method; ``rows`` as in `Run`.

    Raises:
        BenchError: the data set is not here.
    """
    if dataset not in tabular.SOURCES:
        return _given_log(dataset, scale, rows)
    events = tabular.read(dataset)
    train, val, test = split(events, rows)
    x, cardinalities = encode(events.columns, train, events.rare)
    y = events.label.astype(np.float32)
    fields = tuple(events.columns)
    return CtrData(
        dataset, scale, fields, cardinalities, x[train], y[train], x[val], y[val], x[test]
    )  # fmt: skip


def kept(dataset: str, rows: int) -> Kept:
    """The labels on which an answer is scored."""
    if dataset not in tabular.SOURCES:
        return _kept_log(dataset, rows)
    events = tabular.read(dataset, labels_only=True)
    _, val, test = split(events, rows)
    y = events.label.astype(np.float32)
    return Kept(tabular.SOURCES[dataset].fields, y[val], y[test])


def _given_log(dataset: str, scale: int, rows: int) -> CtrData:
    from bench.data.tables import ctr_logs  # here, so that it is no source of the cells that do not read it

    log = ctr_logs.read(dataset)
    train, val, test = log.parts(rows)
    return CtrData(
        dataset, scale, log.manifest.fields, log.manifest.cardinalities,
        log.x[train], log.y[train].astype(np.float32), log.x[val], log.y[val].astype(np.float32), log.x[test],
    )  # fmt: skip


def _kept_log(dataset: str, rows: int) -> Kept:
    from bench.data.tables import ctr_logs

    log = ctr_logs.read(dataset)
    _, val, test = log.parts(rows)
    return Kept(log.manifest.fields, log.y[val].astype(np.float32), log.y[test].astype(np.float32))


def split(events: Events, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of the training, validation and test rows, as the data set fixes them: no seed.

    With ``rows`` below the number of training rows, each part is thinned to the same share, evenly over time.
    """
    parts = np.split(np.arange(len(events.label)), events.cuts)
    if 0 < rows < len(parts[0]):
        share = rows / len(parts[0])
        parts = [p[np.linspace(0, len(p) - 1, max(2, round(share * len(p)))).astype(np.int64)] for p in parts]
    return parts[0], parts[1], parts[2]


def encode(
    columns: Mapping[str, np.ndarray], train: np.ndarray, rare: int
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Index every column over a vocabulary counted on the training rows alone.

    A value seen at least ``rare`` times there gets an index of its own, in order of first appearance; all
    others share `DEFAULT`.

    Returns:
        (n, fields) int64, and each field's number of indices, the default included.
    """
    coded, cardinalities = [], []
    for values in columns.values():
        codes, found = pd.factorize(values, use_na_sentinel=False)
        frequent = np.bincount(codes[train], minlength=len(found)) >= rare
        index = np.where(frequent, np.cumsum(frequent), DEFAULT)
        coded.append(index[codes])
        cardinalities.append(int(frequent.sum()) + 1)
    return np.stack(coded, axis=1), tuple(cardinalities)
