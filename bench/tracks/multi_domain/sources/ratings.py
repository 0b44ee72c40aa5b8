"""Amazon's ratings, five categories as domains: a proxy.

Fields are user and item; see `bench.data.tables.ratings`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from bench.contract import Inputs, Stage, Task
from bench.data.tables import ratings
from bench.tracks.common.pictures import Examples
from bench.tracks.common.subsets import thinned_by_domain
from bench.tracks.multi_domain.data import Arrays, Splits
from bench.tracks.multi_domain.settings import Run


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """There are no stages, since `bench data prepare` has made what is read."""
    return ()


def missing(task: Task, run: Run) -> str | None:
    """Which file has to be provided, or None."""
    return ratings.missing()


def fingerprint(task: Task, run: Run) -> str:
    """Digest of what was prepared."""
    return ratings.fingerprint()


def splits(task: Task, run: Run, inputs: Inputs) -> Splits:
    """The rows, mapped into memory."""
    log = ratings.read()
    train, val, test = np.split(np.arange(len(log.y)), np.cumsum(log.manifest.parts)[:-1])
    return Splits(
        kind="table", domains=log.manifest.domains, classes=2, y=log.y, domain=log.domain,
        groups=log.x[:, 0],
        train=thinned_by_domain(train, log.domain, run.rows),
        val=thinned_by_domain(val, log.domain, run.rows),
        test=thinned_by_domain(test, log.domain, run.rows),
        inputs=partial(_inputs, log.x), cardinalities=(log.manifest.users, log.manifest.items),
    )  # fmt: skip


def _inputs(x: np.ndarray, rows: np.ndarray) -> Examples:
    # A whole part in order stays a map; `thinned` picks some of its rows, and test rows are shuffled.
    whole = len(rows) and bool((np.diff(rows) == 1).all())
    return Arrays(x[rows[0] : rows[-1] + 1] if whole else x[rows])
