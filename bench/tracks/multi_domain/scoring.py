"""An answer's probabilities, checked, and what they are worth in each domain."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np

from bench.contract import AnswerError
from bench.tracks.multi_domain import metrics as m
from bench.tracks.multi_domain.data import Kept

KEYS = ("val", "test", "parameters")
#: How far the probabilities of one picture may add up beside 1: they may come in half precision.
_SUM = 1e-2


def checked(answer: Any) -> Mapping[str, Any]:
    """The answer, once it is known to be a mapping with the right entries.

    Raises:
        AnswerError: it is none, or has an unknown entry, or lacks one.
    """
    if not isinstance(answer, Mapping):
        raise AnswerError(
            f"multi_domain: the answer is a {type(answer).__name__}, expected a mapping with 'val' and 'test'"
        )
    for key in answer:
        if key not in KEYS:
            near = get_close_matches(str(key), KEYS, 1, 0)[0]
            raise AnswerError(
                f"multi_domain: answer[{key!r}] is none of {', '.join(KEYS)}; nearest: {near!r}"
            )
    for key in ("val", "test"):
        if key not in answer:
            raise AnswerError(
                f"multi_domain: the answer lacks {key!r}, expected probabilities for the rows of data.{key}"
            )
    return answer


def parameters(answer: Mapping[str, Any]) -> float | None:
    """How many numbers answering takes, if the answer says so.

    Raises:
        AnswerError: it is no number.
    """
    value = answer.get("parameters")
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError) as e:
        raise AnswerError(
            f"multi_domain: answer['parameters'] is {value!r}, expected a number or nothing"
        ) from e


def probabilities(answer: Mapping[str, Any], part: str, kept: Kept) -> np.ndarray:
    """Those of ``val`` or ``test``: (n, classes) for images, (n,) for a table, float64.

    What is not finite passes and becomes a score of NaN: that method diverged, its answer has the shape.

    Raises:
        AnswerError: another shape, a number outside [0, 1], or a picture's that do not add up to 1.
    """
    n = len(kept.val_y if part == "val" else kept.test_y)
    images = kept.kind == "images"
    shape = (n, kept.classes) if images else (n,)
    try:
        p = np.asarray(answer[part], dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as e:
        raise AnswerError(f"multi_domain: answer[{part!r}] is no array of numbers: {e}") from e
    if p.shape != shape:
        what = "rows, classes" if images else "rows: the probability of label 1"
        raise AnswerError(f"multi_domain: answer[{part!r}] has shape {p.shape}, expected {shape} ({what})")
    finite = p[np.isfinite(p)]
    if ((finite < 0) | (finite > 1)).any():
        raise AnswerError(
            f"multi_domain: answer[{part!r}] goes from {finite.min():.4g} to {finite.max():.4g},"
            f" expected probabilities in [0, 1] (logits? apply a {'softmax' if images else 'sigmoid'})"
        )
    if images:
        sums = p.sum(axis=1)
        off = np.flatnonzero(np.isfinite(sums) & (np.abs(sums - 1) > _SUM))
        if len(off):
            raise AnswerError(
                f"multi_domain: answer[{part!r}] of row {off[0]} adds up to {sums[off[0]]:.4g}, expected 1"
            )
    return p


def correct(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether each picture's likeliest class is its own, (n, C) -> (n,) 0 or 1; NaN where p is not finite."""
    right: np.ndarray = np.where(np.isfinite(p).all(axis=1), p.argmax(axis=1) == y, np.nan)
    return right


def by_domain(kept: Kept, part: str, p: np.ndarray) -> np.ndarray:
    """Each domain's own score, (D,): class-balanced accuracy of pictures, AUC of a table."""
    y, domain = (kept.val_y, kept.val_domain) if part == "val" else (kept.test_y, kept.test_domain)
    right = correct(p, y) if kept.kind == "images" else p
    score = m.balanced if kept.kind == "images" else lambda values, labels: m.auc(labels, values)
    return np.array([score(right[domain == d], y[domain == d]) for d in range(len(kept.domains))])
