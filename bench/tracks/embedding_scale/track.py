"""The track `embedding_scale`: how click models answer to a larger embedding.

Paper: Guo et al., On the Embedding Collapse when Scaling up Recommendation Models (ICML 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.contract import BenchError, Inputs, Metric, Score, Snapshot, Task
from bench.tracks.common.names import check_names
from bench.tracks.common.sources import SourcedTrack
from bench.tracks.embedding_scale import settings
from bench.tracks.embedding_scale.sources.by_name import CtrSource, source_of

if TYPE_CHECKING:
    from bench.tracks.embedding_scale.data import CtrData, Truth


class EmbeddingScale(SourcedTrack):
    """Binary prediction from categorical fields: a task for each data set and multiple of the embedding size.

    A method is given `CtrData` and answers with a mapping. ``"val"`` and ``"test"`` are the probabilities of
    a positive label for the rows of ``val_x`` and ``test_x``, (n,) in [0, 1]. A method with embeddings also
    gives ``"tables"``: for each field a list with one array (D, K) a set. Optional are ``"parameters"``, how
    many numbers were trained, and ``"examples_per_second"``, how many training rows a second.

    The score has no units: AUC is a rank statistic over pairs of rows, not a mean over rows, so rows of the
    board are compared over seeds.
    """

    name = "embedding_scale"
    title = "Embedding scaling: single against multi-embedding"
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
    axis = "scale"
    preload = (
        "numpy", "pandas", "sklearn.metrics", "torch", "torch_rechub.basic.layers", "xarray",
    )  # fmt: skip

    def tasks(self, grid: settings.Grid) -> Sequence[Task]:
        """``flights-4x`` and so on: for every data set, every scale.

        Raises:
            BenchError: an unknown data set, or a scale that is not a whole number from 1 on.
        """
        from bench.data.tables import ctr_logs, tabular

        known = (*tabular.SOURCES, *ctr_logs.LAYOUTS)
        check_names("embedding_scale: grid.datasets", grid.datasets, known)
        for scale in grid.scales:
            if isinstance(scale, bool) or not isinstance(scale, int) or scale < 1:
                raise BenchError(
                    f"embedding_scale: grid.scales: {scale!r} is no whole number from 1 on; nearest: 1"
                )
        return [
            Task(name=f"{dataset}-{scale}x", params={"dataset": dataset, "scale": scale})
            for dataset in grid.datasets
            for scale in grid.scales
        ]

    def source(self, task: Task) -> CtrSource:
        """See `SourcedTrack.source`."""
        return source_of(task)

    def load(self, task: Task, run: settings.Run, inputs: Inputs) -> CtrData:
        """The rows of the data set, split, without the test labels."""
        return source_of(task).ctr_data(task, run)

    def truth(self, task: Task, run: settings.Run, inputs: Inputs) -> Truth:
        """The labels of validation and test."""
        return source_of(task).truth(task, run)

    def score(self, task: Task, answer: Any, truth: Truth, history: Sequence[Snapshot]) -> Score:
        """AUC, log-loss and information abundance; see `scoring.score`."""
        from bench.tracks.embedding_scale import scoring

        return scoring.score(answer, truth)

    def kind(self, task: Task) -> str:
        """Tasks on one data set are of one kind, at whatever scale."""
        return str(task.params["dataset"])

    def smoke(self) -> tuple[settings.Grid, settings.Run]:
        """One task: two sets of embeddings, trained for one epoch on a small part of the flights."""
        return settings.Grid(scales=(2,)), settings.Run(
            base_dim=2, rows=6_000, epochs=1, hidden=16, cross_layers=2, lr=1e-2
        )


TRACK = EmbeddingScale()
