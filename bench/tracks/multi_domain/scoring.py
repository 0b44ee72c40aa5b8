"""What an answer's probabilities are worth in each domain."""

from __future__ import annotations

import numpy as np

from bench.tracks.common.answers import Answer
from bench.tracks.common.metrics import auc, balanced_accuracy
from bench.tracks.multi_domain.data import Truth

#: How far the probabilities of one picture may be from adding up to 1: they may come in half precision.
_TOLERANCE = 1e-2


def probabilities(answer: Answer, split: str, truth: Truth) -> np.ndarray:
    """The probabilities for ``val`` or ``test``: (n, classes) for images, (n,) for a table, float64.

    A number that is not finite passes and becomes a score of NaN: that method diverged, but what it answered
    has the right shape.

    Raises:
        AnswerError: another shape, a number outside [0, 1], or a picture's that do not add up to 1.
    """
    n = len(truth.val_y if split == "val" else truth.test_y)
    if truth.kind == "table":
        return answer.probabilities(split, (n,), "rows: the probability of label 1")
    p = answer.probabilities(split, (n, truth.classes), "rows, classes")
    sums = p.sum(axis=1)
    off = np.flatnonzero(np.isfinite(sums) & (np.abs(sums - 1) > _TOLERANCE))
    if len(off):
        raise answer.error(f"answer[{split!r}] of row {off[0]} adds up to {sums[off[0]]:.4g}, expected 1")
    return p


def correct(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether each picture's likeliest class is its own, (n,) 0 or 1; NaN where p (n, C) is not finite."""
    right: np.ndarray = np.where(np.isfinite(p).all(axis=1), p.argmax(axis=1) == y, np.nan)
    return right


def by_domain(truth: Truth, split: str, p: np.ndarray) -> np.ndarray:
    """Each domain's own score, (D,): class-balanced accuracy of pictures, AUC of a table.

    Args:
        truth: the labels and domains.
        split: ``val`` or ``test``.
        p: the probabilities of that split, as `probabilities` gives them.
    """
    y, domain = (truth.val_y, truth.val_domain) if split == "val" else (truth.test_y, truth.test_domain)
    right = correct(p, y) if truth.kind == "images" else p
    score = balanced_accuracy if truth.kind == "images" else lambda values, labels: auc(labels, values)
    return np.array([score(right[domain == d], y[domain == d]) for d in range(len(truth.domains))])
