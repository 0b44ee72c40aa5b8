"""The measures of agreement against known values, and from which step on a condition is followed."""

from __future__ import annotations

import numpy as np
import pytest

from bench.contract import BenchError, Censored
from bench.tracks.controlnet import measures
from bench.tracks.controlnet.measures import MEASURES

RNG = np.random.default_rng(0)
LINES = (RNG.random((5, 32, 32, 1)) > 0.85).astype(np.float32)
CLASSES = np.eye(3, dtype=np.float32)[RNG.integers(0, 3, (5, 32, 32))]


@pytest.mark.parametrize(
    ("name", "maps", "best"), [("ssim", LINES, 1), ("mse", LINES, 0), ("accuracy", CLASSES, 1)]
)
def test_a_perfect_condition_and_one_of_another_picture(name, maps, best):
    measure = MEASURES[name]
    assert measure.values(maps, maps) == pytest.approx(np.full(5, best))
    wrong = measures.shuffled(measure, maps, maps, 4).mean()
    assert (wrong < best) if measure.better == "higher" else (wrong > best)


def test_values_by_hand():
    asked, read = CLASSES[:1], CLASSES[:1].copy()
    read[0, 0, 0] = np.roll(read[0, 0, 0], 1)
    assert measures.accuracy(asked, read) == pytest.approx([1 - 1 / 1024])
    assert measures.mse(np.zeros((2, 4, 4, 3)), np.full((2, 4, 4, 3), 0.5)) == pytest.approx([0.25, 0.25])


def test_ssim_is_that_of_scikit_image():
    skimage = pytest.importorskip("skimage.metrics")
    from scipy.ndimage import gaussian_filter

    other = (RNG.random(LINES.shape) > 0.7).astype(np.float32)
    blurred = [[gaussian_filter(m[..., 0].astype(float), 1.0) for m in maps] for maps in (LINES, other)]
    expected = [skimage.structural_similarity(a, b, data_range=1.0) for a, b in zip(*blurred, strict=True)]
    assert measures.ssim(LINES, other) == pytest.approx(expected, abs=1e-9)


def test_a_line_a_pixel_aside_counts_for_f1_and_one_further_away_does_not():
    asked = np.zeros((1, 16, 16, 1), np.float32)
    asked[0, 8] = 1
    assert measures.f1(asked, np.roll(asked, 1, 1)) == pytest.approx([1])
    assert measures.f1(asked, np.roll(asked, 3, 1)) == pytest.approx([0])


@pytest.mark.parametrize(("name", "maps"), [("ssim", LINES), ("mse", CLASSES), ("accuracy", CLASSES)])
def test_real_pictures_are_the_ceiling_and_those_of_others_the_floor(name, maps):
    measure = MEASURES[name]
    assert measures.agreement(measure, maps, maps, maps, 4).share == pytest.approx(1)
    read = RNG.permutation(maps.reshape(-1, maps.shape[-1])).reshape(maps.shape)
    assert measures.agreement(measure, maps, read, maps, 4).share == pytest.approx(0, abs=0.1)


def test_a_condition_that_cannot_be_read_back_is_refused():
    noise = RNG.normal(size=(40, 8, 8, 3))
    with pytest.raises(BenchError, match="'normal' cannot be read back"):
        measures.check_readable("normal", MEASURES["mse"], noise, np.zeros_like(noise), 8)
    with pytest.raises(BenchError, match="'normal' is 0 in all pictures"):
        measures.check_readable("normal", MEASURES["mse"], 0 * noise, noise, 8)
    measures.check_readable("normal", MEASURES["mse"], noise, 0.5 * noise, 8)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ([0.1, 0.6, 0.7, 0.8], 10), ([0.6, 0.1, 0.6, 0.6], 20), ([0.5, 0.5, 0.1, 0.1], 5),
        ([0.1, 0.9, 0.1, 0.9], Censored(40.0)), ([0.1, 0.1, 0.1, 0.9], Censored(40.0)),
        ([0.1, float("nan"), 0.9, 0.9], 20), ([1.2], Censored(5.0)),
    ],
)  # fmt: skip
def test_a_condition_is_followed_from_the_first_of_two_successive_snapshots_on(shares, expected):
    assert measures.convergence_step([5, 10, 20, 40][: len(shares)], shares, 0.5) == expected


def test_area_and_leap():
    steps = [5, 10, 20, 40]
    assert measures.area(steps, [1, 1, 1, 1]) == pytest.approx(1 - 2.5 / 40)
    assert measures.leap(steps, [0, 0, 1, 1]) == pytest.approx(1)
    assert measures.leap(steps, [0, 1 / 3, 2 / 3, 1]) == pytest.approx(1 / 3)
    assert measures.leap(steps, [0.5, 0.4, 0.3, 0.2]) is None
    assert measures.area([40], [0.4]) is None


@pytest.mark.parametrize("ratio", [1.33, 1.55, 1.9, 3.0])
def test_leap_is_the_same_wherever_a_curve_is_looked_at(ratio):
    """Also where no two snapshots are a doubling apart."""
    steps = 60 * ratio ** np.arange(np.ceil(np.log(16) / np.log(ratio)) + 1)
    even = np.log2(steps)
    assert measures.leap(steps, even) == pytest.approx(1 / np.ptp(even))
    sudden = (np.arange(len(steps)) >= 2).astype(float)
    assert measures.leap(steps, sudden) == pytest.approx(min(1.0, np.log(2) / np.log(ratio)))
