"""What the rows that move fields share: motion by pySTEPS, windows with what lies around them, failures.

pySTEPS works on rain in decibel (ten times the task's scale) in double precision, and finds motion with
OpenCV: `opencv-python-headless`, which it does not declare.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.contract import Context
from bench.tracks.forecasting.rows.forecasts import filled
from bench.tracks.forecasting.scale import FLOOR, scaled, unscaled

if TYPE_CHECKING:
    import xarray as xr

    from bench.tracks.forecasting.data import ForecastingData

#: Decibel of the least rain, and what stands for none: pySTEPS' own choice of 5 below.
LEAST = 10 * np.log10(FLOOR)
NONE = LEAST - 5.0

#: Takes frames (T, H, W), motion (2, H, W) and the window's number; gives (M, L, H, W), NaN where the motion
#: brings nothing in from inside the domain. Rain in decibel, other fields in their units.
Nowcast = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def answer(data: ForecastingData, ctx: Context, nowcast: Nowcast, members: int = 1) -> dict[str, Any]:
    """The answer of a row that moves fields, each component on its own.

    Where ``nowcast`` finds its fit singular, the field is extrapolated instead, ``members`` times the same;
    such test windows are counted under ``singular``.
    """
    found: dict[str, Any] = {}
    for split, inputs, wide in (
        ("test", data.test, data.wide), ("val", data.val.inputs, data.val_wide),
    ):  # fmt: skip
        found_here, singular = _members(data, inputs if wide is None else wide, nowcast, members)
        m = 0 if wide is None else data.margin
        rows, columns = found_here.shape[-2:]
        inside = found_here[..., m : rows - m, m : columns - m].astype(np.float32)
        values = unscaled(inside, data.transform)
        found[split] = data.forecast(values, "test" if split == "test" else "val")
        if split == "test":
            found["singular"] = singular
        ctx.log.info("%s: the fit was singular in %d of %d windows", split, singular, len(inputs))
    return found


def _members(
    data: ForecastingData, inputs: xr.DataArray, nowcast: Nowcast, members: int
) -> tuple[np.ndarray, int]:
    """Forecasts (n, M, L, C, H, W) on the task's scale, and the number of windows with a singular fit."""
    rain = data.transform == "log-rain"
    frames = filled(scaled(inputs.values, data.transform), data.transform).astype(np.float64)
    if rain:
        frames = np.where(frames * 10 > LEAST, frames * 10, NONE)
    whole, singular = [], 0
    for number, window in enumerate(frames):
        parts, failed = [], False
        for component in range(window.shape[1]):
            field = window[:, component]
            v = motion(field)
            try:
                part = nowcast(field, v, number)
            except (np.linalg.LinAlgError, ValueError, RuntimeError) as error:
                if not _singular(error):
                    raise
                part = extrapolated(field[-1], v, data.leads.size)[None].repeat(members, axis=0)
                failed = True
            parts.append(np.where(np.isfinite(part), part, NONE if rain else field[-1]))
        singular += failed
        whole.append(np.stack(parts, axis=2))
    found = np.stack(whole)
    return (np.maximum(found, LEAST) / 10 if rain else found), singular


def _singular(error: Exception) -> bool:
    """Whether it says that the equations of an autoregression were singular, or gave no numbers."""
    text = str(error).lower()
    return isinstance(error, np.linalg.LinAlgError) or "singular" in text or "infs or nans" in text


def levels(given: int, frames: np.ndarray) -> int:
    """Scales of a cascade: those given, or pySTEPS' own 6, and 4 of a field of less than 64 cells a side."""
    return given or (6 if min(frames.shape[-2:]) >= 64 else 4)


def minutes(data: ForecastingData) -> float | None:
    """Minutes from one frame to the next; None where their distance is no time."""
    per = {"minutes": 1.0, "hours": 60.0}.get(data.leads.attrs["units"])
    return None if per is None else per * float(data.leads[0])


def motion(frames: np.ndarray) -> np.ndarray:
    """The motion of frames (T, H, W) by Lucas and Kanade's method, (2, H, W) cells a frame."""
    with quiet():
        from pysteps.motion.lucaskanade import dense_lucaskanade

        found: np.ndarray = np.nan_to_num(dense_lucaskanade(np.ma.masked_invalid(frames), verbose=False))
    return found


def extrapolated(field: np.ndarray, v: np.ndarray, leads: int) -> np.ndarray:
    """A field (H, W) moved along, (leads, H, W); NaN where nothing comes in from inside the domain."""
    with quiet():
        from pysteps.extrapolation.semilagrangian import extrapolate

        found: np.ndarray = extrapolate(field, v, leads)
    return found


@contextlib.contextmanager
def quiet() -> Any:
    """Nothing that pySTEPS prints."""
    import warnings

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
