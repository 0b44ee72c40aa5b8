"""The pictures that an answer samples, checked, and their distances from the held-out ones."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr

from bench.contract import SHEET_COLUMNS, BenchError, Score, Units
from bench.nn import distances
from bench.tracks.common.answers import Answer
from bench.tracks.dit_transfer.data import Truth

if TYPE_CHECKING:
    from bench.tracks.dit_transfer.nets.inception import Inception

_COSTS = ("parameters", "seconds_per_step")
#: Directions that features are projected to for the Fréchet distance.
DIMS = 64
#: Seed of the noise from which every row samples its pictures, whatever the cell's seed.
NOISE = 0
#: What is said of a row whose network has diverged.
_DIVERGED = {
    "kid_lite0": float("nan"), "val_kid_lite0": float("nan"),
    **dict.fromkeys(("fd_lite0", "fd_floor", "precision", "recall", "source_kid", "fid")),
}  # fmt: skip
#: Pixels a side of a picture that the board shows.
_SHOWN = 64


def score(answer: Any, truth: Truth) -> Score:
    """Distances of the pictures that an answer samples, and of those of its relay at every switch.

    Raises:
        AnswerError: an entry is missing, unknown or of the wrong kind, or pictures have another shape.
    """
    entries = checked(answer)
    pictures = sampled(entries, truth)
    costs = {key: entries.number(key) for key in _COSTS}
    if pictures is None:
        return Score(metrics={**_DIVERGED, **costs})
    features = lite0(truth.recipe.features, truth.device)(pictures)
    metrics = {**distances_of(features, truth), "fid": fid_of(pictures, truth), **costs}
    series = {}
    if entries.get("relay") is not None:
        switches = sorted(truth.switches)
        relayed = [kid_of(sampled(entries, truth, s), truth) for s in switches]
        # At 0 the tuned network samples it all.
        series["kid_lite0"] = xr.DataArray(
            np.array([metrics["kid_lite0"], *relayed], float), dims=("switch",),
            coords={"switch": [0, *switches]},
        )  # fmt: skip
    return Score(
        metrics=metrics, series=series, units={"kid_lite0": units(features, truth)},
        views={"samples": sheet(pictures)},
    )  # fmt: skip


def checked(answer: Any) -> Answer:
    """The answer, once its entries are known to be the ones that the track has.

    Raises:
        AnswerError: it is no mapping, has an unknown entry, or lacks the function ``sample``.
    """
    entries = Answer(
        "dit_transfer", answer, required={"sample": "a function of labels and a generator"},
        optional=("relay", *_COSTS),
    )  # fmt: skip
    entries.function("sample", "labels and a generator")
    if entries.get("relay") is not None:
        entries.function("relay", "a time step, labels and a generator")
    return entries


def sampled(answer: Answer, truth: Truth, switch: int | None = None) -> np.ndarray | None:
    """The pictures (n, H, W, 3) uint8 that an answer samples for the truth's labels, always from one noise.

    None if the answer says, by an array of NaN, that its network has diverged.

    Args:
        answer: see `checked`.
        truth: has the labels.
        switch: the time step at which the answer's relay hands over; None: no relay.

    Raises:
        AnswerError: pictures of another shape or type.
    """
    generator = torch.Generator().manual_seed(NOISE)
    labels = truth.labels.copy()
    if switch is None:
        found = answer.get("sample")(labels, generator)
    else:
        found = answer.get("relay")(switch, labels, generator)
    name = "sample" if switch is None else "relay"
    try:
        pictures = np.asarray(found)
    except ValueError as e:
        raise answer.error(f"{name}() gave pictures of several shapes: {e}") from e
    if pictures.dtype.kind == "f" and pictures.size and np.isnan(pictures).all():
        return None
    right_shape = pictures.ndim == 4 and len(pictures) == len(labels) and pictures.shape[3] == 3
    if not right_shape or pictures.dtype != np.uint8:
        raise answer.error(
            f"{name}() gave {pictures.shape} {pictures.dtype},"
            f" expected ({len(labels)}, height, width, 3) uint8"
        )
    return pictures


@lru_cache(maxsize=2)
def lite0(size: int, device: str) -> distances.Lite0:
    """EfficientNet-Lite0 for pictures of ``size`` pixels a side, loaded once a process."""
    return distances.Lite0(size, device)


@lru_cache(maxsize=1)
def inception_net(weights: Path, device: str) -> Inception:
    """The network of FID, loaded once a process: every snapshot needs it.

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


def distances_of(fake: np.ndarray, truth: Truth) -> dict[str, float | None]:
    """Every distance by EfficientNet-Lite0 of sampled pictures with the features ``fake`` (n, 1280)."""
    near = distances.precision_recall(truth.test, fake)
    n = frechet_size(truth)
    return {
        "kid_lite0": distances.kernel_distance(truth.test, fake).value,
        "val_kid_lite0": distances.kernel_distance(truth.train, fake).value,
        "fd_lite0": distances.frechet(truth.test, fake, n=n, dims=DIMS) if n > DIMS else None,
        "fd_floor": _floor(truth, n) if n > DIMS else None,
        "precision": near.precision, "recall": near.recall,
        "source_kid": None if truth.source is None else distances.kernel_distance(truth.source, fake).value,
    }  # fmt: skip


def fid_of(pictures: np.ndarray, truth: Truth) -> float | None:
    """FID of sampled pictures (n, H, W, 3) uint8; None where it does not apply."""
    if truth.inception is None or truth.weights is None:
        return None
    from bench.tracks.dit_transfer.nets.inception import fid

    return fid(truth.inception, inception_net(truth.weights, truth.device)(pictures))


def kid_of(pictures: np.ndarray | None, truth: Truth) -> float:
    """KID-lite0 of sampled pictures (n, H, W, 3) uint8; NaN of none."""
    if pictures is None:
        return float("nan")
    features = lite0(truth.recipe.features, truth.device)(pictures)
    return distances.kernel_distance(truth.test, features).value


def units(fake: np.ndarray, truth: Truth) -> Units:
    """KID-lite0 by held-out and by sampled picture.

    All rows sample picture i for the same label from the same noise, so it is the same example for all, and
    on all targets it depends on that noise. Held-out pictures of one group, of one target, stand together.
    """
    real = [f"real-{i}" for i in range(len(truth.test))]
    sampled = [f"sample-{i}" for i in range(len(fake))]
    groups = real if truth.groups is None else truth.groups.tolist()
    return Units(
        ids=np.array([*real, *sampled]), values=distances.kernel_units(truth.test, fake),
        groups=np.array([*(f"{truth.target}: {g}" for g in groups), *sampled]),
    )  # fmt: skip


def frechet_size(truth: Truth) -> int:
    """How many pictures of each set the Fréchet distance takes: as many as its floor has in either half."""
    return min(len(truth.labels), len(truth.test), (len(truth.test) + len(truth.train)) // 2)


def _floor(truth: Truth, n: int) -> float:
    real = np.concatenate([truth.test, truth.train])
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


def evaluation_labels(y: np.ndarray, classes: int, n: int) -> np.ndarray:
    """Labels (n,) int64 to sample for, classes as frequent as in ``y``, in a fixed random order."""
    order = np.sort(np.asarray(y, np.int64))
    spread = order[((np.arange(n) + 0.5) * len(order) / n).astype(np.int64)]
    return np.random.default_rng([n, classes]).permutation(spread)
