"""The laptop's tasks: emoji of three artists, and stamps of a drawing programme, which no training saw.

Classes are subcategories of emoji. Families are dealt out to training, validation and test once (`splits`),
so a target shows nothing that a source picture of another artist showed, and nothing of the pre-training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench import packages
from bench.contract import Inputs, Stage, Task, digest
from bench.data import EMBEDDED
from bench.data.drawings import emoji, stamps
from bench.file_digest import file_digest
from bench.tracks.ood import splits
from bench.tracks.ood.data import Held, Labelled, Parts, Target, thinned
from bench.tracks.ood.settings import Run, Setting

if TYPE_CHECKING:
    from bench.nn.clip import DualEncoder

#: The contrastively trained weights that travel with the package; `pretrain` says how they were made.
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
    """One task a domain; the stamps are one target of both their kinds."""
    targets = ("stamps",) if dataset == "stamps" else ARTISTS
    return [
        Task(name=f"{setting}-{t}", params={"setting": setting, "dataset": dataset, "target": t})
        for t in targets
    ]


def _sources(task: Task) -> tuple[str, ...]:
    if task.params["setting"] == "open":
        return (task.params["target"],)
    return tuple(a for a in ARTISTS if a != task.params["target"])


def _asked(task: Task) -> tuple[str, ...]:
    """The styles that are targets, the ranked one first."""
    target = task.params["target"]
    if target == "stamps":
        return ()
    return (target,) if task.params["setting"] == "open" else (target, *FURTHER[target])


def _styles(task: Task) -> tuple[str, ...]:
    """Every style that the task's pictures are of."""
    return tuple(dict.fromkeys((*_sources(task), *_asked(task))))


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """The drawing of those styles that come as vectors in a package, and the scaling of the stamps."""
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
    """EfficientNet-Lite0 and MiniLM as the pre-training of this suite left them."""
    from bench.nn import clip

    return clip.lite(WEIGHTS)


def parts(task: Task, run: Run, inputs: Inputs) -> Parts:
    """The task's pictures; about a second."""
    setting, sources = task.params["setting"], _sources(task)
    drawn = emoji.read(_styles(task), stage=inputs.stage)
    classes = _classes(drawn)
    base = len(classes) if setting == "shift" else math.ceil(len(classes) / 2)
    shots = run.shots if setting == "open" else 0
    part_of = splits.parts()
    part = np.array([part_of[i] for i in drawn.id])
    y = np.array([classes.index(s) if s in classes else -1 for s in drawn.subcategory])
    source = np.isin(drawn.style, sources) & (y >= 0) & (y < base)
    test = (part == "test") & (y >= 0)
    take = _taker(drawn, y, sources, run)
    targets = [
        Target(s, take(thinned(np.flatnonzero(test & (drawn.style == s)), run.images))) for s in _asked(task)
    ]
    return Parts(
        names=tuple(splits.words(s) for s in classes),
        base=base,
        domains=sources,
        template=TEMPLATE,
        train=take(thinned(_few(np.flatnonzero(source & (part == "train")), y, shots), run.images)),
        val=take(thinned(_few(np.flatnonzero(source & (part == "val")), y, min(shots, 4)), run.images)),
        targets=tuple(targets or _stamps(classes, run, inputs)),
        # Drawn from a package means: its terms do not let the repository hold its pictures.
        free=bool(targets) and emoji.STYLES[targets[0].name].package is None,
    )


def _classes(drawn: emoji.Pictures) -> list[str]:
    """Subcategories in the order of their names, as folders of classes are: the first half is the base."""
    return sorted(splits.classes(set(drawn.id[drawn.style == drawn.style[0]])), key=splits.words)


def _few(rows: np.ndarray, y: np.ndarray, shots: int) -> np.ndarray:
    """The first ``shots`` positions of each class, in an order that tells nothing; all if ``shots`` is 0."""
    if not shots:
        return rows
    order = np.random.default_rng(0).permutation(rows)
    chosen = [order[y[order] == c][:shots] for c in np.unique(y[rows])]
    return np.sort(np.concatenate(chosen))


def _taker(
    drawn: emoji.Pictures, y: np.ndarray, domains: Sequence[str], run: Run
) -> Callable[[np.ndarray], Labelled]:
    """Positions -> those pictures; a style that is no source counts as domain -1."""
    where = {s: i for i, s in enumerate(domains)}
    domain = np.array([where.get(s, -1) for s in drawn.style])
    ids = np.char.add(np.char.add(drawn.style, "/"), drawn.id)
    family = splits.family_of()
    groups = np.array([family[i] for i in drawn.id])
    return lambda rows: Labelled(
        _held(drawn.images[rows], run), y[rows], domain[rows], ids[rows], groups[rows]
    )


def _stamps(classes: Sequence[str], run: Run, inputs: Inputs) -> list[Target]:
    found = stamps.read(stage=inputs.stage)
    keep = thinned(np.flatnonzero(np.isin(found.subcategory, classes)), run.images)
    found = found.where(keep)
    y = np.array([classes.index(s) for s in found.subcategory])
    everything = Labelled(_held(found.images, run), y, np.full(len(y), -1), found.id)
    kinds = [(k, np.flatnonzero(found.domain == k)) for k in stamps.DOMAINS]
    return [
        Target("stamps", everything),
        *(
            Target(k, Labelled(_held(found.images[r], run), y[r], everything.domain[r], found.id[r]))
            for k, r in kinds
        ),
    ]


def _held(images: np.ndarray, run: Run) -> Held:
    from bench.data.images.pictures import Evaluation, Training

    # Pictures keep their size and stay uint8 here: the encoder brings them to its own range.
    plain = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    side = images.shape[1]
    return Held(images, Training(side, *plain, scale=(run.crop, 1.0)), Evaluation(side, *plain))
