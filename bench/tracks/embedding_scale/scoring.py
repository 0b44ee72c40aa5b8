"""The score of an answer: AUC, log-loss, and the information abundance of its embedding tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from bench.contract import Score, Units
from bench.tracks.common.answers import Answer, array
from bench.tracks.common.metrics import auc
from bench.tracks.common.placements import by_cluster, placements
from bench.tracks.embedding_scale.data import Truth

_TRACK = "embedding_scale"
_COSTS = ("parameters", "examples_per_second")


def score(answer: Any, truth: Truth) -> Score:
    """AUC and log-loss on test and validation, and information abundance if the answer has tables.

    AUC has units, one a cluster of test rows (`placements`).

    Predictions that are not finite give NaN.

    Raises:
        AnswerError: an entry is missing or unknown, has the wrong length, a probability is out of range, or a
            table has the wrong shape.
    """
    expected = {part: f"probabilities for data.{part}_x" for part in ("val", "test")}
    entries = Answer(_TRACK, answer, required=expected, optional=("tables", *_COSTS))
    metrics: dict[str, float | None] = {}
    for part, prefix, y in (("test", "", truth.test_y), ("val", "val_", truth.val_y)):
        p = entries.probabilities(part, (len(y),), "rows")
        metrics |= {f"{prefix}auc": auc(y, p), f"{prefix}logloss": logloss(y, p)}
    metrics |= {key: entries.number(key) for key in _COSTS}
    units = {"auc": _units(truth, entries.probabilities("test", (len(truth.test_y),), "rows"))}
    if entries.get("tables") is None:
        return Score(metrics={**metrics, "info_abundance": None}, units=units)
    return replace(_with_abundance(metrics, _field_tables(entries, truth.fields), truth.fields), units=units)


def _units(truth: Truth, p: np.ndarray) -> Units:
    """One value a cluster of test rows, whose mean is the AUC."""
    clusters, values = by_cluster(placements(truth.test_y, p), truth.cluster)
    return Units(ids=np.arange(len(clusters)), values=values)


def _field_tables(entries: Answer, fields: Sequence[str]) -> list[np.ndarray]:
    """Each field's tables of M sets side by side, (D, M K)."""
    tables = entries.get("tables")
    if not isinstance(tables, Sequence) or len(tables) != len(fields):
        found = len(tables) if isinstance(tables, Sequence) else type(tables).__name__
        raise entries.error(
            f"answer['tables'] must list one entry for each of the {len(fields)} fields, got {found}"
        )
    out = []
    for field, sets in zip(fields, tables, strict=True):
        what = f"answer['tables'] of field {field!r}"
        arrays = [array(_TRACK, what, table) for table in sets]
        if not arrays or any(a.ndim != 2 or a.shape[0] != arrays[0].shape[0] or 0 in a.shape for a in arrays):
            raise entries.error(
                f"{what} has shapes {[a.shape for a in arrays]}, expected one (D, K) a set, D the same"
            )
        out.append(joined(arrays))
    return out


def _with_abundance(
    metrics: Mapping[str, float | None], tables: Sequence[np.ndarray], fields: Sequence[str]
) -> Score:
    """The score with the mean abundance, and by field, small cardinality first: abundance and spectrum."""
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


# -------------------------------------------------------------------------------------------------- measures


def logloss(y: np.ndarray, p: np.ndarray) -> float:
    """Mean negative log-likelihood in nats, >= 0; NaN if any prediction is not finite.

    ``p`` is clipped to 1e-12 from 0 and 1, so that one sure mistake costs 27.6 and not everything.
    """
    if not np.isfinite(p).all():
        return float("nan")
    inside = np.clip(p.astype(np.float64), 1e-12, 1 - 1e-12)
    return float(-np.mean(y * np.log(inside) + (1 - y) * np.log1p(-inside)))


def singular_values(table: np.ndarray) -> np.ndarray:
    """Singular values of a field's raw (uncentred) table E (D, K), largest first, divided by the largest.

    Their sum is the paper's information abundance, IA(E) = ||sigma||_1 / ||sigma||_inf, in [1, min(D, K)]:
    how many dimensions a field's embedding really uses; 0 for a table of zeros.

    Returns:
        (K,) float64 in [0, 1]; zeros beyond min(D, K), and everywhere for a table of zeros.
    """
    sigma = np.linalg.svd(table.astype(np.float64), compute_uv=False)
    padded = np.zeros(table.shape[1])
    padded[: len(sigma)] = sigma
    return padded / (sigma[0] or 1.0)


def joined(sets: Sequence[np.ndarray]) -> np.ndarray:
    """One field's tables of M sets, (D, K) each, side by side: (D, M K).

    The paper leaves the abundance of several sets undefined; this is its natural reading, and the only one
    that compares with a single embedding of the same total size.
    """
    return np.concatenate(sets, axis=1)
