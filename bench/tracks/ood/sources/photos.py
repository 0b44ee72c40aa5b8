"""The papers' tasks: photographs and drawings in the layouts of DomainBed and CoOp, with CLIP from a file.

Where CLIPood's released code and DomainBed differ in which portion of a target is scored, `Run.target` names
the choice. One difference: validation pictures are cut for evaluation, where the released code augments them
as it does training (a side effect of DomainBed's splits).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.contract import BenchError, Inputs, Stage, Task, digest
from bench.data.catalog import VARIABLE, root
from bench.data.images import coop, image_folders, image_sets
from bench.data.images.image_files import Images
from bench.file_digest import file_digest
from bench.tracks.common.pictures import PicturesInFiles, in_files
from bench.tracks.common.subsets import shuffled, thinned
from bench.tracks.ood.data import LabelledPictures, Splits, Target
from bench.tracks.ood.settings import Run, Setting

if TYPE_CHECKING:
    from bench.tracks.ood.nets.clip import DualEncoder

#: CLIP's input: its own mean and deviation are the encoder's business, here pictures stay uint8.
SIZE = 224


def tasks(setting: Setting, dataset: str) -> list[Task]:
    """One task for each target domain.

    In the open-class setting and for variants of ImageNet there is one task for each data set.
    """
    params, group = {"setting": setting, "dataset": dataset}, setting
    if setting in ("open", "variant"):
        name = f"open-{dataset}" if setting == "open" else dataset
        return [Task(name=name, params={**params, "target": dataset}, data=dataset, group=group)]
    domains = image_folders.domains(dataset)
    return [
        Task(
            name=f"{setting}-{dataset}-{_slug(d)}", params={**params, "target": d},
            data=f"{dataset}-{_slug(d)}", group=group,
        )
        for d in domains
    ]  # fmt: skip


def _slug(domain: str) -> str:
    """A domain's name as it stands in the name of a task."""
    return domain.lower().replace(" ", "-").replace("_", "-")


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """There are no stages, since the files are read as they are."""
    return ()


def missing(task: Task, run: Run) -> str | None:
    """Which data set or which file of weights has to be provided, or None."""
    for name in _needed(task):
        if why := image_sets.image_set(name).missing():
            return why
    path = weights(run)
    if not path.is_file():
        return f"CLIP: no file {path.name} in {path.parent} (${VARIABLE}/{run.weights}): bring CLIP ViT-B/16"
    return None


def _needed(task: Task) -> tuple[str, ...]:
    """The data sets that a task reads, the one that is trained on first."""
    if task.params["setting"] == "variant":
        return tuple(dict.fromkeys(("imagenet", task.params["dataset"])))
    return (task.params["dataset"],)


def fingerprint(task: Task, run: Run) -> str:
    """Digest of the lists of images and of the weights."""
    return digest(
        [*(image_sets.image_set(n).fingerprint() for n in _needed(task)), file_digest(weights(run))]
    )


def weights(run: Run) -> Path:
    """The file of CLIP's weights."""
    return root() / run.weights


def encoder(run: Run) -> DualEncoder:
    """CLIP ViT-B/16 from its file."""
    from bench.tracks.ood.nets import clip

    return clip.vit_b16(weights(run))


def folds(task: Task) -> int:
    """See `OodSource.folds`. The papers fixed their splits: the seed changes nothing of them."""
    return 1


def splits(task: Task, run: Run, inputs: Inputs) -> Splits:
    """The task's pictures, as lists of files."""
    match task.params["setting"]:
        case "shift" | "wild":
            return _domains(task, run)
        case "open":
            return _open(task, run)
        case "variant":
            return _variant(task, run)
        case other:
            raise BenchError(f"ood: no setting {other!r}")


def _domains(task: Task, run: Run) -> Splits:
    """The splits where one domain is left out; in the wild, training has the first half of the classes alone.

    Every domain has DomainBed's seeded 80/20 split; in the wild its base and its new classes are split apart.
    """
    name, wild = task.params["dataset"], task.params["setting"] == "wild"
    images = image_sets.image_set(name).read()
    n = len(images.classes)
    base = int(0.5 * n) if wild else n
    sources = tuple(d for d in images.groups if d != task.params["target"])
    inside, outside = [], []
    for i, domain in enumerate(images.groups):
        if domain in sources:
            rows = images.rows(domain, range(base) if wild else None)
            portions = image_folders.split(len(rows), 0, i, *(("base",) if wild else ()))
            inside.append(rows[portions.inside])
            outside.append(rows[portions.outside])
    target = images.rows(task.params["target"])
    if not wild:
        portions = image_folders.split(len(target), 0, images.groups.index(task.params["target"]))
        target = target[portions.outside if run.target == "out" else portions.inside]
    return _splits(
        task, run, images, base, sources, np.concatenate(inside), np.concatenate(outside), target
    )  # fmt: skip


def _open(task: Task, run: Run) -> Splits:
    """The splits with ``shots`` pictures of each class of the base half, and with all test pictures."""
    images = image_sets.image_set(task.params["dataset"]).read()
    base, _ = coop.halves(len(images.classes))
    few = coop.few_shot(images, base, run.shots)
    return _splits(task, run, images, len(base), ("train",), few.train, few.val, images.rows("test"))


def _variant(task: Task, run: Run) -> Splits:
    """The splits with ``shots`` pictures of every class of ImageNet, and with another set's test pictures."""
    images = image_sets.image_set("imagenet").read()
    n = len(images.classes)
    few = coop.few_shot(images, range(n), run.shots)
    found = _splits(task, run, images, n, ("train",), few.train, few.val, images.rows("test"))
    if task.params["dataset"] == "imagenet":
        return found
    other = image_sets.image_set(task.params["dataset"]).read()
    # By id: ImageNet's list of names has two classes called missile and two called sunglasses.
    at = {wnid: i for i, wnid in enumerate(coop.wordnet_ids("imagenet", images))}
    mine = coop.wordnet_ids(task.params["dataset"], other)
    if strange := [wnid for wnid in mine if wnid not in at]:
        raise BenchError(
            f"{task.params['dataset']}: class {strange[0]} is none of ImageNet's {n} classes here"
        )
    rows = shuffled(thinned(other.rows("test"), run.images))
    y = np.array([at[mine[c]] for c in other.labels[rows]])
    test = LabelledPictures(
        inputs=_pictures(other, rows, run), y=y, domain=np.full(len(rows), -1), ids=_ids(other, rows)
    )
    return Splits(
        names=found.names, base=n, domains=found.domains, template=found.template, train=found.train,
        val=found.val, targets=(Target(task.params["dataset"], test),),
    )  # fmt: skip


def _splits(
    task: Task, run: Run, images: Images, base: int, domains: tuple[str, ...],
    train: np.ndarray, val: np.ndarray, target: np.ndarray,
) -> Splits:  # fmt: skip
    """The splits at these positions in a list of images; see `Splits`."""
    where = {images.groups.index(d): i for i, d in enumerate(domains)}

    def labelled(rows: np.ndarray, ids: Callable[[Images, np.ndarray], np.ndarray]) -> LabelledPictures:
        domain = np.array([where.get(int(g), -1) for g in images.group[rows]])
        return LabelledPictures(
            inputs=_pictures(images, rows, run), y=images.labels[rows], domain=domain, ids=ids(images, rows)
        )

    train, val, target = (thinned(rows, run.images) for rows in (train, val, target))
    trained_on = _needed(task)[0]
    return Splits(
        names=images.classes, base=base, domains=domains, template=image_sets.LAYOUTS[trained_on].template,
        train=labelled(train, _nameless_ids), val=labelled(val, _nameless_ids),
        targets=(Target(task.params["target"], labelled(shuffled(target), _ids)),),
    )  # fmt: skip


def _pictures(images: Images, rows: np.ndarray, run: Run) -> PicturesInFiles:
    return in_files(images.paths(rows), SIZE, run.crop)


def _ids(images: Images, rows: np.ndarray) -> np.ndarray:
    """The files' names, as ids of pictures that only the scorer sees."""
    return np.array([images.files[i] for i in rows])


def _nameless_ids(images: Images, rows: np.ndarray) -> np.ndarray:
    """Ids of pictures that a method is given: the files' names would tell it where the others lie."""
    return np.array([digest(images.files[i]) for i in rows])
