"""Evaluating an answer on labelled pictures: which it names right, and how sure it is of that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from bench.contract import SHEET_COLUMNS
from bench.tracks.common.answers import Answer, array
from bench.tracks.common.pictures import Examples
from bench.tracks.ood.data import LabelledPictures, Target, Truth
from bench.tracks.ood.metrics import confidence

#: Pictures (n, S, S, 3) uint8 and the names of C classes -> logits (n, C).
Predict = Callable[[np.ndarray, tuple[str, ...]], np.ndarray]
#: Pictures in one call of an answer's function.
BATCH = 256
#: Pixels a side of a picture on a contact sheet.
_SIDE = 40
#: Steps of an average whose shares a record holds, at most.
_SHARES = 101


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of n pictures.

    ``correct``: (n,) 1.0 where a picture was named right, else 0.0. ``confidence``: (n,) probability of the
    chosen class. Both are NaN where a picture's logits are not finite.
    """

    correct: np.ndarray
    confidence: np.ndarray

    @property
    def finite(self) -> bool:
        """Whether every logit was finite."""
        return bool(np.isfinite(self.correct).all())

    def mean(self, which: np.ndarray | None = None) -> float:
        """Accuracy on all pictures, or on those of a mask (n,); NaN where there is none."""
        chosen = self.correct if which is None else self.correct[which]
        return float(chosen.mean()) if len(chosen) else float("nan")


def evaluate_validation(predict: Predict, truth: Truth) -> Outcome:
    """Name the validation pictures, among the names of the classes that are in training."""
    return _evaluate(predict, truth.val, [(truth.names[: truth.base], 0)], "validation")


def evaluate_target(predict: Predict, truth: Truth, target: Target) -> Outcome:
    """Name a target's pictures, among the names that the setting offers (see `track.Ood`)."""
    pictures = target.labelled
    if (
        truth.setting == "variant"
    ):  # only the classes that occur are offered: some sets have 200 of ImageNet's
        found, y = np.unique(pictures.y, return_inverse=True)
        names = tuple(truth.names[c] for c in found)
        relabelled = LabelledPictures(inputs=pictures.inputs, y=y, domain=pictures.domain, ids=pictures.ids)
        return _evaluate(predict, relabelled, [(names, 0)], target.name)
    if truth.setting == "open":
        halves = [(truth.names[: truth.base], 0), (truth.names[truth.base :], truth.base)]
        return _evaluate(predict, pictures, halves, target.name)
    return _evaluate(predict, pictures, [(truth.names, 0)], target.name)


def _evaluate(
    predict: Predict, pictures: LabelledPictures, offers: Sequence[tuple[tuple[str, ...], int]], where: str
) -> Outcome:
    """Name each picture among the names of the offer that its class is in.

    Args:
        predict: the answer's function.
        pictures: n pictures.
        offers: the names of some consecutive classes, and which class the first of them is.
        where: what the pictures are, for errors.
    """
    correct, sure = np.full(len(pictures), np.nan), np.full(len(pictures), np.nan)
    for names, first in offers:
        mine = np.flatnonzero((pictures.y >= first) & (pictures.y < first + len(names)))
        for rows in np.split(mine, range(BATCH, len(mine), BATCH)):
            if len(rows) == 0:
                continue
            logits = array(
                "ood", f"what predict gave for {where}", predict(pictures.inputs.read(rows), names),
                (len(rows), len(names)), "pictures, class names",
            )  # fmt: skip
            finite = np.isfinite(logits).all(axis=1)
            correct[rows] = np.where(finite, logits.argmax(axis=1) == pictures.y[rows] - first, np.nan)
            sure[rows[finite]] = confidence(logits[finite])
    return Outcome(correct, sure)


def shares(answer: Answer) -> xr.DataArray | None:
    """What the weights of each step count for in an answer's ``average``, relative to equal shares: (step,).

    Of a long training about 100 steps, evenly spread, with both ends; None if the answer is no average.

    Raises:
        AnswerError: the shares are no list of numbers that sum to 1.
    """
    if answer.get("average") is None:
        return None
    a = answer.array("average")
    if a.ndim != 1 or len(a) < 2 or not np.isclose(a.sum(), 1, atol=1e-3):
        raise answer.error(
            f"answer['average'] has shape {a.shape} and sum {a.sum():g}, expected (T + 1,) and sum 1:"
            " a share for the weights before training and one for those after each step"
        )
    steps = np.unique(np.linspace(0, len(a) - 1, _SHARES).round().astype(np.int64))
    return xr.DataArray(a[steps] * len(a), dims=("step",), coords={"step": steps})


def contact_sheet(pictures: Examples) -> np.ndarray:
    """All pictures in their order, `SHEET_COLUMNS` a row: (rows * 40, columns * 40, 3) uint8."""
    import torch
    import torch.nn.functional as F

    # Contiguous: channels last, as pictures are read, is scaled by another kernel, which rounds otherwise.
    x = torch.from_numpy(pictures.read(np.arange(len(pictures)))).movedim(-1, 1).contiguous().float()
    x = F.interpolate(x, (_SIDE, _SIDE), mode="bilinear", antialias=True).round().clamp(0, 255).byte()
    rows = -(-len(x) // SHEET_COLUMNS)
    tiles = torch.full((rows * SHEET_COLUMNS, 3, _SIDE, _SIDE), 255, dtype=torch.uint8)
    tiles[: len(x)] = x
    tiles = tiles.view(rows, SHEET_COLUMNS, 3, _SIDE, _SIDE).permute(0, 3, 1, 4, 2)
    flat: np.ndarray = tiles.reshape(rows * _SIDE, SHEET_COLUMNS * _SIDE, 3).numpy()
    return flat
