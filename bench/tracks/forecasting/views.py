"""What a record keeps to be looked at: one test window, what was observed of it and what was forecast.

The window is chosen by the ground truth alone and is the same for every row: the one in which the observed
fields vary most from cell to cell. So are the limits of the scale. `bench.board.plots.forecasts` draws it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.tracks.forecasting.metrics import magnitude
from bench.tracks.forecasting.scale import scaled

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from bench.tracks.forecasting.data import Truth

#: Lines of the view, from above. What a row does not have is empty: a deterministic one only has its mean.
LINES = ("observed", "mean", "member 1", "member 2", "member 3", "spread", "U", "error")
#: Brightness of the lower and the upper limit of the scale; darker is what was not observed, or is empty.
DARKEST, BRIGHTEST = 32, 255


def forecast(found: xr.DataArray, own: xr.DataArray | None, truth: Truth) -> np.ndarray:
    """The lines of `LINES` as grey squares, (lines * side, (1 + leads) * side, 3) uint8.

    In the first column the last input frame, only beside what was observed; then the leads. Fields are
    magnitudes on the task's scale, between the least and the most that was observed in the window; spread and
    error of the mean from 0 to half of that range; U, which has no unit, from 0 to its own most.

    Args:
        found: the forecast of the test windows, dimensions `FORECAST`.
        own: the method's own map, dimensions `PRECISION`, or None.
        truth: of the test windows.
    """
    import numpy as np

    transform = truth.recipe.transform
    at = {"window": chosen(truth)}
    observed, last = (scaled(f.isel(at), transform) for f in (truth.test, truth.last))
    members = scaled(found.isel(at), transform)
    seen = np.concatenate([_cells(magnitude(last))[None], _cells(magnitude(observed))])
    lower, upper = np.nanmin(seen), np.nanmax(seen)
    half = (upper - lower) / 2
    mean = members.mean("member")
    error = magnitude(abs(mean - observed))
    empty = np.full_like(seen[1:], np.nan)
    lines = {"observed": _grey(seen, lower, upper), "mean": _grey(_cells(magnitude(mean)), lower, upper)}
    if members.sizes["member"] > 1:
        for k, member in enumerate(_cells(magnitude(members))[:3]):
            lines[f"member {k + 1}"] = _grey(member, lower, upper)
        spread = members.var("member", ddof=1).sum("component", skipna=False) ** 0.5
        lines["spread"] = _grey(_cells(spread), 0, half)
    if own is not None:
        u = _cells(own.isel(at).where(observed.notnull().all("component")))
        lines["U"] = _grey(u, 0, np.nanmax(u))
    lines["error"] = _grey(_cells(error), 0, half)
    rows = [_row(lines.get(name, _grey(empty, 0, 1)), 1 + len(empty)) for name in LINES]
    return np.repeat(np.concatenate(rows)[..., None], 3, axis=2)


def chosen(truth: Truth) -> int:
    """The position of the test window in which the observed fields vary most from cell to cell."""
    observed = magnitude(scaled(truth.test, truth.recipe.transform))
    return int(observed.std(["y", "x"]).mean("lead").fillna(0).to_numpy().argmax())


def _cells(fields: xr.DataArray) -> np.ndarray:
    return fields.transpose(..., "y", "x").to_numpy()


def _grey(values: np.ndarray, lower: float, upper: float) -> np.ndarray:
    """Brightness of values between two limits; 0 of what is NaN."""
    import numpy as np

    share = np.clip((values - lower) / max(upper - lower, 1e-12), 0, 1)
    bright = DARKEST + (BRIGHTEST - DARKEST) * share
    found: np.ndarray = np.where(np.isnan(bright), 0, bright).round().astype(np.uint8)
    return found


def _row(tiles: np.ndarray, columns: int) -> np.ndarray:
    """Tiles (n, side, side) beside each other, at the right end of so many columns."""
    import numpy as np

    side = tiles.shape[1]
    row = np.zeros((side, columns, side), np.uint8)
    row[:, columns - len(tiles) :] = tiles.transpose(1, 0, 2)
    return row.reshape(side, columns * side)
