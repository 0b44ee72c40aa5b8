"""The track `embedding_scale` on tables of the user's own: what is other than on ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.contract import Inputs, Task
from bench.data.brought.entries import Entry, Section
from bench.tracks.embedding_scale import settings
from bench.tracks.embedding_scale.sources import brought
from bench.tracks.embedding_scale.sources.by_name import CtrSource
from bench.tracks.embedding_scale.track import EmbeddingScale

if TYPE_CHECKING:
    from bench.tracks.embedding_scale.data import CtrData, Truth


class BroughtEmbeddingScale(EmbeddingScale):
    """See `EmbeddingScale`; the tables are the user's own."""

    def source(self, task: Task) -> CtrSource:
        """See `SourcedTrack.source`."""
        return brought

    def load(self, task: Task, run: settings.Run, inputs: Inputs) -> CtrData:
        """The rows of the table, split, without the test labels."""
        from bench.tracks.embedding_scale.data import check_classes

        given = brought.ctr_data(task, run)
        check_classes(task.name, "training", given.train_y)
        check_classes(task.name, "validation", given.val_y)
        return given

    def truth(self, task: Task, run: settings.Run, inputs: Inputs) -> Truth:
        """The labels of validation and test."""
        from bench.tracks.embedding_scale.data import check_classes

        kept = brought.truth(task, run)
        check_classes(task.name, "test", kept.test_y)
        return kept


def section(entry: Entry) -> Section | None:
    """What a suite says of these data; None if they are no table. Sizes and steps are those of the laptop."""
    if entry.kind != "table":
        return None
    run = {"base_dim": 4, "lr": 2e-3, "epochs": 10, "evaluations": 4, "patience": 4, "hidden": 64}
    return Section(
        ranks_by="auc", grid={"datasets": (entry.name,), "scales": (1, 4)},
        rows=("prior", "lr", "single/dnn", "multi/dnn"), run=run,
        small={"base_dim": 2, "rows": 6_000, "epochs": 1, "hidden": 16, "cross_layers": 2, "lr": 1e-2},
    )  # fmt: skip


TRACK = BroughtEmbeddingScale()
