"""Emoji by four artists: each artist is a domain, each category but flags a class; split by family.

A family (clock faces, skin tones, variants of one person) lies in one part for all artists, so that no test
picture shows what a training picture of another artist showed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from bench import packages
from bench.contract import Inputs, Stage
from bench.data.drawings import emoji
from bench.data.splitting import split_groups
from bench.tracks.multi_domain.data import Examples, Parts, Pictures, thinned
from bench.tracks.multi_domain.settings import Run, recipe

#: One style an artist.
ARTISTS = emoji.COMMON
#: Share of a category's emoji in each part, for every artist.
SHARES = {"train": 0.6, "val": 0.15, "test": 0.25}
#: Smallest share of a picture's area that a training crop keeps.
_CROP = 0.7


def stages(dataset: str) -> Sequence[Stage]:
    """The drawing of those styles that come as vectors in a package."""
    return emoji.stages(ARTISTS)


def missing(dataset: str, run: Run) -> str | None:
    """What has to be installed, or None."""
    return emoji.missing(ARTISTS) or packages.LITE0.missing("EfficientNet-Lite0")


def fingerprint(dataset: str, run: Run) -> str:
    """Digest of the pictures' sources."""
    return emoji.fingerprint(ARTISTS)


def parts(dataset: str, run: Run, inputs: Inputs) -> Parts:
    """The pictures; about a second."""
    drawn = emoji.read(ARTISTS, stage=inputs.stage)
    drawn = drawn.where(drawn.category != "Flags")
    classes = sorted(set(drawn.category))
    part_of = _parts(drawn)
    part = np.array([part_of[f] for f in drawn.family])
    domain = np.array([ARTISTS.index(s) for s in drawn.style])
    of = {p: thinned(np.flatnonzero(part == p), domain, run.rows) for p in SHARES}
    return Parts(
        kind="images", domains=ARTISTS, classes=len(classes), domain=domain,
        y=np.array([classes.index(c) for c in drawn.category]),
        ids=np.char.add(np.char.add(drawn.style, "/"), drawn.id), groups=drawn.family,
        train=of["train"], val=of["val"], test=of["test"],
        inputs=partial(_inputs, drawn.images, recipe(dataset, run).size),
    )  # fmt: skip


def _parts(drawn: emoji.Pictures) -> Mapping[str, str]:
    """Family -> part, assigned within the category that most of its members are in."""
    members: dict[str, Counter[str]] = defaultdict(Counter)
    for family, category in zip(drawn.family, drawn.category, strict=True):
        members[family][category] += 1
    homes: dict[str, dict[str, int]] = defaultdict(dict)
    for family, categories in members.items():
        homes[min(categories, key=lambda c: (-categories[c], c))][family] = categories.total()
    return {f: p for home, sizes in homes.items() for f, p in split_groups(sizes, SHARES, home).items()}


def _inputs(images: np.ndarray, side: int, rows: np.ndarray) -> Examples:
    from bench.data.images.pictures import Evaluation, Training

    # Pictures stay uint8 here: the network brings them to its own range.
    plain = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return Pictures(images[rows], Training(side, *plain, scale=(_CROP, 1.0)), Evaluation(side, *plain))
