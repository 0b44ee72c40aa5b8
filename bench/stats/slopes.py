"""Slopes of curves along a numeric axis of tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bench.stats.estimates import Array


def geometric(x: Sequence[float]) -> bool:
    """Whether an axis is read in doublings: positive, spanning a factor of 4 or more, not equally spaced."""
    v = np.unique(np.asarray(x, float))
    if len(v) < 2 or v[0] <= 0 or v[-1] / v[0] < 4:
        return False
    steps = np.diff(v)
    return len(v) == 2 or not np.allclose(steps, steps[0])


def slope(x: npt.ArrayLike, y: npt.ArrayLike, *, doubling: bool) -> Array:
    """Least-squares slope of ``y`` (…, points) on ``x`` (points,), a doubling of x or a unit of x."""
    x = np.log2(np.asarray(x, float)) if doubling else np.asarray(x, float)
    c = x - x.mean()
    return np.asarray((np.asarray(y, float) * c).sum(-1) / np.square(c).sum())
