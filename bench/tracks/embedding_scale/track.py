"""The track `embedding_scale`: how click models answer to a larger embedding.

Paper: Guo et al., On the Embedding Collapse when Scaling up Recommendation Models (ICML 2024).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.contract import BenchError, Inputs, Metric, Score, Snapshot, Task
from bench.tracks.common.names import check_names
from bench.tracks.common.sources import SourcedTrack
from bench.tracks.embedding_scale import settings
from bench.tracks.embedding_scale.claims import CLAIMS
from bench.tracks.embedding_scale.sources.by_name import CtrSource, names, source_of

if TYPE_CHECKING:
    from bench.tracks.embedding_scale.data import CtrData, Truth


_NOTES = {
    "planted": "planted is a generated log of clicks, not a recorded one. The AUC of its true probabilities"
    " on the test rows is known: no method can expect to be above it.",
    "flights-day": "flights-day is a completion task: rows are split at random, so other flights of a test"
    " flight's day are in training. It says nothing about forecasting delays.",
    "insteval": "insteval is split at random too; its ratings are close to a sum over student and lecturer.",
}
_IPNN = (
    "with several sets IPNN reads the inner products alone, so what a single value says on its own (the first"
    " order) reaches it only through products of few dimensions. The row is left out of the claims."
)
_WIDE = (
    "the claim over single-wide leans on this row, which at the grid's common learning rate begins with a"
    " loss far above the others' and ends below single/finalmlp; results/FINDINGS.md has the claim without"
    " FinalMLP."
)


class EmbeddingScale(SourcedTrack):
    """Binary prediction from categorical fields: a task for each data set and multiple of the embedding size.

    A method is given `CtrData` and answers with a mapping. ``"val"`` and ``"test"`` are the probabilities of
    a positive label for the rows of ``val_x`` and ``test_x``, (n,) in [0, 1]. A method with embeddings also
    gives ``"tables"``: for each field a list with one array (D, K) a set. Optional are ``"parameters"``, how
    many numbers were trained, and ``"examples_per_second"``, how many training rows a second.

    The units of AUC are one value a cluster of test rows, such as those of a student or of a day, whose mean
    is the AUC (`bench.tracks.common.placements`): rows of a cluster are not independent.
    """

    name = "embedding_scale"
    title = "Embedding scaling: single against multi-embedding"
    version = 2
    metrics = (
        Metric(name="auc", better="higher", doc="area under the ROC curve, ties count one half"),
        Metric(name="logloss", better="lower", unit="nats", doc="mean negative log-likelihood"),
        Metric(
            name="info_abundance", better="neither", digits=2, kind="diagnostic",
            doc="sum of a field's singular values over the largest, mean over fields; sets side by side",
        ),
        Metric(
            name="parameters", better="lower", digits=0, kind="cost",
            doc="trained numbers, embeddings included",
        ),
        Metric(
            name="examples_per_second", better="higher", digits=0, kind="cost",
            doc="training rows per second of training, validation not counted",
        ),
    )  # fmt: skip
    reference = "single/dnn"
    Grid = settings.Grid
    Run = settings.Run
    by_value = ("PAPER_WIDTH", "WIDTHS")
    axis = "scale"
    claims = CLAIMS
    preload = (
        "numpy", "pandas", "sklearn.metrics", "torch", "torch_rechub.basic.layers", "xarray",
    )  # fmt: skip

    def tasks(self, grid: settings.Grid) -> Sequence[Task]:
        """``flights-4x`` and so on: for every data set, every scale.

        Raises:
            BenchError: an unknown data set, or a scale that is not a whole number from 1 on.
        """
        if own := [d for d in grid.datasets if d not in names()]:
            from bench.data.brought import entries

            check_names("embedding_scale: grid.datasets", own, (*names(), *entries.names("table")))
        for scale in grid.scales:
            if isinstance(scale, bool) or not isinstance(scale, int) or scale < 1:
                raise BenchError(
                    f"embedding_scale: grid.scales: {scale!r} is no whole number from 1 on; nearest: 1"
                )
        return [
            Task(
                name=f"{dataset}-{scale}x", params={"dataset": dataset, "scale": scale}, data=dataset,
                brought=dataset if dataset in own else "",
            )
            for dataset in grid.datasets
            for scale in grid.scales
        ]  # fmt: skip

    def source(self, task: Task) -> CtrSource:
        """See `SourcedTrack.source`."""
        return source_of(task)

    def load(self, task: Task, run: settings.Run, inputs: Inputs) -> CtrData:
        """The rows of the data set, split, without the test labels.

        Raises:
            BenchError: training or validation have labels of one class.
        """
        from bench.tracks.embedding_scale.data import check_classes

        given = source_of(task).ctr_data(task, run)
        check_classes(task.name, "training", given.train_y)
        check_classes(task.name, "validation", given.val_y)
        return given

    def truth(self, task: Task, run: settings.Run, inputs: Inputs) -> Truth:
        """The labels of validation and test.

        Raises:
            BenchError: test has labels of one class.
        """
        from bench.tracks.embedding_scale.data import check_classes

        kept = source_of(task).truth(task, run)
        check_classes(task.name, "test", kept.test_y)
        return kept

    def score(self, task: Task, answer: Any, truth: Truth, history: Sequence[Snapshot]) -> Score:
        """AUC, log-loss and information abundance; see `scoring.score`."""
        from bench.tracks.embedding_scale import scoring

        return scoring.score(answer, truth)

    def recipe(self, task: Task, run: settings.Run) -> Mapping[str, Any]:
        """Hidden units of every model on the task's data set; those of the run settings if they say."""
        dataset = task.params["dataset"]
        return {"hidden": {model: settings.width(dataset, model, run) for model in settings.MODELS}}

    def ceilings(self, tasks: Sequence[Task]) -> dict[str, float]:
        """Tasks on generated data -> AUC of the true probabilities on the test rows."""
        from bench.tracks.embedding_scale.sources import generated

        known = [t for t in tasks if t.params["dataset"] in generated.NAMES]
        return dict.fromkeys((t.name for t in known), generated.best_auc()) if known else {}

    def notes(self, tasks: Sequence[Task]) -> Mapping[str, str]:
        """What the data sets are, where a reader could take them for others; which row stands apart."""
        shown = {t.params["dataset"] for t in tasks}
        notes = {name: note for name, note in _NOTES.items() if name in shown} | {"multi/ipnn": _IPNN}
        # Seen on the laptop's grid; of the paper's data nothing is known yet.
        return notes | {"single-wide/finalmlp": _WIDE} if shown & _NOTES.keys() else notes

    def kind(self, task: Task) -> str:
        """Tasks on one data set are of one kind, at whatever scale."""
        return str(task.params["dataset"])

    def smoke(self) -> tuple[settings.Grid, settings.Run]:
        """One task: two sets of embeddings, trained for one epoch on a small part of the flights."""
        return settings.Grid(scales=(2,)), settings.Run(
            base_dim=2, rows=6_000, epochs=1, hidden=16, cross_layers=2, lr=1e-2
        )


TRACK = EmbeddingScale()
