"""AUC, log-loss and information abundance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def auc(y: np.ndarray, p: np.ndarray) -> float:
    """Area under the ROC curve: how often a positive ranks above a negative, a tie counting one half.

    ``y``: (n,) in {0, 1}, both present. ``p``: (n,). NaN if any prediction is not finite.
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(y, p)) if np.isfinite(p).all() else float("nan")


def logloss(y: np.ndarray, p: np.ndarray) -> float:
    """Mean negative log-likelihood in nats, >= 0; NaN if any prediction is not finite.

    ``p`` is kept 1e-12 away from 0 and 1, so that one sure mistake costs 27.6 and not everything.
    """
    if not np.isfinite(p).all():
        return float("nan")
    inside = np.clip(p.astype(np.float64), 1e-12, 1 - 1e-12)
    return float(-np.mean(y * np.log(inside) + (1 - y) * np.log1p(-inside)))


def singular_values(table: np.ndarray) -> np.ndarray:
    """Singular values of a field's raw (uncentred) table (D, K), largest first, divided by the largest.

    Returns:
        (K,) float64 in [0, 1]; zeros beyond min(D, K), and everywhere for a table of zeros.
    """
    sigma = np.linalg.svd(table.astype(np.float64), compute_uv=False)
    padded = np.zeros(table.shape[1])
    padded[: len(sigma)] = sigma
    return padded / (sigma[0] or 1.0)


def information_abundance(table: np.ndarray) -> float:
    """IA(E) = ||sigma||_1 / ||sigma||_inf of a table E (D, K), in [1, min(D, K)]; 0 for a table of zeros.

    The paper's definition: how many dimensions a field's embedding really uses.
    """
    return float(singular_values(table).sum())


def joined(sets: Sequence[np.ndarray]) -> np.ndarray:
    """One field's tables of M sets, (D, K) each, side by side: (D, M K).

    The paper leaves the abundance of several sets undefined; this is its natural reading, and the only one
    that compares with a single embedding of the same total size.
    """
    return np.concatenate(sets, axis=1)
