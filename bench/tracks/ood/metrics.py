"""Harmonic mean of two accuracies, and the calibration error."""

from __future__ import annotations

import numpy as np

#: Bins of the calibration error, as in Guo et al., On Calibration of Modern Neural Networks (ICML 2017).
BINS = 15


def harmonic(base: float, new: float) -> float:
    """The harmonic mean 2 B N / (B + N) of two accuracies, in [0, 1]; 0 if both are 0, NaN if one is NaN."""
    return 2 * base * new / (base + new) if base + new != 0 else 0.0


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Expected calibration error of the chosen class, in [0, 1]: sum_b n_b / n |accuracy_b - confidence_b|.

    The sum is over `BINS` bins of equal width; a confidence on an edge belongs to the lower bin.

    Args:
        confidence: (n,) probability of the chosen class, in [0, 1].
        correct: (n,) 0 or 1.
    """
    which = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gap = np.bincount(which, weights=correct - confidence, minlength=BINS)
    return float(np.abs(gap).sum() / len(correct))


def confidence(logits: np.ndarray) -> np.ndarray:
    """The softmax probability (n,) of the largest logit in each row of logits (n, C)."""
    top = logits.max(axis=1, keepdims=True)
    p: np.ndarray = 1 / np.exp(logits.astype(np.float64) - top).sum(axis=1)
    return p
