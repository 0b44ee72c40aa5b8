"""Digits in three styles: MNIST, UCI's, and rendered from fonts; also with very unequal training sets.

No font family lies in two parts. UCI's digits stand writer after writer, so its parts are contiguous: at most
two of the 13 writers lie in two. MNIST's carry no writer here; they are split at random by class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from bench.contract import Inputs, Stage
from bench.data.drawings import digits
from bench.tracks.multi_domain.data import Arrays, Examples, Parts, thinned
from bench.tracks.multi_domain.settings import Run

#: Share of a domain that people wrote in training and in training or validation; the rest is test.
_CUTS = (0.6, 0.8)
#: Part of each font family, so that every part has slanted and upright, bold and light digits.
FAMILIES: Mapping[str, str] = {
    "DejaVu Sans": "train",
    "Computer Modern Roman": "train",
    "Computer Modern Sans": "train",
    "DejaVu Sans Mono": "val",
    "Computer Modern Typewriter": "val",
    "DejaVu Serif": "test",
    "STIX": "test",
}
#: Training digits of each domain where sizes are unequal: 50 to 5 to 1. Validation and test are the same.
UNEQUAL: Mapping[str, int] = {"mnist": 3_000, "uci": 300, "fonts": 60}


def stages(dataset: str) -> Sequence[Stage]:
    """None: rendering takes a second."""
    return ()


def missing(dataset: str, run: Run) -> str | None:
    """What has to be installed, or None."""
    return digits.missing()


def fingerprint(dataset: str, run: Run) -> str:
    """Digest of the files read and of what renders fonts."""
    return digits.fingerprint()


def parts(dataset: str, run: Run, inputs: Inputs) -> Parts:
    """The digits; about a second."""
    found = digits.read()
    part = np.empty(len(found), dtype="<U5")
    for name in digits.DOMAINS:
        mine = np.flatnonzero(found.domain == name)
        part[mine] = _PARTS[name](found.where(mine))
    domain = np.array([digits.DOMAINS.index(d) for d in found.domain])
    train = np.flatnonzero(part == "train")
    if dataset == "digits-unequal":
        train = np.sort(np.concatenate([_few(train[domain[train] == i], found.y, UNEQUAL[d])
                                        for i, d in enumerate(digits.DOMAINS)]))  # fmt: skip
    return Parts(
        kind="images", domains=digits.DOMAINS, classes=10, y=found.y, domain=domain, ids=found.id,
        # Digits that people wrote have no group: each is one of its own.
        groups=np.where(found.group == "", found.id, found.group),
        train=thinned(train, domain, run.rows),
        val=thinned(np.flatnonzero(part == "val"), domain, run.rows),
        test=thinned(np.flatnonzero(part == "test"), domain, run.rows),
        inputs=partial(_inputs, found.images),
    )  # fmt: skip


def _at_random(found: digits.Digits) -> np.ndarray:
    """Parts by a fixed seed, the same shares of every class."""
    part = np.empty(len(found), dtype="<U5")
    for c in range(10):
        mine = np.random.default_rng(c).permutation(np.flatnonzero(found.y == c))
        part[mine] = _contiguous(found.where(mine))
    return part


def _contiguous(found: digits.Digits) -> np.ndarray:
    """Parts one after another."""
    place = np.arange(len(found)) / len(found)
    return np.array(["train", "val", "test"])[np.searchsorted(_CUTS, place, side="right")]


def _by_family(found: digits.Digits) -> np.ndarray:
    return np.array([FAMILIES[f] for f in found.group])


_PARTS = {"mnist": _at_random, "uci": _contiguous, "fonts": _by_family}


def _few(rows: np.ndarray, y: np.ndarray, n: int) -> np.ndarray:
    """``n`` of the positions, as many of every class, in an order drawn from a fixed seed."""
    order = np.random.default_rng(0).permutation(rows)
    chosen: np.ndarray = np.concatenate([order[y[order] == c][: n // 10] for c in range(10)])
    return chosen


def _inputs(images: np.ndarray, rows: np.ndarray) -> Examples:
    return Arrays(images[rows])
