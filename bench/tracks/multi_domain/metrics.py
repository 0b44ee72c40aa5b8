"""What each picture counts for in the mean over domains."""

from __future__ import annotations

import numpy as np


def weights(y: np.ndarray, domain: np.ndarray) -> np.ndarray:
    """What each example counts for in the mean over domains of the balanced accuracy, (n,); their mean is 1.

    It is n / (D C_d n_dc), of D domains, C_d classes that occur in the example's domain, and n_dc examples of
    its class there. So the mean over examples of ``correct * weights`` is the mean over domains.

    Args:
        y: (n,) labels, integers from 0 on.
        domain: (n,) domains, integers.
    """
    out = np.empty(len(y))
    domains = np.unique(domain)
    for d in domains:
        mine = domain == d
        n = np.bincount(y[mine])
        out[mine] = len(y) / (len(domains) * (n > 0).sum() * n[y[mine]])
    return out
