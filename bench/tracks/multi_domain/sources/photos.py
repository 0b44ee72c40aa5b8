"""The paper's image sets, from files, with ResNets from a file of ImageNet weights.

Office-Home and DomainNet: a seeded split of every class of every domain, assumed, since the paper's was not
found. FMoW: the regions, and the parts of WILDS that are of the same years, assumed too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from bench.contract import BenchError, Inputs, Stage, Task, digest
from bench.data.catalog import VARIABLE, root
from bench.data.images import fmow, image_sets
from bench.data.images.image_files import Images
from bench.file_digest import file_digest
from bench.tracks.common.pictures import Examples, in_files
from bench.tracks.common.subsets import thinned_by_domain
from bench.tracks.multi_domain.data import Splits
from bench.tracks.multi_domain.settings import Run, recipe

#: Where validation and test begin, as shares of a class of a domain.
CUTS = (0.6, 0.8)
#: Smallest share of a picture's area that a training crop keeps.
_CROP = 0.7


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """There are no stages, since the files are read as they are."""
    return ()


def missing(task: Task, run: Run) -> str | None:
    """Which data set or which file of weights has to be provided, or None."""
    dataset = task.params["dataset"]
    if why := image_sets.image_set(dataset).missing():
        return why
    path = weights(dataset, run)
    if not path.is_file():
        return (
            f"{recipe(dataset, run).network}: no file {path.name} in {path.parent}"
            f" (${VARIABLE}/{run.weights}): bring timm's ImageNet weights of it"
        )
    return None


def fingerprint(task: Task, run: Run) -> str:
    """Digest of the list of images and of the weights."""
    dataset = task.params["dataset"]
    return digest([image_sets.image_set(dataset).fingerprint(), file_digest(weights(dataset, run))])


def weights(dataset: str, run: Run) -> Path:
    """The file of the network's ImageNet weights."""
    return root() / run.weights / f"{recipe(dataset, run).network}.safetensors"


def splits(task: Task, run: Run, inputs: Inputs) -> Splits:
    """The pictures, as lists of files.

    Raises:
        BenchError: the data set or the file of weights is not here.
    """
    if why := missing(task, run):
        raise BenchError(why)
    dataset = task.params["dataset"]
    images = image_sets.image_set(dataset).read()
    domains, domain, split = _regions(images) if dataset == "fmow" else _split(images)
    train, val, test = (thinned_by_domain(np.flatnonzero(split == i), domain, run.rows) for i in range(3))
    # The list is sorted by class: in its order, the place of a test picture would tell its label.
    test = np.random.default_rng(0).permutation(test)
    return Splits(
        kind="images", domains=domains, classes=len(images.classes), y=images.labels, domain=domain,
        train=train, val=val, test=test, inputs=partial(_inputs, images, recipe(dataset, run).size),
        ids=np.array(images.files), weights=weights(dataset, run),
    )  # fmt: skip


def _split(images: Images) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Names of the domains; domain and split (0, 1, 2) of every image, by `CUTS` within class and domain."""
    split = np.empty(len(images.labels), np.int64)
    for d in range(len(images.groups)):
        for c in range(len(images.classes)):
            mine = np.flatnonzero((images.group == d) & (images.labels == c))
            order = np.random.default_rng([0, d, c]).permutation(mine)
            split[order] = np.searchsorted(CUTS, np.arange(len(order)) / len(order), side="right")
    return images.groups, images.group, split


def _regions(images: Images) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """The same for FMoW, whose groups say both; images of no region have domain and split -1."""
    region = np.array([_place(fmow.REGIONS, g.split("/")[1]) for g in images.groups])
    split = np.array([fmow.PARTS.index(g.split("/")[0]) for g in images.groups])
    domain = region[images.group]
    return fmow.REGIONS, domain, np.where(domain < 0, -1, split[images.group])


def _place(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else -1


def _inputs(images: Images, side: int, rows: np.ndarray) -> Examples:
    return in_files(images.paths(rows), side, _CROP)
