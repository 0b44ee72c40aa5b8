"""Asking an answer about pictures, and what it got right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bench.contract import SHEET_COLUMNS, AnswerError
from bench.tracks.ood.data import Kept, Labelled, Pictures, Target
from bench.tracks.ood.metrics import confidence

#: Pictures (n, S, S, 3) uint8 and the names of C classes -> logits (n, C).
Predict = Callable[[np.ndarray, tuple[str, ...]], np.ndarray]
#: Pictures in one call.
BATCH = 256
#: Pixels of a picture on a sheet.
_SIDE = 40
#: Steps of an average whose shares are kept.
_SHARES = 101


@dataclass(frozen=True, slots=True)
class Judged:
    """``correct``: (n,) 0 or 1; ``confidence``: (n,) of the chosen class. NaN where logits are not finite."""

    correct: np.ndarray
    confidence: np.ndarray

    @property
    def finite(self) -> bool:
        """Whether every logit was."""
        return bool(np.isfinite(self.correct).all())

    def mean(self, which: np.ndarray | None = None) -> float:
        """Accuracy on all pictures or on those of a mask; NaN where there is none."""
        chosen = self.correct if which is None else self.correct[which]
        return float(chosen.mean()) if len(chosen) else float("nan")


def judged_sources(predict: Predict, kept: Kept) -> Judged:
    """Validation pictures, among the names seen in training."""
    return _judged(predict, kept.val, [(kept.names[: kept.base], 0)], "validation")


def judged_target(predict: Predict, kept: Kept, target: Target) -> Judged:
    """A target's pictures, among the names that the setting asks for (see `track.Ood`)."""
    if kept.setting == "variant":  # a set with 200 of ImageNet's classes is asked among those
        found, y = np.unique(target.labelled.y, return_inverse=True)
        names = tuple(kept.names[c] for c in found)
        of = Labelled(target.labelled.pictures, y, target.labelled.domain, target.labelled.ids)
        return _judged(predict, of, [(names, 0)], target.name)
    if kept.setting == "open":
        halves = [(kept.names[: kept.base], 0), (kept.names[kept.base :], kept.base)]
        return _judged(predict, target.labelled, halves, target.name)
    return _judged(predict, target.labelled, [(kept.names, 0)], target.name)


def _judged(
    predict: Predict, asked: Labelled, groups: list[tuple[tuple[str, ...], int]], where: str
) -> Judged:
    """Each picture among the names of the group that its class is in; a group's second: its first class."""
    correct, sure = np.full(len(asked), np.nan), np.full(len(asked), np.nan)
    for names, first in groups:
        mine = np.flatnonzero((asked.y >= first) & (asked.y < first + len(names)))
        for rows in np.split(mine, range(BATCH, len(mine), BATCH)):
            if len(rows) == 0:
                continue
            logits = _logits(predict(asked.pictures.read(rows), names), (len(rows), len(names)), where)
            whole = np.isfinite(logits).all(axis=1)
            correct[rows] = np.where(whole, logits.argmax(axis=1) == asked.y[rows] - first, np.nan)
            sure[rows[whole]] = confidence(logits[whole])
    return Judged(correct, sure)


def _logits(values: Any, shape: tuple[int, int], where: str) -> np.ndarray:
    try:
        logits = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as e:
        raise AnswerError(f"ood: predict gave no array of numbers for {where}: {e}") from e
    if logits.shape != shape:
        raise AnswerError(
            f"ood: predict gave shape {logits.shape} for {where}, expected {shape}: pictures, class names"
        )
    return logits


def shares(given: Any) -> xr.DataArray | None:
    """What each step's weights count for in an answer's average, relative to equal shares: (step,).

    Of a long training about 100 steps, evenly, with both ends. Raises `AnswerError` unless the shares are
    numbers that sum to 1.
    """
    if given is None:
        return None
    try:
        a = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as e:
        raise AnswerError(f"ood: answer['average'] is no array of numbers: {e}") from e
    if a.ndim != 1 or len(a) < 2 or not np.isclose(a.sum(), 1, atol=1e-3):
        raise AnswerError(
            f"ood: answer['average'] has shape {a.shape} and sum {a.sum():g}, expected (T + 1,) and sum 1:"
            " a share for the weights before training and one for those after each step"
        )
    steps = np.unique(np.linspace(0, len(a) - 1, _SHARES).round().astype(np.int64))
    return xr.DataArray(a[steps] * len(a), dims=("step",), coords={"step": steps})


def sheet(pictures: Pictures) -> np.ndarray:
    """All pictures in their order, as a view shows examples: (rows * 40, columns * 40, 3) uint8."""
    import torch
    import torch.nn.functional as F

    x = torch.from_numpy(pictures.read(np.arange(len(pictures)))).movedim(-1, 1).float()
    x = F.interpolate(x, (_SIDE, _SIDE), mode="bilinear", antialias=True).round().clamp(0, 255).byte()
    rows = -(-len(x) // SHEET_COLUMNS)
    tiles = torch.full((rows * SHEET_COLUMNS, 3, _SIDE, _SIDE), 255, dtype=torch.uint8)
    tiles[: len(x)] = x
    tiles = tiles.view(rows, SHEET_COLUMNS, 3, _SIDE, _SIDE).permute(0, 3, 1, 4, 2)
    flat: np.ndarray = tiles.reshape(rows * _SIDE, SHEET_COLUMNS * _SIDE, 3).numpy()
    return flat
