"""The pictures that an answer samples, checked; how they follow their conditions, and from which step on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import xarray as xr

from bench.contract import SHEET_COLUMNS, Censored, Score, Snapshot
from bench.nn import distances
from bench.tracks.common.answers import Answer
from bench.tracks.controlnet import measures
from bench.tracks.controlnet.data import Controls, Truth
from bench.tracks.controlnet.settings import CONDITIONS

_COSTS = ("parameters", "seconds_per_step")
#: Seed of the noise from which every row samples its pictures, whatever the cell's seed.
NOISE = 0
#: Shares that are looked for beside the threshold.
BESIDE = {"step_25": 0.25, "step_75": 0.75}
#: What lies beyond -1 and 1 by no more is rounding.
_ROUNDING = 1e-3
#: Pixels a side of a picture that the board shows.
_SHOWN = 32


def score(answer: Any, truth: Truth, history: Sequence[Snapshot]) -> Score:
    """How the pictures of an answer follow their conditions.

    Before the end of a training this is a snapshot: what needs the whole training, and the distance to real
    pictures, does not apply yet.

    Raises:
        AnswerError: an entry is missing, unknown or of the wrong kind, pictures have another shape or range,
            or there was no snapshot at the last of the steps that the track asks for.
    """
    entries = _checked(answer)
    costs = {key: entries.number(key) for key in _COSTS}
    steps = [s.step for s in history]
    # The last snapshot is taken before the answer is returned, and is in the history only then.
    ends = bool(steps) and steps[-1] == truth.snapshots[-1]
    asked = truth.asked if ends else truth.asked[: truth.recipe.tiles]
    pictures = sampled(entries, asked, truth)
    if pictures is None:
        return Score(metrics={"convergence_step": float("nan"), "share": float("nan"), **costs})
    if not ends and entries.get("parameters") is not None:
        raise entries.error(
            f"the last snapshot was after {steps[-1] if steps else 'no'} steps, expected one after each of"
            f" {', '.join(map(str, truth.snapshots))}: ctx.snapshot(step, {{'sample': ...}})"
        )
    looked = slice(truth.recipe.tiles)
    reread = truth.annotate(pictures[looked])
    metrics = {**_agreement(truth, asked.maps[looked], reread), **costs}
    if not ends:
        return Score(metrics=metrics)
    shares = [_number(s.metrics.get("share")) for s in history]
    features = lite0(truth.size, truth.device)(pictures)
    metrics |= {
        "convergence_step": measures.convergence_step(steps, shares, truth.threshold),
        **{name: measures.convergence_step(steps, shares, share) for name, share in BESIDE.items()},
        "kid_lite0": distances.kernel_distance(truth.features, features).value,
        "area": measures.area(steps, shares), "leap": measures.leap(steps, shares),
    }  # fmt: skip
    return Score(
        metrics=metrics, series={"share": _series(steps, shares)},
        views={"samples": sheet(pictures, asked.maps[looked], reread, truth.real)},
    )  # fmt: skip


def _agreement(truth: Truth, asked: np.ndarray, reread: np.ndarray) -> dict[str, float | Censored | None]:
    measure = measures.MEASURES[CONDITIONS[truth.condition]]
    now = measures.agreement(measure, asked, reread, truth.reread, truth.recipe.shuffles)
    lines = truth.condition in ("edge", "sketch")
    return {
        "share": now.share, "agreement": now.value, "ceiling": now.ceiling, "floor": now.floor,
        "f1": float(measures.f1(asked, reread).mean()) if lines else None,
    }  # fmt: skip


def _number(value: float | Censored | None) -> float:
    return float("nan") if value is None or isinstance(value, Censored) else value


def _series(steps: Sequence[int], shares: Sequence[float]) -> xr.DataArray:
    return xr.DataArray(np.asarray(shares, float), dims=("step",), coords={"step": list(steps)})


def _checked(answer: Any) -> Answer:
    entries = Answer(
        "controlnet", answer, required={"sample": "a function of conditions and a generator"},
        optional=_COSTS,
    )  # fmt: skip
    entries.function("sample", "conditions and a generator")
    return entries


def sampled(answer: Answer, asked: Controls, truth: Truth) -> np.ndarray | None:
    """The pictures (n, H, W, 3) uint8 that an answer samples, always from one noise.

    None if some value is not finite: the network has diverged.

    Raises:
        AnswerError: pictures of another number, shape, type or range.
    """
    generator = torch.Generator().manual_seed(NOISE)
    found = answer.get("sample")(asked, generator)
    try:
        pictures = np.asarray(found)
    except ValueError as e:
        raise answer.error(f"sample() gave pictures of several shapes: {e}") from e
    shape = (len(asked), *truth.real.shape[1:])
    if pictures.shape != shape or pictures.dtype.kind != "f":
        raise answer.error(
            f"sample() gave {pictures.shape} {pictures.dtype}, expected {shape} float32 from -1 to 1"
        )
    if not np.isfinite(pictures).all():
        return None
    if (most := float(np.abs(pictures).max(initial=0))) > 1 + _ROUNDING:
        raise answer.error(f"sample() gave a value of size {most:.3g}, expected values from -1 to 1")
    whole: np.ndarray = np.rint((pictures.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
    return whole


@lru_cache(maxsize=2)
def lite0(size: int, device: str) -> distances.Lite0:
    """EfficientNet-Lite0 for pictures of ``size`` pixels a side, loaded once a process."""
    return distances.Lite0(size, device)


# -------------------------------------------------------------------------------------------------- the view


def sheet(pictures: np.ndarray, asked: np.ndarray, reread: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Four lines of squares: the picture, what was asked, what is read from it, and the real picture.

    Conditions are from -1 to 1 if some that were asked are negative, else from 0 to 1.
    """
    from PIL import Image

    low = -1.0 if asked.min(initial=0) < 0 else 0.0
    lines = [pictures, shown(asked, low), shown(reread, low), real]
    whole = np.full((len(lines) * _SHOWN, SHEET_COLUMNS * _SHOWN, 3), 255, np.uint8)
    for row, line in enumerate(lines):
        for k, square in enumerate(line[:SHEET_COLUMNS]):
            small = Image.fromarray(square).resize((_SHOWN, _SHOWN), Image.Resampling.BOX)
            whole[row * _SHOWN : (row + 1) * _SHOWN, k * _SHOWN : (k + 1) * _SHOWN] = np.asarray(small)
    return whole


def shown(maps: np.ndarray, low: float) -> np.ndarray:
    """Conditions (n, H, W, 1 or 3) as pictures (n, H, W, 3) uint8: ``low`` is black, 1 is white."""
    scaled = (maps.clip(low, 1) - low) / (1 - low) * 255
    return np.broadcast_to(np.rint(scaled), (*maps.shape[:3], 3)).astype(np.uint8)
