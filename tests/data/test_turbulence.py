"""Generated turbulence: the solver against what is known exactly, and the spectrum of what it makes."""

import numpy as np
import pytest
from scipy import fft

from bench.data.catalog import CATALOG
from bench.data.fields import frames, turbulence


@pytest.fixture(scope="module")
def runs():
    return turbulence.simulated()


def vorticity(wave_y, wave_x, amplitude=1.0):
    y, x = np.meshgrid(*[np.arange(turbulence.POINTS) * 2 * np.pi / turbulence.POINTS] * 2, indexing="ij")
    return fft.rfft2(amplitude * np.cos(wave_y * y) * np.cos(wave_x * x))


def random_spectrum():
    spectral = fft.rfft2(np.random.default_rng(0).standard_normal((turbulence.POINTS, turbulence.POINTS)))
    k2 = turbulence.squared_wave_numbers()
    return spectral * ((k2 >= 4) & (k2 <= 64)) * 10


def test_a_taylor_green_vortex_keeps_its_form_and_decays_as_is_known_exactly():
    """Its advection is zero, so that w(t) = w(0) exp(-(nu k^2 + mu) t) solves the equations."""
    spectral = start = vorticity(3, 4)
    for _ in range(25):
        spectral = turbulence.advanced(spectral)
    decay = np.exp(-(turbulence.VISCOSITY * 25 + turbulence.DRAG) * 25 * turbulence.STEP)
    np.testing.assert_allclose(spectral, decay * start, atol=1e-9 * abs(start).max())


def test_without_viscosity_and_drag_energy_and_enstrophy_stay():
    spectral = start = random_spectrum()
    for _ in range(25):
        spectral = turbulence.advanced(spectral, viscosity=0, drag=0)

    def enstrophy(s):
        return (fft.irfft2(s, s=(64, 64)) ** 2).mean() / 2

    assert abs(spectral - start).max() > 0.5 * abs(start).max(), "the flow has moved"
    assert turbulence.energy(spectral) == pytest.approx(turbulence.energy(start), rel=1e-4)
    assert enstrophy(spectral) == pytest.approx(enstrophy(start), rel=1e-3)


def test_velocity_is_that_of_a_known_vorticity_and_has_no_divergence():
    u, v = turbulence.velocity(vorticity(0, 2, amplitude=2))
    x = np.arange(64) * 2 * np.pi / 64
    np.testing.assert_allclose(u, 0, atol=1e-12)
    np.testing.assert_allclose(v, np.broadcast_to(np.sin(2 * x), (64, 64)), atol=1e-12)
    u, v = fft.rfft2(turbulence.velocity(random_spectrum()))
    ky, kx = turbulence._wave_numbers()
    assert abs(kx * u + ky * v).max() < 1e-9


def test_the_forcing_brings_the_energy_it_says():
    kick = turbulence._kick(np.random.default_rng(1), (400, 64, 64))
    assert turbulence.energy(kick).mean() == pytest.approx(turbulence.POWER * turbulence.STEP, rel=0.04)
    k2 = turbulence.squared_wave_numbers()
    assert not abs(kick[:, (k2 < 3.5**2) | (k2 > 5.5**2)]).any()


def test_energy_is_steady_and_its_spectrum_falls_from_the_forced_ring_to_nothing(runs):
    by_time = (runs.astype(float) ** 2).sum(2).mean((0, 2, 3)) / 2
    assert by_time.min() > 0.9 * by_time.max()
    spectral = (abs(fft.rfft2(runs[:, -1].astype(float))) ** 2).sum(1).mean(0)
    k = np.round(np.sqrt(turbulence.squared_wave_numbers())).astype(int)
    spectrum = np.bincount(k.ravel(), spectral.ravel())
    assert np.argmax(spectrum) in range(2, 6), "most energy lies in the forced ring or in larger vortices"
    slope = np.polyfit(np.log(np.arange(6, 17)), np.log(spectrum[6:17]), 1)[0]
    assert -7 < slope < -3, "as steep as a cascade of enstrophy (-3), or steeper with drag and viscosity"
    assert spectrum[20] < 1e-3 * spectrum.max(), "nothing piles up at the smallest scales: they are resolved"


def test_events_are_crops_of_runs_that_belong_to_one_part(runs):
    events = frames.read("turbulence")
    assert len(events) == 64
    assert events[0].shape == (24, 2, 32, 32)
    assert events[0].attrs == {"units": "1", "part": "train", "group": "run 0"}
    parts = {e.attrs["group"]: e.attrs["part"] for e in events}
    assert list(parts.values()) == ["train"] * 10 + ["val"] * 2 + ["test"] * 4
    assert np.array_equal(events[-1], runs[-1, :, :, 32:, 32:])


def test_the_catalogue_says_that_they_are_generated():
    assert "generated" in CATALOG["turbulence"].title
    assert CATALOG["turbulence"].open().missing() is None
    assert CATALOG["turbulence"].open().fingerprint() == turbulence.fingerprint()
