"""What boards did before: p of all pairs over tasks, or over seeds."""

from __future__ import annotations

import numpy as np

from bench import stats


def over_seeds(x, weights, exact):
    """Welch over the seeds of the mean over data sets, which takes a seed for one draw: x (rows, sets, seeds)."""
    m = np.einsum("kcs,c->ks", x, weights)
    n = m.shape[1]
    var = np.where(exact, 0.0, m.var(axis=1, ddof=1) / n)
    i, j = np.triu_indices(len(m), 1)
    total = var[i] + var[j]
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.square(total) / ((np.square(var[i]) + np.square(var[j])) / (n - 1))
        p = stats.two_sided((m[i].mean(1) - m[j].mean(1)) / np.sqrt(total), df)
    return stats.holm(np.where(total > 0, p, np.nan))


def over_tasks(x):
    """The paired t over data sets as observations."""
    m = x.mean(2)
    i, j = np.triu_indices(len(m), 1)
    d = m[i] - m[j]
    se = d.std(1, ddof=1) / np.sqrt(d.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        return stats.holm(np.where(se > 0, stats.two_sided(d.mean(1) / se, d.shape[1] - 1), np.nan))


def before(x, weights, exact):
    """Five data sets were observations; with fewer, seeds were."""
    return over_tasks(x) if x.shape[1] >= 5 else over_seeds(x, weights, exact)
