"""Emoji by four artists: each artist is a domain, each category but flags a class; split by family.

A family (clock faces, skin tones, variants of one person) lies in one split for all artists, so that no test
picture shows what a training picture of another artist showed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from bench import packages
from bench.contract import Inputs, Stage, Task
from bench.data.drawings import emoji
from bench.data.splitting import split_groups
from bench.tracks.common.pictures import Examples, in_memory
from bench.tracks.common.subsets import thinned_by_domain
from bench.tracks.multi_domain.data import Splits
from bench.tracks.multi_domain.settings import Run, recipe

#: One style an artist.
ARTISTS = emoji.COMMON
#: Share of a category's emoji in each split, for every artist.
SHARES = {"train": 0.6, "val": 0.15, "test": 0.25}
#: Smallest share of a picture's area that a training crop keeps.
_CROP = 0.7


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """The stages that draw those styles which come as vectors in a package."""
    return emoji.stages(ARTISTS)


def missing(task: Task, run: Run) -> str | None:
    """What has to be installed, or None."""
    return emoji.missing(ARTISTS) or packages.LITE0.missing("EfficientNet-Lite0")


def fingerprint(task: Task, run: Run) -> str:
    """Digest of the pictures' sources."""
    return emoji.fingerprint(ARTISTS)


def splits(task: Task, run: Run, inputs: Inputs) -> Splits:
    """The pictures; reading them takes about a second."""
    drawn = emoji.read(ARTISTS, stage=inputs.stage)
    drawn = drawn.where(drawn.category != "Flags")
    classes = sorted(set(drawn.category))
    split_of = _splits(drawn)
    split = np.array([split_of[f] for f in drawn.family])
    domain = np.array([ARTISTS.index(s) for s in drawn.style])
    of = {s: thinned_by_domain(np.flatnonzero(split == s), domain, run.rows) for s in SHARES}
    return Splits(
        kind="images", domains=ARTISTS, classes=len(classes), domain=domain,
        y=np.array([classes.index(c) for c in drawn.category]),
        ids=np.char.add(np.char.add(drawn.style, "/"), drawn.id), groups=drawn.family,
        train=of["train"], val=of["val"], test=of["test"],
        inputs=partial(_inputs, drawn.images, recipe(task.params["dataset"], run).size),
    )  # fmt: skip


def _splits(drawn: emoji.Pictures) -> Mapping[str, str]:
    """The split of each family, assigned within the category that most of its members are in."""
    members: dict[str, Counter[str]] = defaultdict(Counter)
    for family, category in zip(drawn.family, drawn.category, strict=True):
        members[family][category] += 1
    homes: dict[str, dict[str, int]] = defaultdict(dict)
    for family, categories in members.items():
        homes[min(categories, key=lambda c: (-categories[c], c))][family] = categories.total()
    return {f: s for home, sizes in homes.items() for f, s in split_groups(sizes, SHARES, home).items()}


def _inputs(images: np.ndarray, side: int, rows: np.ndarray) -> Examples:
    return in_memory(images[rows], side, _CROP)
