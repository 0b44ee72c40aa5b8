"""Digits in three styles: MNIST, UCI's, and rendered from fonts; also with very unequal training sets, and
with labels that contradict each other.

No font family lies in two splits. UCI's digits stand writer after writer, so its splits are contiguous: at
most two of the 13 writers lie in two. MNIST's carry no writer here; they are split at random by class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from bench.contract import Inputs, Stage, Task
from bench.data.drawings import digits
from bench.tracks.common.pictures import Examples
from bench.tracks.common.subsets import few_per_class, thinned_by_domain
from bench.tracks.multi_domain.data import Arrays, Splits
from bench.tracks.multi_domain.settings import Run

#: Share of a domain that people wrote in training and in training or validation; the rest is test.
_CUTS = (0.6, 0.8)
#: Split of each font family, so that every split has slanted and upright, bold and light digits.
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
#: Digits whose labels `digits-conflict` exchanges in a cycle, the first taking the second's: others in each
#: domain, so that between any two domains six of the ten digits mean two things.
EXCHANGED: Mapping[str, tuple[int, ...]] = {"mnist": (0, 1, 2), "uci": (3, 4, 5), "fonts": (6, 7, 8)}


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """There are no stages, since rendering takes only a second."""
    return ()


def missing(task: Task, run: Run) -> str | None:
    """What has to be installed, or None."""
    return digits.missing()


def fingerprint(task: Task, run: Run) -> str:
    """Digest of the files read and of what renders fonts."""
    return digits.fingerprint()


def splits(task: Task, run: Run, inputs: Inputs) -> Splits:
    """The digits; reading and rendering them takes about a second."""
    found = digits.read()
    split = np.empty(len(found), dtype="<U5")
    for name in digits.DOMAINS:
        mine = np.flatnonzero(found.domain == name)
        split[mine] = _SPLIT[name](found.where(mine))
    domain = np.array([digits.DOMAINS.index(d) for d in found.domain])
    dataset = task.params["dataset"]
    y = _exchanged(found) if dataset == "digits-conflict" else found.y
    train = np.flatnonzero(split == "train")
    if dataset in ("digits-unequal", "digits-conflict"):
        few = [
            few_per_class(train[domain[train] == i], found.y, UNEQUAL[d] // 10)
            for i, d in enumerate(digits.DOMAINS)
        ]
        train = np.sort(np.concatenate(few))
    return Splits(
        kind="images", domains=digits.DOMAINS, classes=10, y=y, domain=domain, ids=found.id,
        groups=_groups(found),
        train=thinned_by_domain(train, domain, run.rows),
        val=thinned_by_domain(np.flatnonzero(split == "val"), domain, run.rows),
        test=thinned_by_domain(np.flatnonzero(split == "test"), domain, run.rows),
        inputs=partial(_inputs, found.images),
    )  # fmt: skip


def _groups(found: digits.Digits) -> np.ndarray:
    """What digits that are not independent have in common, (n,): renderings are of one digit of one font.

    Not its family: test digits are of two, and from two nobody learns how much families differ. Digits that
    people wrote are each a group of their own, since it is not known who wrote which.
    """
    glyph = np.array([i.rpartition("/")[0] for i in found.id])
    return np.where(found.group == "", found.id, glyph)


def _exchanged(found: digits.Digits) -> np.ndarray:
    """The labels (n,) after the exchange of `EXCHANGED`: the same picture has another in another domain."""
    y = found.y.copy()
    for domain, cycle in EXCHANGED.items():
        for digit, label in zip(cycle, (*cycle[1:], cycle[0]), strict=True):
            y[(found.domain == domain) & (found.y == digit)] = label
    return y


def _at_random(found: digits.Digits) -> np.ndarray:
    """The split of each digit by a fixed seed, with the same shares in every class."""
    split = np.empty(len(found), dtype="<U5")
    for c in range(10):
        mine = np.random.default_rng(c).permutation(np.flatnonzero(found.y == c))
        split[mine] = _contiguous(found.where(mine))
    return split


def _contiguous(found: digits.Digits) -> np.ndarray:
    """The split of each digit; the splits come one after another."""
    place = np.arange(len(found)) / len(found)
    return np.array(["train", "val", "test"])[np.searchsorted(_CUTS, place, side="right")]


def _by_family(found: digits.Digits) -> np.ndarray:
    """The split of each digit by its font family, see `FAMILIES`."""
    return np.array([FAMILIES[f] for f in found.group])


_SPLIT = {"mnist": _at_random, "uci": _contiguous, "fonts": _by_family}


def _inputs(images: np.ndarray, rows: np.ndarray) -> Examples:
    return Arrays(images[rows])
