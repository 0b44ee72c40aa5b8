"""The track `embedding_scale`: how click models answer to a larger embedding.

Paper: Guo et al., On the Embedding Collapse when Scaling up Recommendation Models (ICML 2024).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Protocol

from bench.contract import AnswerError, BenchError, Inputs, Metric, Score, Snapshot, Task, Track
from bench.tracks.embedding_scale import settings

if TYPE_CHECKING:
    import numpy as np

    from bench.tracks.embedding_scale.data import CtrData, Kept

_COSTS = ("parameters", "examples_per_second")
_KEYS = ("val", "test", "tables", *_COSTS)


class EmbeddingScale(Track):
    """Binary prediction from categorical fields; one task a data set and multiple of the embedding size.

    A method is given `CtrData` and answers with a mapping: ``"val"`` and ``"test"``, the probabilities of a
    positive label for the rows of ``val_x`` and ``test_x``, (n,) in [0, 1]; if it has embeddings,
    ``"tables"``, for each field a list with one (D, K) array a set; and, if it likes, ``"parameters"``, how
    many numbers it trained, and ``"examples_per_second"``, how many training rows it went through a second.

    The score keeps no units: AUC is a rank statistic over pairs, not a mean over rows, so rows of two methods
    are compared over seeds.
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
        for dataset in grid.datasets:
            if dataset not in known:
                near = get_close_matches(dataset, known, 1, 0)
                raise BenchError(
                    f"embedding_scale: grid.datasets: {dataset!r} is none of {', '.join(sorted(known))};"
                    f" nearest: {near[0]!r}"
                )
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

    def missing(self, task: Task, run: settings.Run) -> str | None:
        """Which package has to be installed for the task's data set, or which file brought, or None."""
        return _reader(task).missing(task.params["dataset"])

    def fingerprint(self, task: Task, run: settings.Run) -> str:
        """Digest of the data set's source files and of the version of its reader."""
        return _reader(task).fingerprint(task.params["dataset"])

    def load(self, task: Task, run: settings.Run, inputs: Inputs) -> CtrData:
        """The rows, split, without the test labels; about a second."""
        from bench.tracks.embedding_scale import data

        return data.given(task.params["dataset"], task.params["scale"], run.rows)

    def truth(self, task: Task, run: settings.Run, inputs: Inputs) -> Kept:
        """The labels of validation and test, read anew so that no method shares memory with them."""
        from bench.tracks.embedding_scale import data

        return data.kept(task.params["dataset"], run.rows)

    def score(self, task: Task, answer: Any, kept: Kept, history: Sequence[Snapshot]) -> Score:
        """AUC and log-loss on test and validation, information abundance of the tables if there are any.

        Predictions that are not finite give NaN. Raises `AnswerError` for a missing or unknown entry, a wrong
        length, a probability out of range, a table of the wrong shape.
        """
        from bench.tracks.embedding_scale.metrics import auc, logloss

        answer = _checked(answer)
        metrics: dict[str, float | None] = {}
        for part, prefix, y in (("test", "", kept.test_y), ("val", "val_", kept.val_y)):
            p = _probabilities(answer[part], part, len(y))
            metrics |= {f"{prefix}auc": auc(y, p), f"{prefix}logloss": logloss(y, p)}
        metrics |= {key: None if (v := answer.get(key)) is None else float(v) for key in _COSTS}
        if (tables := answer.get("tables")) is None:
            return Score(metrics={**metrics, "info_abundance": None})
        return _with_abundance(metrics, _field_tables(tables, kept.fields), kept.fields)

    def kind(self, task: Task) -> str:
        """A data set at any scale."""
        return str(task.params["dataset"])

    def smoke(self) -> tuple[settings.Grid, settings.Run]:
        """Two sets on a thin slice of the flights, one epoch."""
        return settings.Grid(scales=(2,)), settings.Run(
            base_dim=2, rows=6_000, epochs=1, hidden=16, cross_layers=2, lr=1e-2
        )


class _Reader(Protocol):
    def missing(self, name: str) -> str | None: ...

    def fingerprint(self, name: str) -> str: ...


def _reader(task: Task) -> _Reader:
    """The module of the task's data set: tables out of packages, or click logs that the user brings."""
    from bench.data.tables import tabular

    if task.params["dataset"] in tabular.SOURCES:
        return tabular
    from bench.data.tables import ctr_logs

    return ctr_logs


def _checked(answer: Any) -> Mapping[str, Any]:
    if not isinstance(answer, Mapping):
        raise AnswerError(
            f"embedding_scale: the answer is a {type(answer).__name__},"
            " expected a mapping with 'val' and 'test'"
        )
    for key in answer:
        if key not in _KEYS:
            near = get_close_matches(str(key), _KEYS, 1, 0)[0]
            raise AnswerError(
                f"embedding_scale: answer[{key!r}] is none of {', '.join(_KEYS)}; nearest: {near!r}"
            )
    for key in ("val", "test"):
        if key not in answer:
            raise AnswerError(
                f"embedding_scale: the answer lacks {key!r}, expected probabilities for data.{key}_x"
            )
    return answer


def _probabilities(values: Any, part: str, n: int) -> np.ndarray:
    """``values`` as (n,) float64, all finite ones in [0, 1]."""
    import numpy as np

    p = _array(values, f"answer[{part!r}]")
    if p.shape != (n,):
        raise AnswerError(f"embedding_scale: answer[{part!r}] has shape {p.shape}, expected ({n},)")
    # What is not finite passes here and becomes a NaN metric: that method diverged, its answer has the shape.
    finite = p[np.isfinite(p)]
    if ((finite < 0) | (finite > 1)).any():
        raise AnswerError(
            f"embedding_scale: answer[{part!r}] goes from {finite.min():.4g} to {finite.max():.4g},"
            " expected probabilities in [0, 1] (logits? apply a sigmoid)"
        )
    return p


def _field_tables(tables: Any, fields: Sequence[str]) -> list[np.ndarray]:
    """Each field's sets side by side, (D, M K)."""
    from bench.tracks.embedding_scale.metrics import joined

    if not isinstance(tables, Sequence) or len(tables) != len(fields):
        raise AnswerError(
            f"embedding_scale: answer['tables'] must list one entry for each of the {len(fields)} fields,"
            f" got {len(tables) if isinstance(tables, Sequence) else type(tables).__name__}"
        )
    out = []
    for field, sets in zip(fields, tables, strict=True):
        where = f"answer['tables'] of field {field!r}"
        arrays = [_array(t, where) for t in sets]
        if not arrays or any(a.ndim != 2 or a.shape[0] != arrays[0].shape[0] or 0 in a.shape for a in arrays):
            raise AnswerError(
                f"embedding_scale: {where} has shapes {[a.shape for a in arrays]},"
                " expected one (D, K) a set, D the same"
            )
        out.append(joined(arrays))
    return out


def _array(values: Any, where: str) -> np.ndarray:
    import numpy as np

    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as e:
        raise AnswerError(f"embedding_scale: {where} is no array of numbers: {e}") from e


def _with_abundance(
    metrics: Mapping[str, float | None], tables: Sequence[np.ndarray], fields: Sequence[str]
) -> Score:
    """The score with the mean abundance, and by field, small cardinality first: abundance and spectrum."""
    import numpy as np
    import xarray as xr

    from bench.tracks.embedding_scale.metrics import singular_values

    if not all(np.isfinite(t).all() for t in tables):
        return Score(metrics={**metrics, "info_abundance": float("nan")})
    order = sorted(range(len(fields)), key=lambda i: tables[i].shape[0])
    width = max(t.shape[1] for t in tables)
    spectrum = np.zeros((len(fields), width))
    for at, i in enumerate(order):
        spectrum[at, : tables[i].shape[1]] = singular_values(tables[i])
    names = [fields[i] for i in order]
    abundance = spectrum.sum(axis=1)
    series = {
        "spectrum": xr.DataArray(
            spectrum.astype(np.float32), dims=("field", "singular_value"),
            coords={"field": names, "singular_value": np.arange(1, width + 1)},
        ),
        "info_abundance": xr.DataArray(abundance, dims=("field",), coords={"field": names}),
    }  # fmt: skip
    return Score(metrics={**metrics, "info_abundance": float(abundance.mean())}, series=series)


TRACK = EmbeddingScale()
