"""The rows of `forecasting` that train no network: shapes, seeds, and what they must give exactly."""

from __future__ import annotations

import dataclasses
import importlib

import forecasting_toy as toy
import numpy as np
import pytest
from uninstalled import uninstalled

from bench.registry import methods_in
from bench.tracks.forecasting.rows import nowcasting
from bench.tracks.forecasting.rows.forecasts import Training, filled
from bench.tracks.forecasting.scale import scaled

SIMPLE = ("persistence", "lagged", "climatology", "dressed_persistence", "damped_anomaly", "patch_regression")
MOVED = ("extrapolation", "s_prog", "steps")


def needs_pysteps():
    for module in ("pysteps", "cv2"):
        pytest.importorskip(
            module, reason="the extra 'radar' is not installed: pip install 'gridbench[radar]'"
        )


def declared(name):
    (found,) = methods_in(importlib.import_module(f"bench.baselines.forecasting.{name}"))
    return found


def run(name, data, path, *, seed=0, **changed):
    m = declared(name)
    return m.fn(data, {**m.hp_of(m.id), **changed}, toy.context(path, seed=seed))


@pytest.mark.parametrize("make", [toy.blobs, toy.rain])
@pytest.mark.parametrize("name", SIMPLE)
def test_forecasts_have_the_coordinates_of_their_windows_and_are_finite(name, make, tmp_path):
    data = make()
    found = run(name, data, tmp_path)
    for split, inputs in (("test", data.test), ("val", data.val.inputs)):
        assert found[split].attrs["units"] == data.units
        for d in ("window", "component", "y", "x"):
            np.testing.assert_array_equal(found[split][d], inputs[d])
        np.testing.assert_array_equal(found[split]["lead"], data.leads)
        assert np.isfinite(found[split].values).all()
        assert data.units != "mm/h" or float(found[split].min()) >= 0


@pytest.mark.parametrize("name", SIMPLE)
def test_the_seed_decides_what_is_random_and_nothing_else(name, tmp_path):
    data = toy.blobs()
    first, again, other = (run(name, data, tmp_path, seed=s)["test"].values for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    if declared(name).deterministic:
        np.testing.assert_array_equal(first, other)
    elif name != "patch_regression":  # of few windows it takes every cell
        assert not np.array_equal(first, other)


def test_persistence_is_the_last_frame_and_lagged_are_all(tmp_path):
    data = toy.blobs()
    found = run("persistence", data, tmp_path)["test"]
    assert found.sizes["member"] == 1
    for lead in range(data.leads.size):
        np.testing.assert_allclose(found[:, 0, lead], data.test[:, -1], rtol=1e-6)
    ensemble = run("lagged", data, tmp_path)
    assert ensemble["members"] == data.test.sizes["time"]
    np.testing.assert_allclose(ensemble["test"][:, :, 0], data.test[:, ::-1], rtol=1e-6)


def test_climatology_draws_targets_of_training(tmp_path):
    data = toy.blobs()
    draws = run("climatology", data, tmp_path)["test"].values
    known = data.train.targets.values
    assert all(any(np.array_equal(m, k) for k in known) for m in draws.reshape(-1, *draws.shape[2:]))


@pytest.mark.parametrize("name", ["climatology", "dressed_persistence", "damped_anomaly"])
def test_rows_of_statistics_take_those_of_the_windows_own_place(name, tmp_path):
    """The targets of every second window are a thousand more: none of that reaches the other place."""
    data = toy.blobs()

    def placed(inputs):
        places = np.array(["high" if i % 2 else "low" for i in range(inputs.sizes["window"])])
        return inputs.assign_coords(place=("window", places))

    inputs = placed(data.train.inputs)
    high = (inputs["place"] == "high").values[:, None, None, None, None]
    train = dataclasses.replace(
        data.train,
        inputs=inputs,
        targets=data.train.targets.copy(data=data.train.targets.values + 1000 * high),
    )
    val = dataclasses.replace(data.val, inputs=placed(data.val.inputs))
    data = dataclasses.replace(data, train=train, val=val, test=placed(data.test))
    found = run(name, data, tmp_path)
    for split, of in (("test", data.test), ("val", val.inputs)):
        means = found[split].mean(["member", "lead", "component", "y", "x"]).values
        np.testing.assert_array_equal(means > 500, of["place"].values == "high")
        np.testing.assert_array_equal(found[split]["window"], of["window"])


def test_dressed_persistence_adds_an_error_of_training(tmp_path):
    data = toy.blobs()
    found = run("dressed_persistence", data, tmp_path)["test"].values
    errors = data.train.targets.values - data.train.inputs.values[:, -1:]
    added = found[0, 0] - data.test.values[0, -1:]
    assert min(np.abs(added - e).max() for e in errors) < 1e-5


def test_the_damped_anomaly_finds_the_factor_of_an_autoregression(tmp_path):
    data = toy.blobs()
    rng = np.random.default_rng(0)
    inputs = data.train.inputs.copy(data=rng.normal(size=data.train.inputs.shape).astype(np.float32))
    factors = 0.5 ** np.arange(1, data.leads.size + 1, dtype=np.float32)[:, None, None, None]
    targets = data.train.targets.copy(data=inputs.values[:, -1:] * factors)
    data = dataclasses.replace(data, train=dataclasses.replace(data.train, inputs=inputs, targets=targets))
    found = run("damped_anomaly", data, tmp_path)["test"].values
    expected = data.test.values[:, None, -1:] * factors
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1e-5)


def test_patch_regression_learns_a_shift(tmp_path):
    data = toy.blobs()
    rng = np.random.default_rng(0)
    inputs = data.train.inputs.copy(data=rng.normal(size=data.train.inputs.shape).astype(np.float32))
    moved = shifted(inputs.values, data.leads.size)
    data = dataclasses.replace(
        data,
        train=dataclasses.replace(data.train, inputs=inputs, targets=data.train.targets.copy(data=moved)),
    )
    found = run("patch_regression", data, tmp_path, ridge=1e-6)["test"].values[:, 0]
    np.testing.assert_allclose(found, shifted(data.test.values, data.leads.size), atol=1e-3)


def shifted(frames, leads):
    """The last frame one cell to the right, its first column, which the edge continues, kept."""
    last = frames[:, -1:]
    return np.concatenate([last[..., :1], last[..., :-1]], axis=-1).repeat(leads, axis=1)


def test_gaps_have_the_last_value_that_was_observed_there():
    data = toy.rain()
    frames = scaled(data.test.values, "log-rain").copy()
    frames[0, 2, 0, 3, 4] = np.nan
    frames[0, :, 0, 5, 6] = np.nan
    found = filled(frames, data.transform)
    assert found[0, 2, 0, 3, 4] == frames[0, 1, 0, 3, 4]
    assert (found[0, :, 0, 5, 6] == np.float32(-1)).all()


def test_moments_of_training_leave_out_what_was_not_observed():
    data = toy.blobs()
    expected = Training.of(data)
    targets = data.train.targets.copy(deep=True)
    targets[0, 0, 0, 0, 0] = np.nan
    found = Training.of(dataclasses.replace(data, train=dataclasses.replace(data.train, targets=targets)))
    assert np.isfinite(found.mean).all()
    assert np.isfinite(found.change).all()
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-3)


# ----------------------------------------------------------------------------------- moved by pySTEPS


def test_a_pure_shift_is_extrapolated_exactly():
    needs_pysteps()
    field = np.random.default_rng(0).normal(size=(20, 24))
    v = np.zeros((2, 20, 24))
    v[0], v[1] = 2, -1  # cells a frame along x and y
    found = nowcasting.extrapolated(field, v, 3)
    for lead in (1, 2, 3):
        # Cells beside the edge are interpolated with what lies beyond it.
        np.testing.assert_allclose(
            found[lead - 1][1 : -1 - lead, 1 + 2 * lead :], field[1 + lead : -1, 1 : -2 * lead]
        )
        assert np.isnan(found[lead - 1][:, : 2 * lead - 1]).all()


@pytest.mark.parametrize("name", MOVED)
def test_moved_rain_is_of_the_windows_size_and_never_negative(name, tmp_path):
    needs_pysteps()
    data = toy.rain()
    found = run(name, data, tmp_path)
    members = 3 if name == "steps" else 1
    assert found["test"].shape == (len(data.test), members, data.leads.size, *data.test.shape[2:])
    assert np.isfinite(found["test"].values).all()
    assert float(found["test"].min()) >= 0


def test_a_window_whose_fit_is_singular_is_extrapolated_and_counted(tmp_path):
    needs_pysteps()
    data, ctx = toy.rain(), toy.context(tmp_path)

    def singular(frames, v, number):
        if number == 1:
            raise np.linalg.LinAlgError("Singular matrix")
        return np.zeros((1, data.leads.size, *frames.shape[1:]))

    assert nowcasting.answer(data, ctx, singular)["singular"] == 1


@pytest.mark.parametrize(
    ("km", "unit", "expected"),
    [
        (1.0, "minutes", {"kmperpixel": 1.0, "timestep": 1.0}),
        (4.0, "hours", {"kmperpixel": 4.0, "timestep": 60.0}),
        (None, "minutes", {"vel_pert_method": None, "mask_method": "obs"}),
        (4.0, "steps", {"vel_pert_method": None, "mask_method": "obs"}),
    ],
)
def test_steps_varies_the_motion_by_the_width_of_a_cell_and_the_time_of_a_step(
    km, unit, expected, monkeypatch, tmp_path
):
    needs_pysteps()
    from pysteps.nowcasts import steps

    data, asked = toy.rain(), []

    def forecast(frames, v, leads, **options):
        asked.append({name: options.get(name) for name in expected})
        return np.zeros((data.members, leads, *frames.shape[1:]))

    monkeypatch.setattr(steps, "forecast", forecast)
    recipe = dataclasses.replace(data.recipe, km=km)
    leads = data.leads.assign_attrs(units=unit)
    run("steps", dataclasses.replace(data, recipe=recipe, leads=leads), tmp_path)
    assert asked == [expected] * (len(data.test) + len(data.val))


def test_cascades_of_rain_skip_what_is_none():
    assert declared("steps").skip(toy.TASK, toy.RUN, {})


@pytest.mark.parametrize("package", ["pysteps", "opencv-python-headless"])
@pytest.mark.parametrize("name", MOVED)
def test_rows_that_move_fields_say_what_to_install(name, package, monkeypatch):
    uninstalled(monkeypatch, package)
    assert declared(name).missing(toy.TASK, toy.RUN).endswith("pip install 'gridbench[radar]'")
