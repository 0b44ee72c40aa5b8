"""Pictures and tables of the user's own that have domains (`bench.data.brought`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from bench import packages
from bench.contract import Inputs, Stage, Task, digest
from bench.data.brought import entries, images, tables
from bench.data.catalog import root
from bench.data.images.image_files import Images
from bench.file_digest import file_digest
from bench.tracks.common.fields import encode_fields
from bench.tracks.common.pictures import Examples, in_files
from bench.tracks.common.recipes import overridden
from bench.tracks.common.subsets import thinned_by_domain
from bench.tracks.multi_domain.data import Arrays, Splits
from bench.tracks.multi_domain.settings import Recipe, Run

#: What a data set is -> recipe: those of the emoji, of the flights, of Office-Home.
RECIPES: Mapping[str, Recipe] = {
    "laptop": Recipe(network="lite0", batch=48, steps=240, lr=3e-4, hidden=(128,), size=48),
    "paper": Recipe(
        network="resnet50", batch=48, steps=20_000, lr=1e-4, head_lr=1e-3, weight_decay=5e-4, hidden=(512,),
        size=224,
    ),
    "table": Recipe(network="fields", batch=512, steps=600, lr=1e-2, hidden=(64, 32)),
}  # fmt: skip
#: Smallest share of a picture's area that a training crop keeps.
_CROP = 0.7


def names() -> tuple[str, ...]:
    """The user's pictures and tables that have domains."""
    return tuple(n for n in entries.names() if entries.entry(n).settings.get("domains"))


def task(dataset: str) -> Task:
    """The task of a data set."""
    group = "tables" if entries.entry(dataset).kind == "table" else "pictures"
    return Task(
        name=dataset, params={"dataset": dataset, "of": dataset}, data=dataset, group=group, brought=dataset
    )


def recipe(task: Task, run: Run) -> Recipe:
    """How the data set is trained with, with the run's own numbers where it has some."""
    e = entries.entry(task.brought)
    found = RECIPES["table" if e.kind == "table" else str(e.settings["network"])]
    return overridden(found, run, "steps", "batch", "lr", "head_lr")


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """There are no stages, since the files are read as they are."""
    return ()


def missing(task: Task, run: Run) -> str | None:
    """Where the data lay or which network is not here, or None."""
    if why := entries.source(task.brought).missing():
        return why
    if (path := _weights(task, run)) is not None and not path.is_file():
        return f"{path.stem}: no file {path.name} in {path.parent}: bring timm's ImageNet weights of it"
    if recipe(task, run).network == "lite0":
        return packages.LITE0.missing("EfficientNet-Lite0")
    return None


def fingerprint(task: Task, run: Run) -> str:
    """Digest of the data, their split, and of weights that are the user's."""
    path = _weights(task, run)
    own = [] if path is None else [file_digest(path)]
    return digest([entries.source(task.brought).fingerprint(), *own])


def _weights(task: Task, run: Run) -> Path | None:
    """The file of the network's ImageNet weights, where it is the user's."""
    network = recipe(task, run).network
    return root() / run.weights / f"{network}.safetensors" if network.startswith("resnet") else None


def splits(task: Task, run: Run, inputs: Inputs) -> Splits:
    """The pictures or the rows."""
    if entries.entry(task.brought).kind == "table":
        return _table(task, run)
    found = images.read(task.brought)
    listed, domain = found.images, found.images.group
    parts = (thinned_by_domain(found.rows(p), domain, run.rows) for p in images.PARTS)
    train, val, test = parts
    return Splits(
        kind="images", domains=listed.groups, classes=len(listed.classes), y=listed.labels, domain=domain,
        train=train, val=val, test=test, inputs=partial(_pictures, listed, recipe(task, run).size),
        ids=np.array(listed.files), weights=_weights(task, run),
    )  # fmt: skip


def _pictures(listed: Images, side: int, rows: np.ndarray) -> Examples:
    return in_files(listed.paths(rows), side, _CROP)


def _table(task: Task, run: Run) -> Splits:
    import pandas as pd

    table = tables.read(task.brought)
    assert table.domain is not None  # else it is no task of this track, see `names`
    domains = sorted(set(table.domain.tolist()), key=lambda v: (len(v), v))  # 2 before 10
    domain = pd.Index(domains).get_indexer(pd.Index(table.domain)).astype(np.int64)
    train, val, test = np.split(np.arange(len(table.label)), table.cuts)
    x, cardinalities = encode_fields(table.columns, train, table.rare)
    return Splits(
        kind="table", domains=tuple(domains), classes=2, y=table.label.astype(np.int64), domain=domain,
        groups=np.arange(len(domain)).astype(str) if table.cluster is None else table.cluster,
        train=thinned_by_domain(train, domain, run.rows), val=thinned_by_domain(val, domain, run.rows),
        test=thinned_by_domain(test, domain, run.rows), inputs=partial(_rows, x), cardinalities=cardinalities,
    )  # fmt: skip


def _rows(x: np.ndarray, rows: np.ndarray) -> Examples:
    return Arrays(x[rows])
