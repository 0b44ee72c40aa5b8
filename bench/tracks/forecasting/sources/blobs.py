"""Moving blobs: a generated task of a few seconds for trying the code. Nothing on it means anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.contract import Inputs, Stage, Task, digest
from bench.tracks.forecasting import cutting
from bench.tracks.forecasting.data import Part, Splits
from bench.tracks.forecasting.settings import Run, recipe

if TYPE_CHECKING:
    import xarray as xr

#: Raise when a number of the generated fields changes: records made before become stale.
VERSION = 1
#: Split -> first event and number of events; each is drawn from its own number.
EVENTS = {"train": (0, 24), "val": (24, 6), "test": (30, 6)}


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """There are no stages."""
    return ()


def missing(task: Task, run: Run) -> str | None:
    """Nothing is needed."""
    return None


def fingerprint(task: Task, run: Run) -> str:
    """The version of the generator."""
    return digest(["blobs", VERSION])


def splits(task: Task, run: Run, inputs: Inputs) -> Splits:
    """One window an event."""
    return Splits(**{name: _part(task, run, name) for name in EVENTS})


def _part(task: Task, run: Run, split: str) -> Part:
    r, (first, n) = recipe(task.params["dataset"], run), EVENTS[split]
    n = n if split == "train" else min(n, r.most(split))
    shape = cutting.Shape(r.frames, r.leads, r.size, r.margin)
    place = cutting.Place(0, r.margin, r.margin, "")
    events = range(first, first + n)
    return cutting.joined(
        [
            cutting.cut(
                _event(i, r.frames + r.leads, r.size + 2 * r.margin), [place._replace(block=f"blobs{i}")],
                shape, f"blobs{i}", 1, "steps",
            )
            for i in events
        ]
    )  # fmt: skip


def _event(seed: int, frames: int, side: int) -> xr.DataArray:
    """Three Gaussian blobs that move at constant velocities and come back at the other side."""
    import numpy as np
    import xarray as xr

    rng = np.random.default_rng(seed)
    centre, velocity = rng.random((3, 2)) * side, rng.normal(0, 1, (3, 2))
    at = (centre + velocity * np.arange(frames)[:, None, None]) % side  # (frames, blobs, 2)
    cells = np.arange(side)
    # The shorter way round: the field is a torus.
    away = np.abs(cells - at[..., None])
    squares = np.minimum(away, side - away) ** 2
    blobs = np.exp(-(squares[:, :, 0, :, None] + squares[:, :, 1, None, :]) / 8)
    return xr.DataArray(
        blobs.sum(1)[:, None].astype(np.float32), dims=("time", "component", "y", "x"),
        coords={"component": ["brightness"]}, attrs={"units": "1"},
    )  # fmt: skip
