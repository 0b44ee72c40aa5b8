"""Categorical fields of tables as indices."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

#: The index, in every field, that stands for all rare and unseen values.
RARE = 0


def encode_fields(
    columns: Mapping[str, np.ndarray], train: np.ndarray, rare: int
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Index every column over a vocabulary counted on the training rows alone.

    A value seen at least ``rare`` times there gets an index of its own, in order of first appearance; all
    others share the index `RARE`.

    Args:
        columns: field -> (n,) values.
        train: positions of the training rows.
        rare: how often a value has to be seen.

    Returns:
        (n, fields) int64, and each field's number of indices, `RARE` included.
    """
    import pandas as pd

    coded, cardinalities = [], []
    for values in columns.values():
        codes, found = pd.factorize(values, use_na_sentinel=False)
        frequent = np.bincount(codes[train], minlength=len(found)) >= rare
        index = np.where(frequent, np.cumsum(frequent), RARE)
        coded.append(index[codes])
        cardinalities.append(int(frequent.sum()) + 1)
    return np.stack(coded, axis=1), tuple(cardinalities)
