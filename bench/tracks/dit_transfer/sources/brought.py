"""Pictures of the user's own (`bench.data.brought.images`) as a target of the laptop's network: 32 pixels.

Pictures for training and validation together are trained on; those for test are held out. A stage decodes
them once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench import packages
from bench.contract import Inputs, Needs, Stage, StageContext, Task, digest
from bench.data.brought import entries, images
from bench.data.drawings import emoji
from bench.data.transfer import sets as transfer_sets
from bench.file_digest import file_digest
from bench.tracks.common.subsets import thinned
from bench.tracks.dit_transfer import settings
from bench.tracks.dit_transfer.settings import Recipe, Run
from bench.tracks.dit_transfer.sources import laptop

if TYPE_CHECKING:
    from bench.tracks.dit_transfer.data import TargetData

#: The stage of decoded pictures, and its file.
PICTURES, FILE = "dit-brought-pictures", "pictures.npz"


def names() -> tuple[str, ...]:
    """The user's pictures, with domains or without."""
    return entries.names("images")


def task(dataset: str) -> Task:
    """The task of a data set; it is neither near nor far, since nobody knows which."""
    return Task(name=dataset, params={"target": dataset}, data=dataset, brought=dataset)


def recipe(run: Run) -> Recipe:
    """The recipe that all of the laptop's targets have."""
    return settings.recipe(settings.LAPTOP[0], run)


def missing(task: Task, run: Run) -> str | None:
    """Where the pictures lay or which package or file is not here, or None."""
    if why := entries.source(task.brought).missing() or emoji.missing(transfer_sets.SOURCE_STYLES):
        return why
    if not laptop.WEIGHTS.is_file():
        return f"the pre-trained network: no file {laptop.WEIGHTS}: install gridbench again"
    return packages.LITE0.missing("KID-lite0")


def fingerprint(task: Task, run: Run) -> str:
    """Digest of the pictures, their split, those of the pre-training, and the pre-trained weights."""
    of = [entries.source(task.brought).fingerprint(), emoji.fingerprint(transfer_sets.SOURCE_STYLES)]
    return digest([*of, file_digest(laptop.WEIGHTS, on_disk=False)[:16]])


def stages(task: Task, run: Run, features: str, file: str) -> tuple[Stage, ...]:
    """The stages that decode the pictures and draw those of the pre-training, and that of their features.

    Args:
        task: names the data set.
        run: run settings.
        features: name of the stage of features.
        file: its file.
    """
    here = missing(task, run) is None
    data = fingerprint(task, run) if here else None
    params = {"brought": task.brought, "data": entries.source(task.brought).fingerprint()}
    decode = Stage(name=PICTURES, build=decode_brought, params=params, needs=Needs(mem_gb=4, minutes=120))
    reads = (decode, *emoji.stages(transfer_sets.SOURCE_STYLES))
    about = {
        "of": dict(task.params), "brought": task.brought, "run": asdict(Run(pictures=run.pictures)),
        "data": data, "side": recipe(run).features, "file": file,
    }  # fmt: skip
    made = Stage(name=features, build=encode_brought, params=about, needs=laptop.NEEDS, stages=reads)
    return (*reads, made)


def decode_brought(ctx: StageContext) -> None:
    """Write the pictures (n, S, S, 3) uint8, their labels and parts (n,), in the order of the list."""
    from bench.data.images.pictures import Evaluation, decode

    found = images.read(ctx.params["brought"])
    unchanged = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    pictures = decode(found.images.paths(), Evaluation(transfer_sets.SIDE, *unchanged))
    np.savez(ctx.outdir / FILE, images=pictures, labels=found.images.labels, part=found.part)


def _read(folder: Path, run: Run, *parts: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and labels of some parts, at most `Run.pictures`."""
    with np.load(folder / FILE) as file:
        rows = np.flatnonzero(np.isin(file["part"], [images.PARTS.index(p) for p in parts]))
        rows = thinned(rows, run.pictures)
        return file["images"][rows], file["labels"][rows]


def target_data(task: Task, run: Run, inputs: Inputs) -> TargetData:
    """The training pictures and the pre-trained network."""
    from bench.tracks.dit_transfer.data import Pixels, TargetData

    classes = tuple(entries.entry(task.brought).settings["classes"])
    pictures, labels = _read(inputs.stage(PICTURES), run, images.TRAIN, images.VAL)
    return TargetData(
        classes=classes, x=Pixels(pictures), y=labels, pretrained=partial(laptop.pretrained, len(classes)),
        bank=laptop.bank, decode=laptop._decoded,
    )  # fmt: skip


def real_pictures(run: Run, stage: Callable[[str], Path]) -> dict[str, np.ndarray]:
    """Held-out and training pictures, and some of the pre-training."""
    source = transfer_sets.source(stage=stage).images
    chosen = np.sort(np.random.default_rng(0).permutation(len(source))[: laptop.SOURCE_PICTURES])
    folder = stage(PICTURES)
    return {
        "test": _read(folder, run, images.TEST)[0],
        "train": _read(folder, run, images.TRAIN, images.VAL)[0],
        "source": source[thinned(chosen, run.pictures)],
    }


def encode_brought(ctx: StageContext) -> None:
    """Write the features of the real pictures, (n, 1280) float32 each."""
    from bench.tracks.dit_transfer import scoring

    lite0 = scoring.lite0(ctx.params["side"], ctx.device)
    found = {name: lite0(p) for name, p in real_pictures(Run(**ctx.params["run"]), ctx.stage).items()}
    np.savez(ctx.outdir / ctx.params["file"], **found)  # type: ignore[arg-type]


def bank_stages(run: Run) -> Sequence[Stage]:
    """The bank of the laptop's targets: its pictures are those of the pre-training, whatever the target."""
    name = settings.LAPTOP[0]
    return laptop.bank_stages(Task(name=name, params={"target": name}), run)
