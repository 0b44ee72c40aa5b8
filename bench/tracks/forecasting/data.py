"""What a method of this track is given, and the ground truth that its answer is scored with.

Fields are in physical units; NaN stands for what was not observed. A window is a square of cells in a few
successive frames; windows are named, and of one block if they are too near to be independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bench.tracks.forecasting.settings import Recipe, Transform

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

#: Dimensions of inputs, of targets, of a forecast and of a map of its precision.
INPUT = ("window", "time", "component", "y", "x")
TARGET = ("window", "lead", "component", "y", "x")
FORECAST = ("window", "member", "lead", "component", "y", "x")
PRECISION = ("window", "lead", "y", "x")


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows with what came before and after: ``inputs`` has the dimensions `INPUT`, ``targets`` `TARGET`.

    Coordinates: ``window``, its name; ``time`` of an input frame, 0 for the last one; ``lead`` of a target;
    both in the unit of their ``attrs["units"]``; names of the ``component``; ``y`` and ``x``, cells. Where
    the windows of all splits lie at the same few places, ``place`` says at which a window does.
    ``attrs["units"]`` of both arrays: the unit of the fields.
    """

    inputs: xr.DataArray
    targets: xr.DataArray

    def __len__(self) -> int:
        return int(self.inputs.sizes["window"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastingData:
    """The windows of a task; of the test windows only what came before.

    Attributes:
        name: of the task.
        units: of the fields, such as ``mm/h``.
        transform: the scale that the ranking metric is taken on, see `scale`.
        train, val: windows with their targets.
        test: the inputs of the test windows, dimensions `INPUT`.
        wide, val_wide: the inputs of test and validation with ``margin`` cells more at every side, for rows
            that move the field; NaN beyond the observed domain. None: nothing lies around.
        margin: how many cells more ``wide`` has at every side.
        val_weights: (n,) how much each window of validation counts, for windows that were drawn unequally
            often; None: all alike.
        leads: coordinate ``lead`` of what is asked for.
        members: how many members an ensemble has to have.
        recipe: what every row trains and is scored with.
    """

    name: str
    units: str
    transform: Transform
    train: Windows
    val: Windows
    test: xr.DataArray
    wide: xr.DataArray | None
    val_wide: xr.DataArray | None
    margin: int
    val_weights: np.ndarray | None
    leads: xr.DataArray
    members: int
    recipe: Recipe

    def forecast(self, values: np.ndarray, split: Literal["test", "val"] = "test") -> xr.DataArray:
        """An array (window, member, lead, component, y, x) in physical units, as an answer has to give it."""
        return self._labelled(values, FORECAST, split)

    def precision(self, values: np.ndarray) -> xr.DataArray:
        """A map (window, lead, y, x) of the test windows, larger where less is certain."""
        return self._labelled(values, PRECISION, "test")

    def _labelled(self, values: np.ndarray, dims: tuple[str, ...], split: str) -> xr.DataArray:
        import xarray as xr

        of = self.test if split == "test" else self.val.inputs
        coords = {d: of[d] for d in dims if d not in ("member", "lead")} | {"lead": self.leads}
        return xr.DataArray(values, dims=dims, coords=coords, attrs={"units": self.units})


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The ground truth of a task, which only the scorer sees.

    Attributes:
        test, val: targets, dimensions `TARGET`; NaN = not observed and not scored.
        last: the last input frame of the test windows, (window, component, y, x), for comparison of maps.
        lagged, val_lagged: the CRPS of the lagged ensemble, over which skill is.
        groups: (n,) the block of each test window: windows of one block are not independent.
        weights, val_weights: (n,) how much each window counts, for windows that were drawn unequally often;
            None: all alike.
        members: how many members an ensemble has to have.
        recipe: thresholds and sizes that the task is scored with.
    """

    test: xr.DataArray
    val: xr.DataArray
    last: xr.DataArray
    lagged: float
    val_lagged: float
    groups: np.ndarray
    weights: np.ndarray | None
    val_weights: np.ndarray | None
    members: int
    recipe: Recipe

    @property
    def ids(self) -> np.ndarray:
        """Names of the test windows, (n,)."""
        found: np.ndarray = self.test["window"].values
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The windows of one split with all that is known of them: see `ForecastingData` and `Truth`."""

    windows: Windows
    groups: np.ndarray
    wide: xr.DataArray | None = None
    weights: np.ndarray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """A task's data before it is divided between `ForecastingData` and `Truth`."""

    train: Part
    val: Part
    test: Part
