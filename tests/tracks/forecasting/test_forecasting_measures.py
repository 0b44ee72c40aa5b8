"""Oracles of the measures of ensembles and neighbourhoods, and pySTEPS as a second opinion on events."""

import math

import numpy as np
import pytest
import xarray as xr
from forecasting_toy import field, five, members

from bench.tracks.forecasting import metrics

pytest.importorskip("scores")


def wind(u, v):
    """Two fields as the components of one window."""
    return xr.concat([five(u), five(v)], dim="component").assign_coords(component=["u", "v"])


def test_squares_have_their_mean_by_component_and_their_largest_magnitude():
    u = np.array([[1.0, 2, 0, 0], [3, -6, 0, 8]])
    v = np.array([[0.0, 0, 0, 0], [0, 0, 0, -6]])
    assert metrics.pooled(five(u), 2, "mean").to_numpy().ravel().tolist() == [0, 2]
    assert metrics.pooled(five(u), 2, "max").to_numpy().ravel().tolist() == [3, 8], "of rain the most"
    both = metrics.pooled(wind(u, v), 2, "max")
    assert both.dims == five(u).dims
    assert both.to_numpy().ravel().tolist() == [6, 10], "of wind its strength, whatever its direction"
    assert metrics.pooled(wind(u, v), 2, "mean").to_numpy().ravel().tolist() == [0, 2, 0, -1.5]


def test_a_square_with_a_hole_is_not_observed():
    for how in ("mean", "max"):
        found = metrics.pooled(five([[np.nan, 1, 2, 2], [1, 1, 2, 2]]), 2, how).to_numpy().ravel()
        assert np.isnan(found[0])
        assert found[1] == 2


@pytest.mark.parametrize("how", ["mean", "max"])
def test_crps_after_pooling_is_the_double_loop_over_pooled_members(how):
    rng = np.random.default_rng(0)
    target = five(rng.normal(size=(4, 4)))
    x = rng.normal(size=(3, 4, 4))
    of = np.mean if how == "mean" else np.max
    expected = []
    for i, j in ((0, 0), (0, 2), (2, 0), (2, 2)):
        m = [of(f[i : i + 2, j : j + 2]) for f in x]
        y = of(target.to_numpy()[0, 0, 0, i : i + 2, j : j + 2])
        pairs = sum(abs(a - b) for a in m for b in m) / (2 * 3 * 2)
        expected.append(np.mean([abs(a - y) for a in m]) - pairs)
    pair = [metrics.pooled(f, 2, how) for f in (members(target, x[:, None, None, None]), target)]
    assert metrics.crps(*pair).item() == pytest.approx(np.mean(expected))


def test_the_rank_of_an_observation_is_that_among_the_members():
    target = five([[0.5, 1.5, 9.0, np.nan]])
    forecast = members(target, np.array([1.0, 2, 3]).reshape(3, 1, 1, 1, 1, 1) + np.zeros((3, *target.shape)))
    found = metrics.ranks(forecast, target).isel(lead=0)
    np.testing.assert_allclose(found, [1 / 3, 1 / 3, 0, 1 / 3])


def test_windows_count_by_their_weights_in_ranks_and_spectrum():
    rng = np.random.default_rng(1)
    target = xr.concat([five(rng.random((8, 8))).assign_coords(window=[w]) for w in "ab"], "window")
    forecast = members(target, rng.random((3, *target.shape)))
    three = [xr.concat([f, f.isel(window=[1])], "window") for f in (forecast, target)]
    weights = np.array([1.0, 2.0])
    np.testing.assert_allclose(metrics.ranks(forecast, target, weights), metrics.ranks(*three))
    np.testing.assert_allclose(metrics.spectrum(forecast, weights), metrics.spectrum(three[0]))


def test_spread_is_the_deviation_of_the_members_as_large_as_the_error_of_their_mean_would_be():
    target = five(np.zeros((2, 2)))
    forecast = members(target, np.array([0.0, 2.0]).reshape(2, 1, 1, 1, 1, 1) + np.zeros((2, *target.shape)))
    # A variance of 2, and the mean of two members misses by half as much again as the truth scatters.
    assert metrics.spread(forecast, target).item() == pytest.approx(math.sqrt(2 * 3 / 2))
    assert math.isnan(metrics.spread(forecast.isel(member=[0]), target).item())


def drawn(m, side=200):
    """Members and observation drawn from one distribution: the forecast that knows the climate alone."""
    rng = np.random.default_rng(2)
    target = five(rng.normal(size=(side, side)))
    return members(target, rng.normal(size=(m, *target.shape))), target


def test_a_climatological_ensemble_is_reliable_and_its_crps_is_half_the_mean_difference_of_two_draws():
    forecast, target = drawn(4)
    assert metrics.crps(forecast, target).item() == pytest.approx(1 / math.sqrt(math.pi), abs=0.01)
    ratio = metrics.spread(forecast, target) / metrics.rmse(forecast, target)
    assert ratio.item() == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(metrics.ranks(forecast, target).isel(lead=0), 1 / 5, atol=0.01)


def test_an_ensemble_without_enough_spread_is_told():
    forecast, target = drawn(4)
    narrow = 0.5 * forecast
    assert (metrics.spread(narrow, target) / metrics.rmse(narrow, target)).item() < 0.6
    ranks = metrics.ranks(narrow, target).isel(lead=0)
    assert min(ranks[0], ranks[-1]) > 1.5 * max(ranks[1:-1])


# ------------------------------------------------------------------------------ the second opinion of pySTEPS


@pytest.fixture(scope="module")
def verification():
    return pytest.importorskip(
        "pysteps.verification", reason="the extra 'radar' is not installed: pip install 'gridbench[radar]'"
    )


@pytest.fixture(scope="module")
def rain():
    """Forecast and observation: blocks of rain, away from the rim, where conventions differ."""
    rng = np.random.default_rng(3)
    same = rng.gamma(0.4, 8, (6, 6)) * rng.uniform(0.3, 1.7, (2, 6, 6))
    inner = np.kron(same, np.ones((3, 3)))
    return np.pad(inner, ((0, 0), (6, 6), (6, 6)))


@pytest.mark.parametrize("threshold", [0.5, 1.0, 4.0])
def test_csi_is_that_of_pysteps(verification, rain, threshold):
    expected = verification.det_cat_fct(rain[0], rain[1], threshold, scores="CSI")["CSI"]
    assert 0 < expected < 1
    assert metrics.csi(field(rain[0]), field(rain[1]), threshold).item() == pytest.approx(expected)


@pytest.mark.parametrize("side", [1, 3, 5])
@pytest.mark.parametrize("threshold", [1.0, 4.0])
def test_fss_is_that_of_pysteps(verification, rain, threshold, side):
    expected = verification.spatialscores.fss(rain[0], rain[1], threshold, side)
    assert 0 < expected < 1
    assert metrics.fss(field(rain[0]), field(rain[1]), threshold, side).item() == pytest.approx(expected)
