"""The laptop's tasks: emoji of three artists, and stamps of a drawing programme, which no training saw.

Classes are subcategories of emoji, the base ones of every seed the same. The seed says which families are
trained on, for validation and tested (`emoji_split`), so a target shows nothing that a source picture of
another artist showed, and nothing of the pre-training. Stamps are all tested at every seed: of them the seed
changes only the training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench import packages
from bench.contract import Inputs, Stage, Task, digest
from bench.data import EMBEDDED
from bench.data.drawings import emoji, stamps
from bench.file_digest import file_digest
from bench.tracks.common.pictures import PicturesInMemory, in_memory
from bench.tracks.common.subsets import few_per_class, shuffled, thinned
from bench.tracks.ood.data import LabelledPictures, Splits, Target
from bench.tracks.ood.settings import Run, Setting
from bench.tracks.ood.sources import emoji_split

if TYPE_CHECKING:
    from bench.tracks.ood.nets.clip import DualEncoder

#: The contrastively trained weights that travel with the package; `pretraining` says how they were made.
WEIGHTS = EMBEDDED / "clip_lite.safetensors"
#: Domains of the evaluation, one an artist. Twemoji is no domain: the encoder was trained on it.
ARTISTS = ("openmoji", "noto", "fluent-3d")
#: Further styles of a domain's artist: shown as targets beside it, never trained on.
FURTHER: Mapping[str, tuple[str, ...]] = {
    "openmoji": ("openmoji-line",), "noto": (), "fluent-3d": ("fluent-flat", "fluent-hc"),
}  # fmt: skip
TEMPLATE = "an emoji of {}"
_MAKE = f"bench artifacts build clip-lite --out {WEIGHTS.parent}"


def tasks(setting: Setting, dataset: str) -> list[Task]:
    """One task for each domain; the stamps are one target, of both their kinds."""
    targets = ("stamps",) if dataset == "stamps" else ARTISTS
    return [
        Task(
            name=f"{setting}-{t}", params={"setting": setting, "dataset": dataset, "target": t}, data=t,
            group=setting,
        )
        for t in targets
    ]  # fmt: skip


def _sources(task: Task) -> tuple[str, ...]:
    """The styles that are trained on."""
    if task.params["setting"] == "open":
        return (task.params["target"],)
    return tuple(a for a in ARTISTS if a != task.params["target"])


def _targets(task: Task) -> tuple[str, ...]:
    """The styles that are targets, the ranked one first."""
    target = task.params["target"]
    if target == "stamps":
        return ()
    return (target,) if task.params["setting"] == "open" else (target, *FURTHER[target])


def _styles(task: Task) -> tuple[str, ...]:
    """Every style that the task has pictures of."""
    return tuple(dict.fromkeys((*_sources(task), *_targets(task))))


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """The stages that draw those styles which come as vectors in a package, and that scale the stamps."""
    brought = stamps.stages() if task.params["dataset"] == "stamps" else ()
    return (*emoji.stages(_styles(task)), *brought)


def missing(task: Task, run: Run) -> str | None:
    """What has to be installed or made for the task, or None."""
    why = stamps.missing() if task.params["dataset"] == "stamps" else None
    if why := why or emoji.missing(_styles(task)) or packages.MINILM.missing("the dual encoder"):
        return why
    if not WEIGHTS.is_file():
        return f"the dual encoder: no file {WEIGHTS}: install gridbench again, or: {_MAKE}"
    return None


def fingerprint(task: Task, run: Run) -> str:
    """Digest of the pictures' sources and of the encoder's weights."""
    of = [emoji.fingerprint(_styles(task)), file_digest(WEIGHTS, on_disk=False)[:16]]
    return digest([*of, stamps.fingerprint()] if task.params["dataset"] == "stamps" else of)


def encoder(run: Run) -> DualEncoder:
    """EfficientNet-Lite0 and MiniLM, as the pre-training of this project left them.

    On a CPU a step of training takes 56 % of the time when the tower's kernels lie with channels last.
    """
    import torch

    from bench.tracks.ood.nets import clip

    model = clip.lite(WEIGHTS)
    model.visual.to(memory_format=torch.channels_last)
    return model


def folds(task: Task) -> int:
    """See `OodSource.folds`."""
    return emoji_split.FOLDS


def splits(task: Task, run: Run, inputs: Inputs) -> Splits:
    """The task's pictures; reading them for the first time takes about a second."""
    setting, sources = task.params["setting"], _sources(task)
    drawn = _drawn(_styles(task), inputs)
    classes = _classes(drawn)
    base = len(classes) if setting == "shift" else math.ceil(len(classes) / 2)
    shots = run.shots if setting == "open" else 0
    assert inputs.seed is not None  # the track declares `split_per_seed`
    split_of = emoji_split.splits(inputs.seed % emoji_split.FOLDS)
    split = np.array([split_of[i] for i in drawn.id])
    y = np.array([classes.index(s) if s in classes else -1 for s in drawn.subcategory])
    source = np.isin(drawn.style, sources) & (y >= 0) & (y < base)
    train = few_per_class(np.flatnonzero(source & (split == "train")), y, shots)
    val = few_per_class(np.flatnonzero(source & (split == "val")), y, min(shots, 4))
    test = (split == "test") & (y >= 0)
    take = _taker(drawn, y, sources, run)
    targets = [
        Target(s, take(shuffled(thinned(np.flatnonzero(test & (drawn.style == s)), run.images))))
        for s in _targets(task)
    ]
    return Splits(
        names=tuple(emoji_split.words(s) for s in classes),
        base=base,
        domains=sources,
        template=TEMPLATE,
        train=take(thinned(train, run.images)),
        val=take(thinned(val, run.images)),
        targets=tuple(targets or _stamps(classes, run, inputs)),
        # Drawn from a package means: its terms do not let the repository hold its pictures.
        redistributable=bool(targets) and emoji.STYLES[targets[0].name].package is None,
    )


def _drawn(styles: tuple[str, ...], inputs: Inputs) -> emoji.Pictures:
    """The pictures of some styles, read once a process: what a task hands on of them is a copy."""
    return _read(styles, tuple((s.name, inputs.stage(s.name)) for s in emoji.stages(styles)))


@lru_cache(maxsize=1)
def _read(styles: tuple[str, ...], folders: tuple[tuple[str, Path], ...]) -> emoji.Pictures:
    """The pictures of some styles, given the folders of the stages that drew them."""
    return emoji.read(styles, stage=dict(folders).__getitem__)


def _classes(drawn: emoji.Pictures) -> list[str]:
    """The subcategories that are classes, in the order of their names; the first half of them is the base."""
    return sorted(emoji_split.classes(set(drawn.id[drawn.style == drawn.style[0]])), key=emoji_split.words)


def _taker(
    drawn: emoji.Pictures, y: np.ndarray, domains: Sequence[str], run: Run
) -> Callable[[np.ndarray], LabelledPictures]:
    """A function of positions (k,) that gives those pictures; a style that is no source is domain -1."""
    where = {s: i for i, s in enumerate(domains)}
    domain = np.array([where.get(s, -1) for s in drawn.style])
    ids = np.char.add(np.char.add(drawn.style, "/"), drawn.id)
    family = emoji_split.family_of()
    groups = np.array([family[i] for i in drawn.id])
    return lambda rows: LabelledPictures(
        inputs=_pictures(drawn.images[rows], run), y=y[rows], domain=domain[rows], ids=ids[rows],
        groups=groups[rows],
    )  # fmt: skip


def _stamps(classes: Sequence[str], run: Run, inputs: Inputs) -> list[Target]:
    """All stamps as one target, and beside it each of their kinds alone."""
    found = stamps.read(stage=inputs.stage)
    found = found.where(shuffled(thinned(np.flatnonzero(np.isin(found.subcategory, classes)), run.images)))
    y = np.array([classes.index(s) for s in found.subcategory])

    def target(name: str, rows: np.ndarray) -> Target:
        domain = np.full(len(rows), -1)
        pictures = _pictures(found.images[rows], run)
        return Target(name, LabelledPictures(inputs=pictures, y=y[rows], domain=domain, ids=found.id[rows]))

    kinds = [target(k, np.flatnonzero(found.domain == k)) for k in stamps.DOMAINS]
    return [target("stamps", np.arange(len(y))), *kinds]


def _pictures(images: np.ndarray, run: Run) -> PicturesInMemory:
    # Their size stays as it is: the encoder resizes pictures to the one that it takes.
    return in_memory(images, images.shape[1], run.crop)
