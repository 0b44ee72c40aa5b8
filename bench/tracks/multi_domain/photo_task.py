"""The paper's image sets, from files, with ResNets from a file of ImageNet weights.

Office-Home and DomainNet: a seeded split of every class of every domain, assumed, since the paper's was not
found. FMoW: the regions, and the parts of WILDS that are of the same years, assumed too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from bench.contract import BenchError, Inputs, Stage, digest
from bench.data.catalog import VARIABLE, root
from bench.data.images import fmow, image_sets
from bench.data.images.image_files import Images
from bench.file_digest import file_digest
from bench.tracks.multi_domain.data import Examples, Files, Parts, thinned
from bench.tracks.multi_domain.settings import Run, recipe

#: Where validation and test begin, as shares of a class of a domain.
CUTS = (0.6, 0.8)
#: Smallest share of a picture's area that a training crop keeps.
_CROP = 0.7


def stages(dataset: str) -> Sequence[Stage]:
    """None: the files are read as they are."""
    return ()


def missing(dataset: str, run: Run) -> str | None:
    """Which data set or which file of weights has to be brought, or None."""
    if why := image_sets.image_set(dataset).missing():
        return why
    path = weights(dataset, run)
    if not path.is_file():
        return (
            f"{recipe(dataset, run).network}: no file {path.name} in {path.parent}"
            f" (${VARIABLE}/{run.weights}): bring timm's ImageNet weights of it"
        )
    return None


def fingerprint(dataset: str, run: Run) -> str:
    """Digest of the list of images and of the weights."""
    return digest([image_sets.image_set(dataset).fingerprint(), file_digest(weights(dataset, run))])


def weights(dataset: str, run: Run) -> Path:
    """The file of the network's ImageNet weights."""
    return root() / run.weights / f"{recipe(dataset, run).network}.safetensors"


def parts(dataset: str, run: Run, inputs: Inputs) -> Parts:
    """The pictures, as lists of files."""
    if why := missing(dataset, run):
        raise BenchError(why)
    images = image_sets.image_set(dataset).read()
    domains, domain, part = _regions(images) if dataset == "fmow" else _split(images)
    train, val, test = (thinned(np.flatnonzero(part == i), domain, run.rows) for i in range(3))
    # The list is sorted by class: in its order, the place of a test picture would tell its label.
    test = np.random.default_rng(0).permutation(test)
    return Parts(
        kind="images", domains=domains, classes=len(images.classes), y=images.labels, domain=domain,
        train=train, val=val, test=test, inputs=partial(_inputs, images, recipe(dataset, run).size),
        ids=np.array(images.files), weights=weights(dataset, run),
    )  # fmt: skip


def _split(images: Images) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Names of the domains; domain and part (0, 1, 2) of every image: `CUTS` of each class of each domain."""
    part = np.empty(len(images.labels), np.int64)
    for d in range(len(images.groups)):
        for c in range(len(images.classes)):
            mine = np.flatnonzero((images.group == d) & (images.labels == c))
            order = np.random.default_rng([0, d, c]).permutation(mine)
            part[order] = np.searchsorted(CUTS, np.arange(len(order)) / len(order), side="right")
    return images.groups, images.group, part


def _regions(images: Images) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """The same for FMoW, whose groups say both; images of no region have domain and part -1."""
    region = np.array([_place(fmow.REGIONS, g.split("/")[1]) for g in images.groups])
    part = np.array([fmow.PARTS.index(g.split("/")[0]) for g in images.groups])
    domain = region[images.group]
    return fmow.REGIONS, domain, np.where(domain < 0, -1, part[images.group])


def _place(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else -1


def _inputs(images: Images, side: int, rows: np.ndarray) -> Examples:
    from bench.data.anonymous import ImageFiles
    from bench.data.images.pictures import Evaluation, Training

    # Pictures stay uint8 here: the network brings them to its own range.
    plain = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    files = ImageFiles(images.paths(rows))
    return Files(files, Training(side, *plain, scale=(_CROP, 1.0)), Evaluation(side, *plain))
