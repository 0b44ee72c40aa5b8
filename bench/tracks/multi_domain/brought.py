"""The track `multi_domain` on pictures and tables of the user's own: what is other than on ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.contract import Inputs, Task
from bench.data.brought.entries import LARGE, SMALL, Entry, Section
from bench.tracks.common.sources import Source
from bench.tracks.multi_domain import settings
from bench.tracks.multi_domain.sources import brought
from bench.tracks.multi_domain.track import MultiDomain, _body

if TYPE_CHECKING:
    from bench.tracks.multi_domain.data import MultiDomainData, Splits


class BroughtMultiDomain(MultiDomain):
    """See `MultiDomain`; the data are the user's own."""

    def source(self, task: Task) -> Source[Splits]:
        """See `SourcedTrack.source`."""
        return brought

    def recipe(self, task: Task, run: settings.Run) -> Mapping[str, Any]:
        """What the task's data set is trained with."""
        return asdict(brought.recipe(task, run))

    def load(self, task: Task, run: settings.Run, inputs: Inputs) -> MultiDomainData:
        """The examples of all splits, without the test labels."""
        from bench.tracks.multi_domain.data import MultiDomainData, Unlabelled

        splits = brought.splits(task, run, inputs).shuffled_test()
        recipe = brought.recipe(task, run)
        test = Unlabelled(splits.inputs(splits.test), splits.domain[splits.test].astype("int64"))
        return MultiDomainData(
            dataset=task.brought, kind=splits.kind, domains=splits.domains, classes=splits.classes,
            train=splits.labelled(splits.train), val=splits.labelled(splits.val), test=test,
            recipe=recipe, body=_body(splits, recipe),
        )  # fmt: skip


def section(entry: Entry) -> Section | None:
    """What a suite says of these data; None if they have no domains."""
    if not entry.settings.get("domains"):
        return None
    return Section(
        ranks_by="average", grid={"datasets": (entry.name,)}, rows=("separate", "joint", "d-train"),
        small={"steps": 6, "batch": 24},
        needs=LARGE if entry.settings.get("network") == "paper" else SMALL,
    )  # fmt: skip


TRACK = BroughtMultiDomain()
