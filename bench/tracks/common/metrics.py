"""Metrics of more than one track: class-balanced accuracy, and the area under the ROC curve."""

from __future__ import annotations

import numpy as np


def balanced_accuracy(correct: np.ndarray, y: np.ndarray) -> float:
    """Mean over the classes that occur of the share of their examples that is right, in [0, 1].

    Args:
        correct: (n,) 0 or 1, NaN where there is no answer; the result is NaN then.
        y: (n,) integers from 0 on.
    """
    n = np.bincount(y)
    return float((np.bincount(y, weights=correct)[n > 0] / n[n > 0]).mean())


def auc(y: np.ndarray, p: np.ndarray) -> float:
    """Area under the ROC curve: how often a positive ranks above a negative, a tie counting one half.

    NaN if any prediction is not finite.

    Args:
        y: (n,) labels in {0, 1}, both present.
        p: (n,) predictions, the higher the likelier is label 1.
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(y, p)) if np.isfinite(p).all() else float("nan")
