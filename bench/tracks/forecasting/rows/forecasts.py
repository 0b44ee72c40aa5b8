"""What rows of the track share that is no training: observed frames without gaps, scales, and the answer.

Arrays are numpy, with the dimensions of `bench.tracks.forecasting.data` in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.tracks.forecasting.scale import FLOOR, scaled, unscaled
from bench.tracks.forecasting.settings import Transform

if TYPE_CHECKING:
    import xarray as xr

    from bench.tracks.forecasting.data import ForecastingData


@dataclass(frozen=True, slots=True)
class Training:
    """The training windows on the task's scale (`scale`), and their moments.

    ``inputs`` (n, T, C, H, W) and ``targets`` (n, L, C, H, W) float32, NaN where nothing was observed.
    ``mean``, ``deviation``: (C,), of all frames. ``change``: (L, C), root mean square of target less the last
    frame.
    """

    inputs: np.ndarray
    targets: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    change: np.ndarray

    @classmethod
    def of(cls, data: ForecastingData) -> Training:
        """Of the training windows of a task."""
        inputs = scaled(data.train.inputs.values, data.transform)
        targets = scaled(data.train.targets.values, data.transform)
        both = np.concatenate([inputs, targets], axis=1).astype(np.float64)
        last = filled(inputs, data.transform)[:, -1:]
        change = np.sqrt(np.nanmean(np.square(targets - last, dtype=np.float64), axis=(0, 3, 4)))
        deviation = np.nanstd(both, axis=(0, 1, 3, 4))
        return cls(
            inputs, targets,
            np.nanmean(both, axis=(0, 1, 3, 4)).astype(np.float32),
            np.maximum(deviation, 1e-6).astype(np.float32), np.maximum(change, 1e-6).astype(np.float32),
        )  # fmt: skip

    def mean_target(self) -> np.ndarray:
        """The mean of all training targets at each lead and cell, (L, C, H, W), on the task's scale.

        Where none was observed, the mean of the component.
        """
        seen = np.isfinite(self.targets)
        total = np.where(seen, self.targets, 0).sum(0, dtype=np.float64)
        mean = total / np.maximum(seen.sum(0), 1)
        out: np.ndarray = np.where(seen.any(0), mean, self.mean[None, :, None, None]).astype(np.float32)
        return out


def filled(frames: np.ndarray, transform: Transform) -> np.ndarray:
    """Frames (n, T, C, H, W) on the task's scale (`scale`), whose gaps have the last value observed there.

    What no earlier frame shows is dry, or the mean of the window's component; 0 where it shows nothing.
    """
    if np.isfinite(frames).all():
        return frames
    out = frames.copy()
    if transform == "log-rain":
        missing = np.full_like(out[:, :1, :, :1, :1], np.log10(FLOOR))
    else:
        seen = np.isfinite(out)
        count = seen.sum(axis=(1, 3, 4), keepdims=True)
        missing = np.where(seen, out, 0).sum(axis=(1, 3, 4), keepdims=True) / np.maximum(count, 1)
    before = np.broadcast_to(missing[:, 0], out[:, 0].shape)
    for frame in range(out.shape[1]):
        out[:, frame] = before = np.where(np.isfinite(out[:, frame]), out[:, frame], before)
    return out


def observed(inputs: xr.DataArray, data: ForecastingData) -> np.ndarray:
    """The input frames (n, T, C, H, W) of windows on the task's scale (`scale`), without gaps."""
    return filled(scaled(inputs.values, data.transform), data.transform)


#: Takes the input frames of windows, (n, T, C, H, W) without gaps, and gives their forecasts (n, M, L, C, H,
#: W), both on the task's scale (`scale`).
Members = Callable[[np.ndarray], np.ndarray]


def answer(data: ForecastingData, members: Members) -> dict[str, Any]:
    """The answer of a row that needs nothing but frames."""
    return _answer(data, lambda inputs: members(observed(inputs, data)))


def answer_by_place(data: ForecastingData, fit: Callable[[Training], Members]) -> dict[str, Any]:
    """The answer of a row that is fitted to each place on its own, where windows lie at the same few places.

    Elsewhere it is fitted once, to all training windows.
    """
    fitted = {place: fit(Training.of(_at(data, place))) for place in _places(data.train.inputs)}

    def forecast(inputs: xr.DataArray) -> np.ndarray:
        frames = observed(inputs, data)
        where = {place: np.flatnonzero(rows) for place, rows in _places(inputs).items()}
        parts = [fitted[place](frames[rows]) for place, rows in where.items()]
        order = np.argsort(np.concatenate(list(where.values())))
        found: np.ndarray = np.concatenate(parts)[order]
        return found

    return _answer(data, forecast)


def _answer(data: ForecastingData, forecast: Callable[[xr.DataArray], np.ndarray]) -> dict[str, Any]:
    test, val = (unscaled(forecast(i), data.transform) for i in (data.test, data.val.inputs))
    return {"test": data.forecast(test), "val": data.forecast(val, "val")}


def _places(inputs: xr.DataArray) -> dict[str, np.ndarray]:
    """Name of a place -> (n,) whether a window lies there; one place, "", where they have none."""
    if "place" not in inputs.coords:
        return {"": np.ones(inputs.sizes["window"], bool)}
    of = inputs["place"].values
    return {str(place): of == place for place in np.unique(of)}


def _at(data: ForecastingData, place: str) -> ForecastingData:
    """The task with the training windows of one place alone."""
    rows = _places(data.train.inputs)[place]
    return replace(data, train=replace(
        data.train, inputs=data.train.inputs[rows], targets=data.train.targets[rows],
    ))  # fmt: skip


def stacked(members: Iterable[np.ndarray]) -> np.ndarray:
    """Forecasts (n, L, C, H, W) as the members (n, M, L, C, H, W) of one."""
    return np.stack(list(members), axis=1)
