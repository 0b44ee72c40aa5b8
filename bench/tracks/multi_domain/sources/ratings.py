"""Amazon's ratings, five categories as domains: a proxy.

Fields are user and item; see `bench.data.tables.ratings`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from bench.contract import Inputs, Stage
from bench.data.tables import ratings
from bench.tracks.multi_domain.data import Arrays, Examples, Parts, thinned
from bench.tracks.multi_domain.settings import Run


def stages(dataset: str) -> Sequence[Stage]:
    """None: `bench data prepare` made what is read."""
    return ()


def missing(dataset: str, run: Run) -> str | None:
    """Which file has to be brought, or None."""
    return ratings.missing()


def fingerprint(dataset: str, run: Run) -> str:
    """Digest of what was prepared."""
    return ratings.fingerprint()


def parts(dataset: str, run: Run, inputs: Inputs) -> Parts:
    """The rows, memory-mapped."""
    log = ratings.read()
    train, val, test = np.split(np.arange(len(log.y)), np.cumsum(log.manifest.parts)[:-1])
    return Parts(
        kind="table", domains=log.manifest.domains, classes=2, y=log.y, domain=log.domain,
        train=thinned(train, log.domain, run.rows), val=thinned(val, log.domain, run.rows),
        test=thinned(test, log.domain, run.rows),
        inputs=partial(_inputs, log.x), cardinalities=(log.manifest.users, log.manifest.items),
    )  # fmt: skip


def _inputs(x: np.ndarray, rows: np.ndarray) -> Examples:
    # A whole part stays a map; `thinned` may have picked some of its rows.
    whole = len(rows) and rows[-1] - rows[0] + 1 == len(rows)
    return Arrays(x[rows[0] : rows[-1] + 1] if whole else x[rows])
