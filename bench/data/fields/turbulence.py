"""Two-dimensional turbulence: the Navier-Stokes equations of vorticity, solved here, 32 x 32 cells of wind.

    dw/dt + u . grad w = nu lap w - mu w + f        on a periodic square of side 2 pi

A pseudo-spectral method on 64 x 64 points: derivatives in wave numbers, products in space, the third of the
wave numbers that a product would alias left out, four stages of Runge and Kutta with the linear terms solved
exactly. ``f`` is random at every step (white in time) in a ring of wave numbers, drag and viscosity take out
what it puts in. Every run is shown as four crops, one for each quarter of the square: what flows in from
outside cannot be known, as in an observed crop. All is drawn from a fixed seed; lengths and times are numbers
without a unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from bench.contract import digest
from bench.data.fields import frames
from bench.data.source import DataSource, Shipped

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

#: Raise when a number of the generated fields changes: records made before become stale.
VERSION = 1
NAME = "turbulence"
#: Points of a side of the square, and of a crop.
POINTS, SIDE = 64, 32
#: Part of the data -> its number of runs; frames of a run, and steps of the solution from frame to frame.
RUNS: Mapping[str, int] = {"train": 10, "val": 2, "test": 4}
FRAMES, EVERY = 24, 5
#: Viscosity, drag, power of the forcing, its ring of wave numbers, length of a step in time.
VISCOSITY, DRAG, POWER, RING, STEP = 5e-3, 0.1, 0.1, (3.5, 5.5), 0.04
#: Steps before the first frame, after which the flow has forgotten how it began.
_SPIN_UP, _SEED = 150, 20_241_114


def read(name: str = NAME) -> tuple[xr.DataArray, ...]:
    """The crops of all runs, run by run: velocity to the right (u) and upwards (v).

    The attributes ``part`` and ``group`` name the part of the data and the run; a run is in one part only.
    """
    parts = [part for part, runs in RUNS.items() for _ in range(runs)]
    return tuple(
        frames.event(
            run[:, :, y : y + SIDE, x : x + SIDE],
            name=f"run {i}, crop {y}-{x}",
            units="1",
            components=("u", "v"),
            time=_times(),
            part=parts[i],
            group=f"run {i}",
        )
        for i, run in enumerate(simulated())
        for y in range(0, POINTS, SIDE)
        for x in range(0, POINTS, SIDE)
    )


def _times() -> np.ndarray:
    import numpy as np

    return np.arange(FRAMES) * EVERY * STEP


@cache
def simulated() -> np.ndarray:
    """The velocity of all runs on the whole square, (run, time, 2, y, x); seconds, once a process."""
    import numpy as np
    from scipy import fft

    random = np.random.default_rng(_SEED)
    shape = (sum(RUNS.values()), POINTS, POINTS)
    k2 = squared_wave_numbers()
    start = fft.rfft2(random.standard_normal(shape)) * ((k2 >= 4) & (k2 <= 64))
    # Begins with the energy at which forcing and drag alone would be in balance.
    spectral = start * np.sqrt(POWER / (2 * DRAG) / energy(start))[:, None, None]
    found = np.empty((shape[0], FRAMES, 2, POINTS, POINTS), np.float32)
    for step in range(_SPIN_UP + EVERY * (FRAMES - 1) + 1):
        if step >= _SPIN_UP and (step - _SPIN_UP) % EVERY == 0:
            found[:, (step - _SPIN_UP) // EVERY] = velocity(spectral)
        spectral = advanced(spectral) + _kick(random, shape)
    found.flags.writeable = False
    return found


@cache
def _wave_numbers() -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    return np.fft.fftfreq(POINTS, 1 / POINTS)[:, None], np.fft.rfftfreq(POINTS, 1 / POINTS)[None]


@cache
def squared_wave_numbers() -> np.ndarray:
    """The squares of the wave numbers of a spectrum, (64, 33)."""
    ky, kx = _wave_numbers()
    squared: np.ndarray = ky**2 + kx**2
    return squared


def velocity(spectral: np.ndarray) -> np.ndarray:
    """Velocity (..., 2, y, x) of a spectrum of vorticity (..., 64, 33); it has no divergence."""
    import numpy as np
    from scipy import fft

    ky, kx = _wave_numbers()
    stream = spectral / np.maximum(squared_wave_numbers(), 1)  # the mean vorticity is 0
    return np.asarray(fft.irfft2(np.stack([1j * ky * stream, -1j * kx * stream], -3), s=(POINTS, POINTS)))


def energy(spectral: np.ndarray) -> np.ndarray:
    """Mean kinetic energy of the velocity of spectra of vorticity (..., 64, 33)."""
    found: np.ndarray = (velocity(spectral) ** 2).sum(-3).mean((-2, -1)) / 2
    return found


def advanced(spectral: np.ndarray, viscosity: float = VISCOSITY, drag: float = DRAG) -> np.ndarray:
    """The spectrum of vorticity one step later, without forcing: four stages of Runge and Kutta."""
    import numpy as np

    half = np.exp(-(viscosity * squared_wave_numbers() + drag) * STEP / 2)
    a = STEP * _advection(spectral)
    b = STEP * _advection(half * (spectral + a / 2))
    c = STEP * _advection(half * spectral + b / 2)
    d = STEP * _advection(half**2 * spectral + half * c)
    stepped: np.ndarray = half**2 * (spectral + a / 6) + half * (b + c) / 3 + d / 6
    return stepped


def _advection(spectral: np.ndarray) -> np.ndarray:
    """Minus the divergence of velocity times vorticity, as a spectrum."""
    from scipy import fft

    ky, kx = _wave_numbers()
    vorticity = fft.irfft2(spectral, s=(POINTS, POINTS))
    flux = fft.rfft2(velocity(spectral) * vorticity[..., None, :, :])
    kept = (abs(ky) < POINTS / 3) & (kx < POINTS / 3)
    advected: np.ndarray = -1j * kept * (kx * flux[..., 0, :, :] + ky * flux[..., 1, :, :])
    return advected


def _kick(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """The random vorticity that one step adds; its mean energy is `POWER` times the length of the step."""
    import numpy as np
    from scipy import fft

    k2 = squared_wave_numbers()
    ring = (k2 >= RING[0] ** 2) & (k2 <= RING[1] ** 2)
    # A spectrum holds half of the wave numbers; all but those of its first column stand for two.
    twice = np.where(np.arange(k2.shape[1]) == 0, 1, 2)
    of_unit_noise = (twice * ring / np.maximum(k2, 1)).sum() / (2 * POINTS**2)
    kick: np.ndarray = fft.rfft2(random.standard_normal(shape)) * ring * np.sqrt(POWER * STEP / of_unit_noise)
    return kick


def fingerprint() -> str:
    """16 hexadecimal digits over all that the fields are made by, and `VERSION`."""
    sizes = (POINTS, SIDE, dict(RUNS), FRAMES, EVERY)
    flow = (VISCOSITY, DRAG, POWER, RING, STEP, _SPIN_UP, _SEED)
    return digest({"version": VERSION, "turbulence": (sizes, flow)})


def data_source(name: str) -> DataSource:
    """The generated fields as an entry of the catalogue: they are never missing."""
    return Shipped(name=name, why_missing=lambda: None, identity=fingerprint)
