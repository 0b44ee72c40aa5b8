"""The track `dit_transfer` on pictures of the user's own: what is other than on ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.contract import Inputs, Stage, Task
from bench.data.brought.entries import Entry, Section
from bench.tracks.dit_transfer import settings, stages
from bench.tracks.dit_transfer.sources import brought
from bench.tracks.dit_transfer.track import DitTransfer

if TYPE_CHECKING:
    from bench.tracks.dit_transfer.data import TransferData, Truth


class BroughtDitTransfer(DitTransfer):
    """See `DitTransfer`; the target's pictures are the user's own."""

    def stages(self, task: Task, run: settings.Run) -> Sequence[Stage]:
        """The pictures, decoded, and the features of the real ones."""
        return brought.stages(task, run, stages.FEATURES, stages.FEATURES_FILE)

    def missing(self, task: Task, run: settings.Run) -> str | None:
        """Where the pictures lay or which package or file is not here, or None."""
        return brought.missing(task, run)

    def fingerprint(self, task: Task, run: settings.Run) -> str:
        """Digest of the pictures, their split, those of the pre-training, and the pre-trained weights."""
        return brought.fingerprint(task, run)

    def recipe(self, task: Task, run: settings.Run) -> Mapping[str, Any]:
        """How every row trains on the target, and how pictures are sampled from what it trained."""
        return asdict(brought.recipe(run))

    def kind(self, task: Task) -> str:
        """Pictures of the user's own are a kind of their own."""
        return "brought"

    def load(self, task: Task, run: settings.Run, inputs: Inputs) -> TransferData:
        """Training pictures of the target, and the pre-trained network; nothing that is held out."""
        from bench.tracks.dit_transfer.data import TransferData

        found = brought.target_data(task, run, inputs)
        return TransferData(
            target=task.brought, classes=found.classes, x=found.x, y=found.y, recipe=brought.recipe(run),
            pretrained=found.pretrained, bank=found.bank, decode=found.decode,
        )  # fmt: skip

    def truth(self, task: Task, run: settings.Run, inputs: Inputs) -> Truth:
        """Features of the held-out pictures, and the labels that a method has to sample for."""
        import numpy as np

        from bench.tracks.dit_transfer import scoring
        from bench.tracks.dit_transfer.data import Truth

        found, recipe = brought.target_data(task, run, inputs), brought.recipe(run)
        with np.load(inputs.stage(stages.FEATURES) / stages.FEATURES_FILE) as file:
            features = dict(file)
        return Truth(
            target=task.brought, test=features["test"], train=features["train"], source=features["source"],
            labels=scoring.evaluation_labels(found.y, len(found.classes), recipe.samples), recipe=recipe,
            switches=tuple(run.switches), device=inputs.device,
        )  # fmt: skip


def section(entry: Entry) -> Section | None:
    """What a suite says of these data; None if they are no pictures."""
    if entry.kind != "images":
        return None
    small = {"steps": 2, "batch": 8, "samples": 20, "chain": 2, "bank": 8, "pictures": 24, "switches": [500]}
    return Section(
        ranks_by="kid_lite0", grid={"targets": (entry.name,)}, rows=("untuned", "full", "diff-tuning"),
        small=small,
    )  # fmt: skip


TRACK = BroughtDitTransfer()
