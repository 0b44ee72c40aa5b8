"""Metrics of several tracks against known values and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from bench.tracks.common.metrics import auc, balanced_accuracy


def test_balanced_accuracy_of_known_values():
    y = np.array([0, 0, 0, 0, 1, 1, 3])
    assert balanced_accuracy(np.array([1, 1, 1, 0, 1, 0, 0.0]), y) == pytest.approx((0.75 + 0.5 + 0) / 3)
    assert balanced_accuracy(np.ones(7), y) == 1
    assert balanced_accuracy(np.zeros(7), y) == 0
    assert np.isnan(balanced_accuracy(np.array([1, 1, 1, 0, 1, 0, np.nan]), y))


def test_balanced_accuracy_is_sklearns():
    rng = np.random.default_rng(0)
    y = rng.choice([0, 2, 3, 7], 300, p=[0.7, 0.2, 0.09, 0.01])
    chosen = np.where(rng.random(300) < 0.6, y, 2)
    ours = balanced_accuracy((chosen == y).astype(float), y)
    assert ours == pytest.approx(balanced_accuracy_score(y, chosen))
    assert ours != pytest.approx((chosen == y).mean(), abs=0.01)


def test_auc_of_known_values():
    y = np.array([0, 0, 1, 1])
    assert auc(y, np.array([0.1, 0.4, 0.35, 0.8])) == 0.75
    assert auc(y, np.full(4, 0.3)) == 0.5
    assert auc(y, 1.0 - y) == 0
    assert np.isnan(auc(y, np.array([0.1, np.nan, 0.3, 0.4])))
