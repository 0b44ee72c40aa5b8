"""Windows of the paper's kinds of data, cut out of events as their readers give them."""

from dataclasses import replace

import numpy as np
import pytest
from forecasting_toy import INPUTS

from bench.contract import BenchError, Task
from bench.data.fields import frames
from bench.tracks.forecasting import settings
from bench.tracks.forecasting.settings import Run
from bench.tracks.forecasting.sources import paper


def task(name):
    return Task(name=name, params={"dataset": name}, data=name)


def splits(monkeypatch, name, events, **changed):
    """The splits of a task whose windows have 8 x 8 cells in 2 + 2 frames."""
    small = {"size": 8, "frames": 2, "leads": 2, "margin": 0, "windows": 3} | changed
    monkeypatch.setitem(settings.RECIPES, name, replace(settings.RECIPES[name], **small))
    monkeypatch.setattr(frames, "read", lambda dataset: tuple(events))
    return paper.splits(task(name), Run(), INPUTS)


def radar(part, days, drawn, side=16):
    """Sequences of 5 frames, one a day; rain is the number of the frame, a rim is not observed."""
    n = 5 * len(days)
    rain = np.broadcast_to(np.arange(n, dtype=np.float32)[:, None, None, None], (n, 1, side, side)).copy()
    rain[..., 0] = np.nan
    time = [np.datetime64(day) + np.timedelta64(5 * k, "m") for day in days for k in range(5)]
    found = frames.event(
        rain, name=part, units="mm/h", components=("rain",), time=np.array(time, "datetime64[ns]"),
        part=part, sequence=5, step=5, step_unit="minutes",
    )  # fmt: skip
    return found.assign_coords(sample_prob=("time", np.repeat(drawn, 5)))


def test_uk_radar_is_cut_in_the_middle_and_weighted_by_how_often_its_crop_was_drawn(monkeypatch):
    events = [
        radar(part, days, drawn)
        for part, days, drawn in (
            ("train", ["2016-01-02", "2016-01-03"], [1, 1]),
            ("val", ["2017-01-01"], [1]),
            ("test", ["2019-01-01", "2019-01-02"], [0.5, 0.1]),
        )
    ]
    found = splits(monkeypatch, "uk-radar", events, margin=6)
    test = found.test
    assert test.windows.inputs.to_numpy()[:, :, 0, 0, 0].tolist() == [[0, 1], [5, 6]]
    assert test.windows.targets.to_numpy()[:, :, 0, 7, 7].tolist() == [[2, 3], [7, 8]]
    assert test.windows.targets["lead"].values.tolist() == [5, 10]
    assert test.windows.targets["lead"].attrs["units"] == "minutes"
    np.testing.assert_allclose(test.weights, [2, 10])
    assert test.groups.tolist() == ["2019-01-01", "2019-01-02"]
    assert test.wide.shape == (2, 2, 1, 20, 20)
    assert np.isnan(test.wide.to_numpy()[..., :3]).all(), "beyond the domain, and its rim"
    assert (test.wide.to_numpy()[0, 0, 0, 6, 3:18] == 0).all()
    assert found.train.wide is None
    assert len(found.train.windows) == 2


def test_windows_that_were_hardly_observed_are_left_out(monkeypatch):
    hidden = radar("test", ["2019-01-01", "2019-01-02"], [1, 1])
    hidden[7, :, :, :9] = np.nan
    events = [radar("train", ["2016-01-02"], [1]), radar("val", ["2017-01-01"], [1]), hidden]
    assert splits(monkeypatch, "uk-radar", events).test.groups.tolist() == ["2019-01-01"]
    events[2] = hidden.where(False)
    with pytest.raises(BenchError, match="no window of the split 'test' was observed"):
        splits(monkeypatch, "uk-radar", events)


def wind(years):
    """Every six hours of two days of each year."""
    time = np.concatenate(
        [np.datetime64(f"{y}-03-01") + np.arange(8) * np.timedelta64(6, "h") for y in years]
    )
    values = np.zeros((len(time), 2, 8, 20), np.float32)
    return frames.event(
        values, name="era5", units="m s-1", components=("u", "v"), time=time.astype("datetime64[ns]"),
        step=6, step_unit="hours",
    )  # fmt: skip


def test_era5_is_split_by_year_and_no_window_lies_over_a_gap(monkeypatch):
    found = splits(monkeypatch, "era5-wind", [wind((2015, 2016, 2017, 2018))])
    assert set(found.val.groups) == {"2017-03"}
    assert set(found.test.groups) == {"2018-03"}
    assert len(found.train.windows) == 2 * 2 * 2, "years, windows after each other, beside each other"
    assert len(found.test.windows) == 3, "as many as are asked for"
    assert found.test.weights is None
    assert found.test.windows.targets["lead"].values.tolist() == [6, 12]
    with pytest.raises(BenchError, match=r"has the years \[2015, 2016\]; expected three or more"):
        splits(monkeypatch, "era5-wind", [wind((2015, 2016))])


def test_sequences_are_in_one_split_only_and_flow_is_split_by_time(monkeypatch):
    values = np.broadcast_to(np.arange(60, dtype=np.float32)[:, None, None, None], (60, 1, 8, 16))
    event = frames.event(
        values, name="x", units="1", components=("ink",), time=np.arange(60),
        sequence=6, step=1, step_unit="frames",
    )  # fmt: skip
    found = splits(monkeypatch, "moving-mnist", [event], windows=9)
    starts = {s: p.windows.inputs.to_numpy()[:, 0, 0, 0, 0] for s, p in
              (("train", found.train), ("val", found.val), ("test", found.test))}  # fmt: skip
    assert {s: sorted(set(v.tolist())) for s, v in starts.items()} == {
        "train": [0, 6, 12, 18, 24, 30, 36, 42], "val": [48], "test": [54],
    }  # fmt: skip
    assert found.test.groups.tolist() == ["sequence 9"] * 2
    flow = splits(monkeypatch, "turbulent-flow", [event], windows=9)
    assert flow.train.windows.targets.to_numpy().max() < 48
    assert flow.test.windows.inputs.to_numpy().min() == 54
    with pytest.raises(BenchError, match="no window of 2 \\+ 2 frames of 32 x 32 cells"):
        splits(monkeypatch, "turbulent-flow", [event], size=32)
