"""The track `ood` on pictures of the user's own: what is other than on ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.contract import Inputs, Stage, Task
from bench.data.brought.entries import LARGE, SMALL, Entry, Section
from bench.tracks.ood import settings
from bench.tracks.ood.sources import brought
from bench.tracks.ood.track import Ood

if TYPE_CHECKING:
    from bench.tracks.ood.data import OodData, Truth


class BroughtOod(Ood):
    """See `Ood`; the pictures are the user's own."""

    def stages(self, task: Task, run: settings.Run) -> Sequence[Stage]:
        """There are no stages, since the files are read as they are."""
        return brought.stages(task, run)

    def missing(self, task: Task, run: settings.Run) -> str | None:
        """Where the pictures lay or which network is not here, or None."""
        return brought.missing(task, run)

    def fingerprint(self, task: Task, run: settings.Run) -> str:
        """Digest of the pictures, their split, and the network's weights."""
        return brought.fingerprint(task, run)

    def recipe(self, task: Task, run: settings.Run) -> Mapping[str, Any]:
        """How the task's data set is trained with."""
        return asdict(brought.recipe(task, run))

    def load(self, task: Task, run: settings.Run, inputs: Inputs) -> OodData:
        """The pictures of the source domains with labels, and the encoder; nothing of the target."""
        from bench.tracks.ood.data import OodData

        splits = brought.splits(task, run, inputs)
        return OodData(
            setting=task.params["setting"], dataset=task.brought, recipe=brought.recipe(task, run),
            classes=splits.names[: splits.base], domains=splits.domains, template=splits.template,
            train=splits.train, val=splits.val, encoder=partial(brought.encoder, task, run),
        )  # fmt: skip

    def truth(self, task: Task, run: settings.Run, inputs: Inputs) -> Truth:
        """The target's pictures with labels, and the labels of validation; nothing that a method holds."""
        from bench.tracks.ood.data import Truth

        splits = brought.splits(task, run, inputs)
        return Truth(
            setting=task.params["setting"], names=splits.names, base=splits.base, val=splits.val,
            targets=splits.targets,
        )  # fmt: skip


def section(entry: Entry) -> Section | None:
    """What a suite says of these data; None if they are no pictures."""
    if entry.kind != "images":
        return None
    has = brought.SETTINGS[bool(entry.settings["domains"])]
    grid: dict[str, tuple[str, ...]] = {
        s: (entry.name,) if s in has else () for s in ("shift", "open", "wild")
    }
    return Section(
        ranks_by="accuracy", grid=grid, rows=("zero-shot", "fine-tune", "clipood"),
        small={"steps": 3, "batch": 8, "images": 32},
        needs=LARGE if entry.settings.get("network") == "paper" else SMALL,
    )  # fmt: skip


TRACK = BroughtOod()
