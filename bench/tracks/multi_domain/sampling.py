"""Which training rows make each step: every domain by its share of the batches, in clumps of a few rows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Literal

import numpy as np

from bench.contract import BenchError
from bench.tracks.common.subsets import endless
from bench.tracks.multi_domain.data import MultiDomainData

#: Of the domains in a batch: in proportion to their training rows, or equal.
Shares = Literal["natural", "balanced"]
#: Rows of one domain that come together. Without this, a domain with a hundredth of the rows would come as
#: one row in every other batch, and networks of its own would take their batch statistics from that.
CLUMP = 8


def batches(data: MultiDomainData, shares: Shares, seed: int) -> Iterator[np.ndarray]:
    """Positions (batch,) of each step's training rows, without end; they depend on the seed alone.

    Over many steps a domain has its share of the rows exactly; in one step it may be a few clumps off. Each
    domain's rows come in an order of its own, and all of them come before one comes again.

    Raises:
        BenchError: a domain has no training row.
    """
    n = np.bincount(data.train.domain, minlength=len(data.domains))
    for name, count in zip(data.domains, n, strict=True):
        if count == 0:
            raise BenchError(
                f"multi_domain: no training example of {name!r} among the {len(data.train)} of"
                f" {data.dataset}; expected some of every domain: raise run.rows"
            )
    share = n / n.sum() if shares == "natural" else np.full(len(n), 1 / len(n))
    orders = [
        endless(np.flatnonzero(data.train.domain == d), np.random.default_rng([seed, d]))
        for d in range(len(n))
    ]
    for counts in _counts(share, data.recipe.batch):
        yield np.concatenate([list(islice(e, c)) for e, c in zip(orders, counts, strict=True)]).astype(
            np.int64
        )


def _counts(share: np.ndarray, batch: int) -> Iterator[list[int]]:
    """How many rows of each domain a step has, without end.

    Clumps go to the domain that is furthest behind its share.

    Args:
        share: (D,) share of the rows that each domain should have.
        batch: rows a step.
    """
    behind = np.zeros(len(share))
    while True:
        behind += batch * share
        counts = np.zeros(len(share), np.int64)
        while left := batch - int(counts.sum()):
            d, rows = int(behind.argmax()), min(CLUMP, left)
            counts[d] += rows
            behind[d] -= rows
        yield counts.tolist()
