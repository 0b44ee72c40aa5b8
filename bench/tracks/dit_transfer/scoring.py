"""An answer's pictures, drawn and checked, and how far they are from the held-out ones."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench.contract import SHEET_COLUMNS, AnswerError, BenchError
from bench.nn import distances
from bench.tracks.dit_transfer.data import Kept

if TYPE_CHECKING:
    from bench.tracks.dit_transfer.nets.inception import Inception

KEYS = ("sample", "relay", "parameters", "seconds_per_step")
#: Directions that features are projected to for the Fréchet distance.
DIMS = 64
#: Seed of the noise from which every row's pictures are drawn, whatever the cell's seed.
NOISE = 0
#: Pixels a side of a picture that the board shows.
_SHOWN = 64


def checked(answer: Any) -> Mapping[str, Any]:
    """The answer, once it is known to be a mapping with the right entries.

    Raises:
        AnswerError: it is none, has an unknown entry, or lacks the sampler.
    """
    if not isinstance(answer, Mapping):
        raise AnswerError(
            f"dit_transfer: the answer is a {type(answer).__name__},"
            " expected a mapping with a function 'sample'"
        )
    for key in answer:
        if key not in KEYS:
            near = get_close_matches(str(key), KEYS, 1, 0)[0]
            raise AnswerError(
                f"dit_transfer: answer[{key!r}] is none of {', '.join(KEYS)}; nearest: {near!r}"
            )
    if not callable(answer.get("sample")):
        raise AnswerError("dit_transfer: the answer lacks a function 'sample' of labels and a generator")
    if answer.get("relay") is not None and not callable(answer["relay"]):
        raise AnswerError(
            f"dit_transfer: answer['relay'] is {answer['relay']!r}, expected a function of a time step,"
            " labels and a generator, or nothing"
        )
    return answer


def number(answer: Mapping[str, Any], key: str) -> float | None:
    """An entry that is a number or nothing.

    Raises:
        AnswerError: it is something else.
    """
    value = answer.get(key)
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError) as e:
        raise AnswerError(f"dit_transfer: answer[{key!r}] is {value!r}, expected a number or nothing") from e


def drawn(answer: Mapping[str, Any], kept: Kept, switch: int | None = None) -> np.ndarray | None:
    """The pictures (n, H, W, 3) uint8 for the labels asked for, from the same noise whoever draws.

    None if the sampler says by numbers that are not finite that there are none.

    Raises:
        AnswerError: another shape or type.
    """
    draw = torch.Generator().manual_seed(NOISE)
    labels = kept.labels.copy()
    found = answer["sample"](labels, draw) if switch is None else answer["relay"](switch, labels, draw)
    name = "sample" if switch is None else "relay"
    try:
        pictures = np.asarray(found)
    except ValueError as e:
        raise AnswerError(f"dit_transfer: {name}() gave pictures of several shapes: {e}") from e
    if pictures.dtype.kind == "f" and pictures.size and np.isnan(pictures).all():
        return None
    if (
        pictures.ndim != 4
        or len(pictures) != len(labels)
        or pictures.shape[3] != 3
        or pictures.dtype != np.uint8
    ):
        raise AnswerError(
            f"dit_transfer: {name}() gave {pictures.shape} {pictures.dtype},"
            f" expected ({len(labels)}, height, width, 3) uint8"
        )
    return pictures


@lru_cache(maxsize=2)
def lite0(size: int, device: str) -> distances.Lite0:
    """The network that scores, loaded once a process."""
    return distances.Lite0(size, device)


@lru_cache(maxsize=1)
def inception_net(weights: Path, device: str) -> Inception:
    """The network of FID, loaded once a process: a curve asks for it again and again.

    Raises:
        BenchError: the file is missing or is not the published one.
    """
    from bench.tracks.dit_transfer.nets import inception

    net = inception.Inception(weights, device)
    if not inception.original(weights):
        raise BenchError(
            f"{weights}: not the published weights, whose sha-256 begins {inception.SHA256}: distances by"
            " others are no FID"
        )
    return net


def scores(pictures: np.ndarray | None, kept: Kept) -> dict[str, float | None]:
    """Every distance of the drawn pictures; NaN by name of the first two if there are none."""
    if pictures is None:
        none = ("fd_lite0", "fd_floor", "precision", "recall", "source_kid", "fid")
        return {"kid_lite0": float("nan"), "val_kid_lite0": float("nan"), **dict.fromkeys(none)}
    fake = lite0(kept.recipe.features, kept.device)(pictures)
    near = distances.precision_recall(kept.test, fake)
    n = frechet_size(kept)
    found: dict[str, float | None] = {
        "kid_lite0": distances.kernel_distance(kept.test, fake).value,
        "val_kid_lite0": distances.kernel_distance(kept.train, fake).value,
        "fd_lite0": distances.frechet(kept.test, fake, n=n, dims=DIMS) if n > DIMS else None,
        "fd_floor": _floor(kept, n) if n > DIMS else None,
        "precision": near.precision, "recall": near.recall,
        "source_kid": None if kept.source is None else distances.kernel_distance(kept.source, fake).value,
        "fid": None,
    }  # fmt: skip
    if kept.inception is not None and kept.weights is not None:
        from bench.tracks.dit_transfer.nets.inception import fid

        found["fid"] = fid(kept.inception, inception_net(kept.weights, kept.device)(pictures))
    return found


def frechet_size(kept: Kept) -> int:
    """Pictures a side of the Fréchet distance: as many as the floor has for either of its halves."""
    return min(len(kept.labels), len(kept.test), (len(kept.test) + len(kept.train)) // 2)


def _floor(kept: Kept, n: int) -> float:
    real = np.concatenate([kept.test, kept.train])
    return distances.frechet_floor(real, n=n, dims=DIMS, draws=3).value


def sheet(pictures: np.ndarray) -> np.ndarray:
    """The first `SHEET_COLUMNS` pictures in a line, at most `_SHOWN` pixels each: (side, width, 3) uint8."""
    from PIL import Image

    side = min(_SHOWN, pictures.shape[1])
    line = np.full((side, SHEET_COLUMNS * side, 3), 255, np.uint8)
    for k, picture in enumerate(pictures[:SHEET_COLUMNS]):
        small = Image.fromarray(picture).resize((side, side), Image.Resampling.BOX)
        line[:, k * side : (k + 1) * side] = np.asarray(small)
    return line


def asked(y: np.ndarray, classes: int, n: int) -> np.ndarray:
    """(n,) labels, classes as frequent as in ``y``, in a fixed random order."""
    order = np.sort(np.asarray(y, np.int64))
    spread = order[((np.arange(n) + 0.5) * len(order) / n).astype(np.int64)]
    return np.random.default_rng([n, classes]).permutation(spread)
