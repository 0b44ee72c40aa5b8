"""Class-balanced accuracy and AUC of one domain, and each picture's weight in the mean over domains."""

from __future__ import annotations

import numpy as np


def balanced(correct: np.ndarray, y: np.ndarray) -> float:
    """Mean over the classes that occur of the share of their examples that is right, in [0, 1].

    Args:
        correct: (n,) 0 or 1, NaN where there is no answer; the result is NaN then.
        y: (n,) integers from 0 on.
    """
    n = np.bincount(y)
    return float((np.bincount(y, weights=correct)[n > 0] / n[n > 0]).mean())


def weights(y: np.ndarray, domain: np.ndarray) -> np.ndarray:
    """What an example counts for in the mean over domains of `balanced`, (n,); their mean is 1.

    n / (D C_d n_dc): D domains, C_d classes that occur in the example's domain, n_dc examples of its class
    there. So the mean over examples of ``correct * weights`` is the mean over domains.
    """
    out = np.empty(len(y))
    domains = np.unique(domain)
    for d in domains:
        mine = domain == d
        n = np.bincount(y[mine])
        out[mine] = len(y) / (len(domains) * (n > 0).sum() * n[y[mine]])
    return out


def auc(y: np.ndarray, p: np.ndarray) -> float:
    """Area under the ROC curve: how often a positive ranks above a negative, a tie counting one half.

    ``y``: (n,) in {0, 1}, both present. ``p``: (n,). NaN if any prediction is not finite.
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(y, p)) if np.isfinite(p).all() else float("nan")
