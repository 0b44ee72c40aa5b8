"""Slopes along an axis against lines."""

from __future__ import annotations

import numpy as np
import pytest

from bench import stats


@pytest.mark.parametrize(
    ("x", "expected"), [([1, 2, 3, 4, 10], True), ([1, 2, 4], True), ([1, 2, 3, 4, 5, 6], False),
                        ([0, 1, 10], False), ([1, 2], False), ([5], False)],
)  # fmt: skip
def test_geometric_axis(x, expected):
    assert stats.geometric(x) is expected


def test_slope_of_a_line_and_of_a_line_in_doublings():
    assert stats.slope([1, 2, 3], [[1.0, 3.0, 5.0]], doubling=False) == pytest.approx([2.0])
    x = np.array([1, 2, 4, 10])
    assert float(stats.slope(x, 0.7 + 0.01 * np.log2(x), doubling=True)) == pytest.approx(0.01)
