"""The track's measures against closed forms and hand-made fields; answers of a wrong form are refused."""

import math

import numpy as np
import pytest
import xarray as xr
from forecasting_toy import field, five, members

from bench.errors import AnswerError
from bench.tracks.forecasting import metrics, precision, scale, scoring
from bench.tracks.forecasting.track import TRACK

pytest.importorskip("scores")

GRID, RUN = TRACK.smoke()
TASK = TRACK.tasks(GRID)[0]


class Nothing:
    device = "cpu"
    seed = None


@pytest.fixture(scope="module")
def data():
    return TRACK.load(TASK, RUN, Nothing())


@pytest.fixture(scope="module")
def truth():
    return TRACK.truth(TASK, RUN, Nothing())


def test_crps_is_the_double_loop():
    rng = np.random.default_rng(0)
    target = five(rng.normal(size=(3, 4)))
    x, y = rng.normal(size=(5, 3, 4)), target.to_numpy()[0, 0, 0]
    first = np.mean([abs(m - y) for m in x], axis=0)
    pairs = sum(abs(a - b) for a in x for b in x) / (2 * 5 * 4)
    found = metrics.crps(members(target, x[:, None, None, None]), target)
    assert found.item() == pytest.approx((first - pairs).mean())


def test_crps_of_many_normal_members_is_the_closed_form():
    y = 0.7
    closed = y * math.erf(y / math.sqrt(2)) + 2 * math.exp(-(y**2) / 2) / math.sqrt(2 * math.pi)
    closed -= 1 / math.sqrt(math.pi)
    target = five(np.full((40, 50), y))
    drawn = np.random.default_rng(1).normal(size=(12, 1, 1, 1, 40, 50))
    assert metrics.crps(members(target, drawn), target).item() == pytest.approx(closed, abs=0.02)


def test_crps_of_one_member_is_the_absolute_error_and_leaves_out_what_was_not_observed():
    target = five([[1.0, np.nan], [3.0, 5.0]])
    found = metrics.crps(members(target, np.zeros((1, 1, 1, 1, 2, 2))), target)
    assert found.item() == pytest.approx(3.0)


def test_csi_of_a_hand_made_field():
    # One hit, one miss, two false alarms, and a cell that was not observed.
    forecast, target = field([[1, 0, 1], [1, 0, 1]]), field([[1, 1, 0], [0, 0, np.nan]])
    assert metrics.csi(forecast, target, 0.5).item() == pytest.approx(1 / 4)


def test_fss_of_hand_made_fields():
    event = np.zeros((8, 8))
    event[3, 3] = 1
    moved = np.roll(event, 1, axis=1)
    assert metrics.fss(field(event), field(event), 0.5, 3).item() == pytest.approx(1)
    assert metrics.fss(field(moved), field(event), 0.5, 1).item() == pytest.approx(0)
    # Of the nine neighbourhoods that see each event six see both.
    assert metrics.fss(field(moved), field(event), 0.5, 3).item() == pytest.approx(6 / 9)
    assert math.isnan(metrics.fss(field(0 * event), field(0 * event), 0.5, 3).item())


def test_a_wave_has_its_power_at_its_own_wave_number():
    wave = np.cos(2 * np.pi * 3 * np.arange(16) / 16) * np.ones((16, 1))
    found = metrics.spectrum(field(wave)).isel(lead=0)
    assert int(found["wavenumber"][int(found.to_numpy().argmax())]) == 3


def test_rain_goes_to_its_logarithm_and_back():
    rain = np.array([0.0, 0.05, 1.0, 20.0, np.nan])
    back = scale.unscaled(scale.scaled(rain, "log-rain"), "log-rain")
    np.testing.assert_allclose(back, [0, 0, 1, 20, np.nan])


def test_a_map_that_only_follows_the_forecast_says_nothing_given_it():
    rng = np.random.default_rng(2)
    mean = rng.random((20, 20))
    target = five(mean + mean * rng.normal(size=(20, 20)))
    forecast = members(target, mean[None, None, None, None])
    error = abs(target.isel(component=0, drop=True) - field(mean))
    of = {"mean forecast": field(mean), "error": error, "copy": field(mean**2), "flat": field(0 * mean)}
    rho = precision.correlations(of, forecast, target, None).isel(window=0, lead=0)
    assert rho.sel(map="error", subset="all").item() == pytest.approx(1)
    assert rho.sel(map="error", subset="given").item() == pytest.approx(1)
    same = rho.sel(map="mean forecast", subset="all").item()
    assert same > 0.3
    assert rho.sel(map="copy", subset="all").item() == pytest.approx(same)
    assert np.isnan(rho.sel(map=["copy", "mean forecast"], subset="given")).all()
    assert np.isnan(rho.sel(map="flat", subset="all")).all()


def test_where_something_was_not_observed_every_map_is_still_compared():
    """Beside a hole the mean forecast has no gradient, and the last frame may have holes of its own."""
    rng = np.random.default_rng(5)
    target = five(rng.random((12, 12)))
    target[..., 3:5, 3:5] = np.nan
    forecast = members(target, rng.random((4, *target.shape))).where(target.notnull())
    last = five(rng.random((12, 12))).isel(lead=0, drop=True)
    last[..., 8, 8] = np.nan
    of = precision.maps(forecast, last, field(rng.random((12, 12))))
    rho = precision.correlations(of, forecast, target, 0.1).isel(window=0, lead=0)
    assert {"mean forecast", "gradient", "last frame", "spread", "U"} == set(of)
    assert np.isfinite(rho.sel(subset=["all", "wet"])).all()
    assert np.isfinite(rho.sel(subset="given", map=[m for m in of if m != "mean forecast"])).all()


def test_the_lagged_ensemble_has_no_skill(data, truth):
    lagged = np.repeat(data.test.to_numpy()[:, ::-1, None], data.leads.size, axis=2)
    answer = {"test": data.forecast(lagged), "members": lagged.shape[1]}
    found = TRACK.score(TASK, answer, truth, ())
    assert found.metrics["crpss"] == pytest.approx(0, abs=1e-6)
    assert found.metrics["crps"] == pytest.approx(truth.lagged)


def test_a_perfect_ensemble_scores_zero(data, truth):
    perfect = np.repeat(truth.test.to_numpy()[:, None], RUN.members, axis=1)
    score = TRACK.score(TASK, {"test": data.forecast(perfect)}, truth, ())
    assert score.metrics["crps"] == pytest.approx(0)
    assert score.metrics["crpss"] == pytest.approx(1)
    assert score.metrics["rmse"] == pytest.approx(0)
    assert score.metrics["csi"] == score.metrics["fss"] == pytest.approx(1)


def test_the_mean_of_the_units_is_the_metric_with_weights_too(data, truth):
    import dataclasses

    n = len(truth.ids)
    weights = np.arange(1.0, n + 1)
    noisy = np.random.default_rng(3).random((n, RUN.members, *truth.test.shape[1:]))
    one = TRACK.score(TASK, {"test": data.forecast(noisy)}, truth, ())
    heavy = TRACK.score(TASK, {"test": data.forecast(noisy)}, dataclasses.replace(truth, weights=weights), ())
    each = one.units["crps"].values
    order = np.argsort(truth.ids)
    assert heavy.metrics["crps"] == pytest.approx(np.average(each, weights=weights[order]))
    for found in (one, heavy):
        for name in ("crps", "crpss"):
            assert found.units[name].values.mean() == pytest.approx(found.metrics[name])
    assert heavy.series["csi"].sizes == one.series["csi"].sizes


def test_windows_count_by_their_weights_in_every_measure_but_fss():
    rng = np.random.default_rng(4)
    target = xr.concat([five(rng.random((4, 4))).assign_coords(window=[w]) for w in "ab"], "window")
    forecast = members(target, rng.random((3, *target.shape)))
    twice = [xr.concat([f, f.isel(window=[1])], "window") for f in (forecast, target)]
    weights = np.array([1.0, 2.0])

    def mean(of, drawn=True):
        found = of.mean("member") if drawn else of
        return found.isel(component=0)

    for measure in (metrics.rmse, metrics.spread):
        np.testing.assert_allclose(measure(forecast, target, weights), measure(*twice))
    np.testing.assert_allclose(
        metrics.csi(mean(forecast), mean(target, False), 0.5, weights),
        metrics.csi(mean(twice[0]), mean(twice[1], False), 0.5),
    )


def test_a_forecast_that_diverged_scores_nan(data, truth):
    nothing = np.full((len(truth.ids), RUN.members, *truth.test.shape[1:]), np.nan)
    assert math.isnan(TRACK.score(TASK, {"test": data.forecast(nothing)}, truth, ()).metrics["crps"])


def _hole(f):
    values = f.values.copy()
    values[0, 0, 0, 0, 3, 4] = np.nan
    return f.copy(data=values)


WRONG = {
    "fewer members": (lambda f: f.isel(member=slice(2)), "has 2 members, expected 4"),
    "fewer leads": (lambda f: f.isel(lead=slice(3)), "has 3 along 'lead', expected 4"),
    "fewer windows": (lambda f: f.isel(window=slice(3)), "has 3 along 'window', expected 6"),
    "other coordinates": (lambda f: f.assign_coords(x=f["x"] + 1), "has 1 at position 0 of 'x', expected 0"),
    "no coordinates": (lambda f: f.drop_vars("y"), "has no coordinate 'y'"),
    "other units": (lambda f: f.assign_attrs(units="mm"), "attrs['units'] = 'mm', expected '1'"),
    "a hole": (_hole, "is not finite at 1 observed cells"),
    "an array": (lambda f: f.values, "is a ndarray, expected an xarray.DataArray"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_answer_of_another_form_is_refused(data, truth, wrong):
    change, message = WRONG[wrong]
    good = data.forecast(np.zeros((len(truth.ids), RUN.members, *truth.test.shape[1:])))
    with pytest.raises(AnswerError) as e:
        TRACK.score(TASK, {"test": change(good)}, truth, ())
    assert message in str(e.value)


def test_negative_rain_is_refused(data, truth):
    import dataclasses

    from bench.tracks.common.answers import Answer

    rain = dataclasses.replace(truth, test=truth.test.assign_attrs(units="mm/h"))
    answer = data.forecast(np.full((len(truth.ids), 1, *truth.test.shape[1:]), -1.0)).assign_attrs(
        units="mm/h"
    )
    with pytest.raises(AnswerError, match="below zero"):
        scoring.forecast(Answer("forecasting", {"test": answer}, required={"test": ""}), "test", rain)
