"""What an answer's probabilities are worth in each domain."""

from __future__ import annotations

import numpy as np

from bench.contract import Units
from bench.tracks.common.answers import Answer
from bench.tracks.common.metrics import auc, balanced_accuracy
from bench.tracks.common.placements import by_cluster, placements
from bench.tracks.multi_domain.data import Truth
from bench.tracks.multi_domain.metrics import weights

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


def units(truth: Truth, p: np.ndarray) -> Units | None:
    """What each test picture, or each cluster of a table's rows, adds to the mean over domains.

    A picture's is whether it is right, by its weight. A cluster's (a student, a day) is the sum of what its
    rows add to the areas under the curves of their domains, see `bench.tracks.common.placements`. None for a
    table whose rows belong to no clusters. Units come in the order of their ids.

    Args:
        truth: the labels and domains.
        p: the probabilities of the test examples, as `probabilities` gives them.
    """
    if truth.kind == "images":
        assert truth.test_ids is not None
        order = np.argsort(truth.test_ids)
        each = correct(p, truth.test_y) * weights(truth.test_y, truth.test_domain)
        groups = None if truth.test_groups is None else truth.test_groups[order]
        return Units(truth.test_ids[order], each[order], groups)
    if truth.test_groups is None:
        return None
    each, areas = np.empty(len(p)), []
    for d in range(len(truth.domains)):
        mine = np.flatnonzero(truth.test_domain == d)
        placed = placements(truth.test_y[mine], p[mine])
        areas.append(float(placed.mean()))
        # What a row adds lies around its own domain's area: how many rows a domain has is no chance here.
        each[mine] = (placed - areas[-1]) * len(p) / (len(truth.domains) * len(mine))
    return Units(*by_cluster(float(np.mean(areas)) + each, truth.test_groups))
