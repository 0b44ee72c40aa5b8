"""Pictures of the user's own (`bench.data.brought.images`), a target for each of their domains.

As with the papers' data sets, four fifths of a source domain are trained on and a fifth is for validation,
and `Run.target` says which portion of the target is scored. The network is the laptop's, which has seen emoji
and nothing else, or CLIP, as the user chose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench import packages
from bench.contract import BenchError, Inputs, Stage, Task, digest
from bench.data.brought import entries
from bench.data.brought import images as brought
from bench.data.brought.images import TEST, TRAIN, VAL
from bench.file_digest import file_digest
from bench.tracks.common.pictures import in_files
from bench.tracks.common.recipes import overridden
from bench.tracks.common.subsets import few_per_class, shuffled, thinned
from bench.tracks.ood.data import LabelledPictures, Splits, Target
from bench.tracks.ood.settings import Recipe, Run, Setting
from bench.tracks.ood.sources import emoji, photos

if TYPE_CHECKING:
    from bench.tracks.ood.nets.clip import DualEncoder

#: The settings that a data set with domains has, and one without.
SETTINGS: Mapping[bool, tuple[Setting, ...]] = {True: ("shift", "wild"), False: ("open",)}
#: Network -> setting -> recipe: those of the data sets that the network is used on otherwise.
RECIPES: Mapping[str, Mapping[Setting, Recipe]] = {
    "laptop": {
        "shift": Recipe(lr=1e-4, steps=60),
        "open": Recipe(lr=1e-4, steps=60, beta=0.1),
        "wild": Recipe(lr=1e-4, steps=60, margin=0.1, beta=0.1),
    },
    "paper": {"shift": Recipe(), "open": Recipe(beta=0.1), "wild": Recipe(lr=3e-6, margin=0.1, beta=0.1)},
}
#: Network -> pixels a side of its pictures.
SIZES: Mapping[str, int] = {"laptop": 64, "paper": photos.SIZE}


def names(setting: Setting) -> tuple[str, ...]:
    """The user's data sets that a setting has."""
    found = entries.names("images")
    return tuple(n for n in found if setting in SETTINGS[bool(entries.entry(n).settings["domains"])])


def tasks(setting: Setting, dataset: str) -> list[Task]:
    """One task for each domain; of the open-class setting one for the data set."""
    params, of = {"setting": setting, "dataset": dataset}, entries.entry(dataset).settings["domains"]
    if setting == "open":
        return [
            Task(
                name=f"open-{dataset}", params={**params, "target": dataset}, data=dataset, group=setting,
                brought=dataset,
            )
        ]  # fmt: skip
    return [
        Task(
            name=f"{setting}-{dataset}-{brought.slug(d)}", params={**params, "target": d},
            data=f"{dataset}-{brought.slug(d)}", group=setting, brought=dataset,
        )
        for d in of
    ]  # fmt: skip


def recipe(task: Task, run: Run) -> Recipe:
    """How the data set is trained with, with the run's own numbers where it has some."""
    return overridden(RECIPES[network(task)][task.params["setting"]], run, "steps", "batch", "lr")


def network(task: Task) -> str:
    """``laptop`` or ``paper``: which network the user chose for a task's data set."""
    return str(entries.entry(task.brought).settings["network"])


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """There are no stages, since the files are read as they are."""
    return ()


def missing(task: Task, run: Run) -> str | None:
    """Where the pictures lay or which network is not here, or None."""
    if why := entries.source(task.brought).missing():
        return why
    if network(task) == "paper":
        path = photos.weights(run)
        return None if path.is_file() else f"CLIP: no file {path.name} in {path.parent}: bring CLIP ViT-B/16"
    if why := packages.MINILM.missing("the dual encoder"):
        return why
    if not emoji.WEIGHTS.is_file():
        return f"the dual encoder: no file {emoji.WEIGHTS}: install gridbench again"
    return None


def fingerprint(task: Task, run: Run) -> str:
    """Digest of the pictures, their split, and the network's weights."""
    weights = file_digest(photos.weights(run)) if network(task) == "paper" else _embedded()
    return digest([entries.source(task.brought).fingerprint(), weights])


def _embedded() -> str:
    return file_digest(emoji.WEIGHTS, on_disk=False)


def encoder(task: Task, run: Run) -> DualEncoder:
    """A fresh encoder, the one that every row starts from."""
    return photos.encoder(run) if network(task) == "paper" else emoji.encoder(run)


def splits(task: Task, run: Run, inputs: Inputs) -> Splits:
    """The task's pictures, as lists of files.

    Raises:
        BenchError: the data set is not here, or training has no picture.
    """
    found, setting = brought.read(task.brought), task.params["setting"]
    images, n = found.images, len(found.images.classes)
    base = n if setting == "shift" else (n + 1) // 2
    inside, outside = found.rows(TRAIN, VAL), found.rows(TEST)
    known = images.labels < base
    if setting == "open":
        sources, target = images.groups, outside
        train = few_per_class(found.rows(TRAIN)[known[found.rows(TRAIN)]], images.labels, run.shots)
        val = few_per_class(found.rows(VAL)[known[found.rows(VAL)]], images.labels, min(run.shots, 4))
    else:
        mine = images.group == images.groups.index(task.params["target"])
        sources = tuple(d for d in images.groups if d != task.params["target"])
        train, val = (rows[~mine[rows] & known[rows]] for rows in (inside, outside))
        scored = outside if setting == "wild" or run.target == "out" else inside
        target = scored[mine[scored]]
    if not len(train) or not len(val) or not len(target):
        raise BenchError(
            f"ood: {task.name}: a part has no picture; expected some for training, validation, test"
        )
    where = {images.groups.index(d): i for i, d in enumerate(sources)}

    def labelled(rows: np.ndarray, ids: Sequence[str]) -> LabelledPictures:
        domain = np.array([where.get(int(g), -1) for g in images.group[rows]])
        pictures = in_files(images.paths(rows), SIZES[network(task)], run.crop)
        return LabelledPictures(inputs=pictures, y=images.labels[rows], domain=domain, ids=np.array(ids))

    train, val, target = (
        thinned(train, run.images),
        thinned(val, run.images),
        shuffled(thinned(target, run.images)),
    )
    # A method is given pictures with ids: a file's name would tell it where the others lie.
    nameless = [digest(f) for f in images.files]
    return Splits(
        names=images.classes, base=base, domains=sources,
        template=str(entries.entry(task.brought).settings["prompt"]),
        train=labelled(train, [nameless[i] for i in train]), val=labelled(val, [nameless[i] for i in val]),
        targets=(Target(task.params["target"], labelled(target, [images.files[i] for i in target])),),
    )  # fmt: skip
